package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"
)

// How long an answer of the API server is used again: as in kube-state-metrics.
const (
	knownTTL   = time.Minute
	allowedTTL = 5 * time.Minute
	deniedTTL  = 30 * time.Second // of tokens that nobody has, too
)

// remembered is how many answers of a kind are kept; the ones used longest ago go first.
const remembered = 4096

// Where the API server takes reviews.
const (
	tokenReviews  = "tokenreviews"
	accessReviews = "subjectaccessreviews"
)

// reviewer asks the API server whose a token is and what a user may do, and remembers the answers for a while. It may be
// used concurrently: those who ask the same at once share one request.
//
// k8s.io/apiserver has the like; in the exporter it would take 17 MB of memory, used or not.
type reviewer struct {
	client  *http.Client
	server  *url.URL
	timeout time.Duration // of one question, with all attempts

	users    *cache.LRUExpireCache // by key of a token: *authenticationv1.UserInfo, nil for nobody
	accesses *cache.LRUExpireCache // by key of what is asked: bool
	flights  singleflight.Group
}

func newReviewer(config *rest.Config, timeout time.Duration) (*reviewer, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	return &reviewer{
		client: client, server: server, timeout: timeout,
		users: cache.NewLRUExpireCache(remembered), accesses: cache.NewLRUExpireCache(remembered),
	}, nil
}

// who is the user whose token it is; nil for a token that nobody has.
func (r *reviewer) who(ctx context.Context, token string) (*authenticationv1.UserInfo, error) {
	answer, err := r.once(ctx, r.users, keyOf(tokenReviews, []byte(token)), func(ctx context.Context) (any, time.Duration, error) {
		var review authenticationv1.TokenReview
		kind := metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}
		if err := r.ask(ctx, tokenReviews, kind, authenticationv1.TokenReview{TypeMeta: kind, Spec: authenticationv1.TokenReviewSpec{Token: token}}, &review); err != nil {
			return nil, 0, err
		}
		if !review.Status.Authenticated {
			return (*authenticationv1.UserInfo)(nil), deniedTTL, nil
		}
		user := &review.Status.User
		if !slices.Contains(user.Groups, "system:authenticated") {
			user.Groups = append(user.Groups, "system:authenticated")
		}
		return user, knownTTL, nil
	})
	if err != nil {
		return nil, err
	}
	return answer.(*authenticationv1.UserInfo), nil
}

// may tells whether a user may use a verb ("get") on a path ("/metrics").
func (r *reviewer) may(ctx context.Context, user *authenticationv1.UserInfo, verb, path string) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: verb, Path: path},
	}
	if len(user.Extra) > 0 {
		spec.Extra = make(map[string]authorizationv1.ExtraValue, len(user.Extra))
		for name, values := range user.Extra {
			spec.Extra[name] = authorizationv1.ExtraValue(values)
		}
	}
	question, err := json.Marshal(spec)
	if err != nil {
		return false, fmt.Errorf("couldn't write down the question: %w", err)
	}
	answer, err := r.once(ctx, r.accesses, keyOf(accessReviews, question), func(ctx context.Context) (any, time.Duration, error) {
		var review authorizationv1.SubjectAccessReview
		kind := metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"}
		if err := r.ask(ctx, accessReviews, kind, authorizationv1.SubjectAccessReview{TypeMeta: kind, Spec: spec}, &review); err != nil {
			return nil, 0, err
		}
		if review.Status.Allowed && !review.Status.Denied {
			return true, allowedTTL, nil
		}
		return false, deniedTTL, nil
	})
	if err != nil {
		return false, err
	}
	return answer.(bool), nil
}

// keyOf is what an answer is remembered by. It doesn't give the token away.
func keyOf(kind string, question []byte) string {
	sum := sha256.Sum256(question)
	return kind + string(sum[:])
}

// once gives the remembered answer of a key, or asks for it: once for all who want it at a time. Errors are not
// remembered. Who asks stops waiting with ctx; the question goes on for the others.
func (r *reviewer) once(ctx context.Context, answers *cache.LRUExpireCache, key string, ask func(context.Context) (any, time.Duration, error)) (any, error) {
	if answer, ok := answers.Get(key); ok {
		return answer, nil
	}
	flight := r.flights.DoChan(key, func() (any, error) {
		if answer, ok := answers.Get(key); ok { // another flight has landed since
			return answer, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
		defer cancel()
		answer, ttl, err := ask(ctx)
		if err == nil {
			answers.Add(key, answer, ttl)
		}
		return answer, err
	})
	select {
	case result := <-flight:
		return result.Val, result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// statusError is an answer that is none.
type statusError struct {
	code int
	text string
}

// Error implements error.
func (e *statusError) Error() string {
	return fmt.Sprintf("the API server answered %d %s: %q", e.code, http.StatusText(e.code), e.text)
}

// ask sends a review of a kind, up to three times while the API server has trouble, and reads the answer, which has to be
// one of the same kind. The answer must not share memory with the review: others may be reading that.
func (r *reviewer) ask(ctx context.Context, resource string, kind metav1.TypeMeta, review, answer any) error {
	question, err := json.Marshal(review)
	if err != nil {
		return fmt.Errorf("couldn't write a %s: %w", kind.Kind, err)
	}
	to := r.server.JoinPath("apis", kind.APIVersion, resource).String()
	for pause := r.timeout / 20; ; pause *= 2 {
		body, again, err := r.try(ctx, to, question)
		switch {
		case err == nil:
			var got metav1.TypeMeta
			if err := json.Unmarshal(body, &got); err != nil {
				return fmt.Errorf("couldn't read the API server's answer to a %s: %w", kind.Kind, err)
			}
			if got != kind {
				return fmt.Errorf("the API server answered a %s with a %q of %q", kind.Kind, got.Kind, got.APIVersion)
			}
			if err := json.Unmarshal(body, answer); err != nil {
				return fmt.Errorf("couldn't read the API server's %s: %w", kind.Kind, err)
			}
			return nil
		case !again || pause > r.timeout/10:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// try sends a review once. again tells whether another attempt makes sense after an error.
func (r *reviewer) try(ctx context.Context, to string, question []byte) (answer []byte, again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(question))
	if err != nil {
		return nil, false, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, !errors.Is(err, context.DeadlineExceeded), err
	}
	defer response.Body.Close()
	if answer, err = io.ReadAll(io.LimitReader(response.Body, 1<<20)); err != nil {
		return nil, true, fmt.Errorf("couldn't read the API server's answer: %w", err)
	}
	if code := response.StatusCode; code != http.StatusOK && code != http.StatusCreated {
		text := strings.ToValidUTF8(string(answer[:min(len(answer), 300)]), "")
		return nil, code == http.StatusTooManyRequests || code >= http.StatusInternalServerError, &statusError{code, text}
	}
	return answer, false, nil
}
