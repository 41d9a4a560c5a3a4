package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// gate is a filter over an API server, and what it counts and logs.
type gate struct {
	testing.TB
	api      *apiServer
	handler  http.Handler
	registry *prometheus.Registry

	mu  sync.Mutex
	out bytes.Buffer
}

func newGate(t testing.TB, timeout time.Duration) *gate {
	t.Helper()
	g := &gate{TB: t, api: newAPIServer(t), registry: prometheus.NewRegistry()}
	f, err := newFilter(&Options{AuthFilter: true, Kubeconfig: g.api.kubeconfig}, timeout, slog.New(slog.NewTextHandler(g, nil)), g.registry)
	if err != nil {
		t.Fatal(err)
	}
	g.handler = f.protect(http.HandlerFunc(greet))
	return g
}

// Write implements io.Writer for the log.
func (g *gate) Write(line []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.out.Write(line)
}

func (g *gate) logged() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.out.String()
}

// ask sends a request with an Authorization header, "" for none.
func (g *gate) ask(method, path, credentials string) (int, string) {
	answer := g.answer(g.Context(), method, path, credentials)
	return answer.Code, strings.TrimSpace(answer.Body.String())
}

func (g *gate) answer(ctx context.Context, method, path, credentials string) *httptest.ResponseRecorder {
	request := httptest.NewRequestWithContext(ctx, method, path, nil)
	if credentials != "" {
		request.Header.Set("Authorization", credentials)
	}
	answer := httptest.NewRecorder()
	g.handler.ServeHTTP(answer, request)
	return answer
}

func (g *gate) wantStatus(want int, credentials string) {
	g.Helper()
	if status, body := g.ask("GET", "/metrics", credentials); status != want {
		g.Errorf("%q: %d %s, want %d", credentials, status, body, want)
	}
}

func (g *gate) wantCounts(allowed, unauthenticated, forbidden, unavailable int) {
	g.Helper()
	want := fmt.Sprintf(`# HELP headwater_web_authorizations_total Requests that --auth-filter decided on: allowed, unauthenticated (401), forbidden (403), or unavailable (503) because the API server gave no answer.
# TYPE headwater_web_authorizations_total counter
headwater_web_authorizations_total{result="allowed"} %d
headwater_web_authorizations_total{result="forbidden"} %d
headwater_web_authorizations_total{result="unauthenticated"} %d
headwater_web_authorizations_total{result="unavailable"} %d
`, allowed, forbidden, unauthenticated, unavailable)
	if err := testutil.GatherAndCompare(g.registry, strings.NewReader(want)); err != nil {
		g.Error(err)
	}
}

func TestWhoMayReadIsWhatTheAPIServerSays(t *testing.T) {
	g := newGate(t, patience)
	if status, body := g.ask("GET", "/metrics?resources=pods", "Bearer scraper-token"); status != 200 || body != `hello over HTTP/1.1, credentials ""` {
		t.Errorf("%d %s", status, body)
	}
	if len(g.api.accesses) != 1 {
		t.Fatalf("%d access reviews", len(g.api.accesses))
	}
	review := g.api.accesses[0]
	if review.User != "scraper" || review.UID != "uid-1" || strings.Join(review.Groups, ",") != "monitoring,system:authenticated" || strings.Join(review.Extra["pod"], ",") != "p-0" {
		t.Errorf("the review is of %+v", review)
	}
	if n := review.NonResourceAttributes; review.ResourceAttributes != nil || n == nil || n.Path != "/metrics" || n.Verb != "get" {
		t.Errorf("the review is of %+v, %+v", review.ResourceAttributes, review.NonResourceAttributes)
	}

	g.wantStatus(403, "Bearer viewer-token")
	if status, body := g.ask("GET", "/debug/pprof/heap", "Bearer scraper-token"); status != 403 || !strings.Contains(body, `"scraper" may not get /debug/pprof/heap`) {
		t.Errorf("another path: %d %s", status, body)
	}
	if status, body := g.ask("HEAD", "/metrics", "Bearer scraper-token"); status != 403 || !strings.Contains(body, "head") {
		t.Errorf("another verb: %d %s", status, body)
	}
	for _, credentials := range []string{"", "Bearer nobodys-token", "Bearer ", "Bearer", "bearer  nobodys-token", "Bearer two tokens", "Basic c2NyYXBlcjp0b2tlbg==", "scraper-token", "Bearer " + strings.Repeat("x", 100_000)} {
		answer := g.answer(t.Context(), "GET", "/metrics", credentials)
		if answer.Code != 401 || answer.Header().Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%.30q: %d %s, %v", credentials, answer.Code, answer.Body, answer.Header())
		}
	}
	g.wantCounts(1, 9, 3, 0)
	if g.logged() != "" {
		t.Errorf("what clients do wrong was logged: %s", g.logged())
	}
	if problems, err := testutil.GatherAndLint(g.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestAnswersAreUsedAgain(t *testing.T) {
	g := newGate(t, patience)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { g.wantStatus(200, "Bearer scraper-token") })
	}
	all.Wait()
	if tokens, accesses := g.api.reviews(); tokens != 1 || accesses != 1 {
		t.Errorf("%d token reviews and %d access reviews for 100 requests at once", tokens, accesses)
	}
	_, before := g.api.reviews()
	for range 10 {
		g.wantStatus(200, "Bearer scraper-token")
		g.wantStatus(403, "Bearer viewer-token")
	}
	if tokens, accesses := g.api.reviews(); tokens != 2 || accesses != before+1 {
		t.Errorf("%d token reviews and %d access reviews, want 2 and %d", tokens, accesses, before+1)
	}
	// What was answered counts on while the API server is away.
	g.api.away()
	g.wantStatus(200, "Bearer scraper-token")
	g.wantStatus(403, "Bearer viewer-token")
}

func TestAnAPIServerThatIsAway(t *testing.T) {
	g := newGate(t, ReviewTimeout)
	g.api.away()
	for range 3 {
		answer := g.answer(t.Context(), "GET", "/metrics", "Bearer scraper-token")
		if answer.Code != 503 || answer.Header().Get("Retry-After") == "" || !strings.Contains(answer.Body.String(), "couldn't ask the API server who you are") {
			t.Errorf("%d %s", answer.Code, answer.Body)
		}
		if strings.Contains(answer.Body.String(), "127.0.0.1") {
			t.Errorf("the client is told where the API server is: %s", answer.Body)
		}
	}
	g.wantStatus(401, "")
	g.wantCounts(0, 1, 0, 3)
	if log := g.logged(); strings.Count(log, "a request was refused") != 1 || !strings.Contains(log, "connection refused") {
		t.Errorf("the log: %s", log)
	}
}

func TestAnAPIServerThatIsSlow(t *testing.T) {
	g := newGate(t, 300*time.Millisecond)
	stuckAt := func(resource string) http.HandlerFunc {
		api := g.api
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, resource) {
				<-t.Context().Done()
			}
			api.usual(w, r)
		}
	}
	g.api.bend(stuckAt("tokenreviews"))
	refused := func(path, says string) {
		t.Helper() // and not when the API server answers, which is never
		if status, body := g.ask("GET", path, "Bearer scraper-token"); status != 503 || !strings.Contains(body, says) {
			t.Errorf("%d %s", status, body)
		}
	}
	recovers := func(path string, want int) { // although the API server never answers the first review
		t.Helper()
		g.api.bend(nil)
		testenv.Eventually(t, patience, func() error {
			if status, body := g.ask("GET", path, "Bearer scraper-token"); status != want {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
	}
	refused("/metrics", "who you are")
	recovers("/metrics", 200)
	g.api.bend(stuckAt("subjectaccessreviews")) // who asks is remembered
	refused("/debug/pprof/heap", "whether you may")
	recovers("/debug/pprof/heap", 403)
}

func TestAnAPIServerThatAnswersNonsense(t *testing.T) {
	tokenReview := metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}
	accessReview := metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"}
	answerWith := func(status int, review any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(review)
		}
	}
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		tokens, accesses http.HandlerFunc
		want             []int
		logs             string
		kept             bool // it was an answer, though an odd one
	}{
		"internal error":          {tokens: text(500, "oh"), want: []int{503}},
		"too many requests":       {tokens: text(429, "later"), want: []int{503}},
		"not allowed to ask who":  {tokens: text(403, "no"), want: []int{503}, logs: "tokenreviews.authentication.k8s.io"},
		"own token has expired":   {tokens: text(401, "no"), want: []int{503}, logs: "system:auth-delegator"},
		"not allowed to ask may":  {accesses: text(403, "no"), want: []int{503}, logs: "subjectaccessreviews.authorization.k8s.io"},
		"no such API":             {tokens: text(404, "no"), want: []int{503}},
		"not JSON":                {tokens: text(201, "<html>"), want: []int{503}},
		"empty":                   {tokens: text(201, ""), want: []int{503}},
		"another kind":            {tokens: answerWith(201, &authorizationv1.SubjectAccessReview{TypeMeta: accessReview}), want: []int{503}},
		"an object":               {tokens: text(201, "{}"), want: []int{503}},
		"a list":                  {tokens: text(201, "[]"), want: []int{503}},
		"a wrong type":            {tokens: text(201, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":[true]}`), want: []int{503}},
		"an empty review":         {tokens: answerWith(201, &authenticationv1.TokenReview{TypeMeta: tokenReview}), want: []int{401}, kept: true},
		"accesses are not JSON":   {accesses: text(201, "<html>"), want: []int{503}},
		"an empty access review":  {accesses: answerWith(201, &authorizationv1.SubjectAccessReview{TypeMeta: accessReview}), want: []int{403}, kept: true},
		"both allowed and denied": {accesses: answerWith(201, &authorizationv1.SubjectAccessReview{TypeMeta: accessReview, Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true, Denied: true}}), want: []int{403}, kept: true},
		"internal error then":     {accesses: text(500, "oh"), want: []int{503}},
	} {
		g := newGate(t, 6*time.Second)
		g.api.bend(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case c.tokens != nil && strings.HasSuffix(r.URL.Path, "tokenreviews"):
				c.tokens(w, r)
			case c.accesses != nil && strings.HasSuffix(r.URL.Path, "subjectaccessreviews"):
				c.accesses(w, r)
			default:
				g.api.usual(w, r)
			}
		})
		status, body := g.ask("GET", "/metrics", "Bearer scraper-token")
		ok := false
		for _, want := range c.want {
			ok = ok || status == want
		}
		if !ok {
			t.Errorf("%s: %d %s, want one of %v", name, status, body, c.want)
		}
		if !strings.Contains(g.logged(), c.logs) {
			t.Errorf("%s: the log lacks %q: %s", name, c.logs, g.logged())
		}
		g.api.bend(nil)
		if !c.kept {
			if status, body := g.ask("GET", "/metrics", "Bearer scraper-token"); status != 200 {
				t.Errorf("%s: what was no answer is used again: %d %s", name, status, body)
			}
		}
	}
}

// TestATokenThatNobodyHasIsReviewedOnce answers as kube-apiserver does, with an error in the review, which k8s.io/apiserver would
// not remember.
func TestATokenThatNobodyHasIsReviewedOnce(t *testing.T) {
	g := newGate(t, patience)
	var reviews atomic.Int64
	g.api.bend(func(w http.ResponseWriter, _ *http.Request) {
		reviews.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":{"error":"[invalid bearer token, token lookup failed]"}}`))
	})
	for range 5 {
		if status, body := g.ask("GET", "/metrics", "Bearer nobody-has-this"); status != http.StatusUnauthorized {
			t.Errorf("%d %s", status, body)
		}
	}
	if n := reviews.Load(); n != 1 {
		t.Errorf("%d reviews, want 1", n)
	}
}

func TestAClientThatGoesAwayIsNobodysFault(t *testing.T) {
	g := newGate(t, patience)
	ctx, cancel := context.WithCancel(t.Context())
	g.api.bend(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if answer := g.answer(ctx, "GET", "/metrics", "Bearer scraper-token"); answer.Code == 200 {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if g.logged() != "" {
		t.Errorf("the log: %s", g.logged())
	}
}

func TestTheFilterOverTLS(t *testing.T) {
	f, api := newFolder(t), newAPIServer(t)
	f.pair()
	g := newGuard(t, Options{TLSConfig: f.write("web.yaml", withCertificate), AuthFilter: true, APIServer: api.URL, Kubeconfig: api.kubeconfig})
	address := serve(t, g)
	for credentials, want := range map[string]int{"Bearer scraper-token": 200, "Bearer viewer-token": 403, "Bearer x": 401} {
		response, body, err := get(t.Context(), f.client(true), "https://"+address+"/metrics", "Authorization", credentials)
		if err != nil || response.StatusCode != want {
			t.Errorf("%s: %v, %s, %v, want %d", credentials, response, body, err, want)
		}
	}
}

// TestTroubleThatPasses: a review that fails once doesn't fail the request, and what one user's review says is not what
// another's does.
func TestTroubleThatPasses(t *testing.T) {
	for name, trouble := range map[string]http.HandlerFunc{
		"internal error":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"too many requests": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"broken connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"half of the answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"kind":`))
		},
	} {
		g := newGate(t, ReviewTimeout)
		var mu sync.Mutex
		failed := map[string]bool{} // by path
		g.api.bend(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			again := failed[r.URL.Path]
			failed[r.URL.Path] = true
			mu.Unlock()
			if again {
				g.api.usual(w, r)
			} else {
				trouble(w, r)
			}
		})
		if status, body := g.ask("GET", "/metrics", "Bearer scraper-token"); status != 200 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}

	g := newGate(t, patience)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { g.wantStatus(200, "Bearer scraper-token") })
		all.Go(func() { g.wantStatus(403, "Bearer viewer-token") })
		all.Go(func() { g.wantStatus(401, "Bearer nobodys-token") })
	}
	all.Wait()
}
