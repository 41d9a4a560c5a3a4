package apiserver

import (
	"maps"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// reviews are the resources that answer a question and keep nothing, by group, with their kinds.
var reviews = map[string]map[string]string{
	"authentication.k8s.io": {
		"tokenreviews":       "TokenReview",
		"selfsubjectreviews": "SelfSubjectReview",
	},
	"authorization.k8s.io": {
		"subjectaccessreviews":      "SubjectAccessReview",
		"localsubjectaccessreviews": "LocalSubjectAccessReview",
		"selfsubjectaccessreviews":  "SelfSubjectAccessReview",
		"selfsubjectrulesreviews":   "SelfSubjectRulesReview",
	},
}

func isReview(q request) bool {
	return q.version == "v1" && reviews[q.group][q.resource] != ""
}

// selfReview says that a request asks about the caller, which everybody may.
func selfReview(q request) bool {
	return isReview(q) && (q.resource == "selfsubjectreviews" || q.resource == "selfsubjectaccessreviews" || q.resource == "selfsubjectrulesreviews")
}

func (s *Server) review(w http.ResponseWriter, r *http.Request, q request, user identity.User) {
	if r.Method != http.MethodPost {
		s.fail(w, r, errors.NewMethodNotSupported(schema.GroupResource{Group: q.group, Resource: q.resource}, q.verb))
		return
	}
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	f.shape = whole
	obj, err := s.read(r, schema.GroupVersionKind{Group: q.group, Version: q.version, Kind: reviews[q.group][q.resource]})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	switch review := obj.(type) {
	case *authenticationv1.TokenReview:
		if owner, ok := s.users.ByToken(review.Spec.Token); ok {
			review.Status.Authenticated = true
			review.Status.User = userInfo(owner)
			review.Status.Audiences = review.Spec.Audiences
		} else {
			review.Status.Error = "the token is not known"
		}
	case *authenticationv1.SelfSubjectReview:
		review.Status.UserInfo = userInfo(user)
	case *authorizationv1.SubjectAccessReview:
		review.Status = s.access(s.users.ByName(review.Spec.User, review.Spec.Groups), review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	case *authorizationv1.LocalSubjectAccessReview:
		review.Status = s.access(s.users.ByName(review.Spec.User, review.Spec.Groups), review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	case *authorizationv1.SelfSubjectAccessReview:
		review.Status = s.access(user, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	case *authorizationv1.SelfSubjectRulesReview:
		review.Status = rulesOf(user)
	default:
		s.fail(w, r, errors.NewBadRequest("the body is not a review of this resource"))
		return
	}
	s.write(w, f, http.StatusCreated, obj)
}

func (s *Server) access(user identity.User, on *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	var a identity.Attributes
	switch {
	case on != nil:
		a = identity.Attributes{
			Verb: on.Verb, Group: on.Group, Version: on.Version, Resource: on.Resource, Subresource: on.Subresource,
			Namespace: on.Namespace, Name: on.Name,
		}
	case path != nil:
		a = identity.Attributes{Verb: path.Verb, Path: path.Path}
	}
	if s.users.Authorize(user, a) {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}
	}
	return authorizationv1.SubjectAccessReviewStatus{Reason: "no rule allows it"}
}

func rulesOf(user identity.User) authorizationv1.SubjectRulesReviewStatus {
	var status authorizationv1.SubjectRulesReviewStatus
	rules := user.Rules
	if slices.Contains(user.Groups, identity.Masters) {
		all := []string{"*"}
		rules = []identity.Rule{{Verbs: all, Groups: all, Resources: all, Paths: all}}
	}
	for _, rule := range rules {
		if len(rule.Resources) > 0 {
			status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{Verbs: rule.Verbs, APIGroups: rule.Groups, Resources: rule.Resources})
		}
		if len(rule.Paths) > 0 {
			status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.Paths})
		}
	}
	return status
}

func userInfo(user identity.User) authenticationv1.UserInfo {
	return authenticationv1.UserInfo{Username: user.Name, UID: user.UID, Groups: slices.Clone(user.Groups)}
}

// reviewResources lists the reviews of a group by name.
func reviewResources(group string) []string {
	return slices.Sorted(maps.Keys(reviews[group]))
}
