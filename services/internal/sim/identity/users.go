package identity

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Groups that every authenticated, every anonymous and every all-powerful user is in.
const (
	Authenticated   = "system:authenticated"
	Unauthenticated = "system:unauthenticated"
	Masters         = "system:masters"
)

// ErrBadCredentials is returned for a token that nobody has: HTTP 401.
var ErrBadCredentials = errors.New("the bearer token is not known")

// User is somebody who may send requests.
type User struct {
	Name   string
	UID    string
	Groups []string
	// Rules are what the user may do. Members of system:masters may do everything.
	Rules []Rule
}

// Rule allows verbs on resources of groups, or on paths that are no resources. "*" stands for all; a path may end in it.
type Rule struct {
	Verbs, Groups, Resources, Paths []string
}

// Attributes describe one request.
type Attributes struct {
	Verb, Group, Version, Resource, Subresource, Namespace, Name string
	// Path is set for requests that name no resource.
	Path string
}

// Registry knows the users, their tokens and what is forbidden to all. It may be used concurrently.
type Registry struct {
	mu     sync.RWMutex
	tokens map[string]User
	users  map[string]User
	// forbidden holds, by "resource" or "resource.group", the verbs that nobody may use now; "*" is all of them.
	forbidden map[string][]string
}

// NewRegistry makes a registry that knows nobody.
func NewRegistry() *Registry {
	return &Registry{tokens: map[string]User{}, users: map[string]User{}, forbidden: map[string][]string{}}
}

// Add makes a user known under a token (none: the user comes with a client certificate). The group of all
// authenticated users is added to the user's own.
func (r *Registry) Add(token string, user User) {
	if !slices.Contains(user.Groups, Authenticated) {
		user.Groups = append(slices.Clone(user.Groups), Authenticated)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if token != "" {
		r.tokens[token] = user
	}
	r.users[user.Name] = user
}

// ByToken returns the user whom a token belongs to.
func (r *Registry) ByToken(token string) (User, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	user, ok := r.tokens[token]
	return user, ok
}

// ByName returns a user with the rights added under that name, or one with none.
func (r *Registry) ByName(name string, groups []string) User {
	r.mu.RLock()
	defer r.mu.RUnlock()
	user, ok := r.users[name]
	if !ok {
		return User{Name: name, Groups: groups}
	}
	for _, group := range groups {
		if !slices.Contains(user.Groups, group) {
			user.Groups = append(slices.Clone(user.Groups), group)
		}
	}
	return user
}

// Authenticate says who sent a request: by its verified client certificate, then by its bearer token. A request with
// neither is anonymous. It returns ErrBadCredentials for a token that is not known.
func (r *Registry) Authenticate(request *http.Request) (User, error) {
	if request.TLS != nil && len(request.TLS.VerifiedChains) > 0 {
		subject := request.TLS.VerifiedChains[0][0].Subject
		return r.ByName(subject.CommonName, append(slices.Clone(subject.Organization), Authenticated)), nil
	}
	header := request.Header.Get("Authorization")
	if scheme, token, ok := strings.Cut(header, " "); ok && strings.EqualFold(scheme, "Bearer") {
		user, ok := r.ByToken(strings.TrimSpace(token))
		if !ok {
			return User{}, ErrBadCredentials
		}
		return user, nil
	}
	return User{Name: "system:anonymous", Groups: []string{Unauthenticated}}, nil
}

// Forbid takes the given verbs (none: all) on a resource away from everybody, system:masters included. The resource
// is a plural name, with ".group" behind it outside the core group.
func (r *Registry) Forbid(resource string, verbs ...string) {
	if len(verbs) == 0 {
		verbs = []string{"*"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forbidden[resource] = slices.Clone(verbs)
}

// Permit ends Forbid.
func (r *Registry) Permit(resource string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.forbidden, resource)
}

// Authorize says whether a user may do something.
func (r *Registry) Authorize(user User, a Attributes) bool {
	if a.Resource != "" {
		name := a.Resource
		if a.Group != "" {
			name += "." + a.Group
		}
		r.mu.RLock()
		verbs := r.forbidden[name]
		r.mu.RUnlock()
		if matches(verbs, a.Verb) {
			return false
		}
	}
	if slices.Contains(user.Groups, Masters) {
		return true
	}
	for _, rule := range user.Rules {
		if rule.allows(a) {
			return true
		}
	}
	return false
}

func (rule Rule) allows(a Attributes) bool {
	if !matches(rule.Verbs, a.Verb) {
		return false
	}
	if a.Resource == "" {
		return slices.ContainsFunc(rule.Paths, func(path string) bool {
			prefix, open := strings.CutSuffix(path, "*")
			return path == a.Path || open && strings.HasPrefix(a.Path, prefix)
		})
	}
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	return matches(rule.Groups, a.Group) && matches(rule.Resources, resource)
}

func matches(list []string, value string) bool {
	return slices.Contains(list, value) || slices.Contains(list, "*")
}
