package api

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"k8s.io/client-go/transport"

	"github.com/headwater-metrics/headwater/services/internal/files"
)

// followToken returns a wrapper that sends a request again with what the token file says now when the API server refuses the
// token that it had. The library reads the file once a minute, and until then everybody would be refused whose token this
// server can't have reviewed. nil for no file.
func followToken(file string) transport.WrapperFunc {
	if file == "" {
		return nil
	}
	return func(next http.RoundTripper) http.RoundTripper { return &tokenFollower{file: file, next: next} }
}

// tokenFollower is the http.RoundTripper of followToken.
type tokenFollower struct {
	file string
	next http.RoundTripper

	mu           sync.Mutex // guards both
	stale, fresh string     // the Authorization that was refused, and the one that takes its place; "" for none
}

// RoundTrip implements http.RoundTripper.
func (f *tokenFollower) RoundTrip(request *http.Request) (*http.Response, error) {
	given := request.Header.Get("Authorization")
	f.mu.Lock()
	if given != "" && given == f.stale {
		fresh := f.fresh
		f.mu.Unlock()
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", fresh)
	} else {
		f.mu.Unlock()
	}
	response, err := f.next.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	token, err := files.Read(f.file, maxToken)
	fresh := "Bearer " + strings.TrimSpace(string(token))
	if err != nil || len(token) == 0 || fresh == request.Header.Get("Authorization") {
		return response, nil
	}
	again := request.Clone(request.Context())
	if request.Body != nil && request.Body != http.NoBody {
		if request.GetBody == nil {
			return response, nil
		}
		if again.Body, err = request.GetBody(); err != nil {
			return response, nil
		}
	}
	again.Header.Set("Authorization", fresh)
	f.mu.Lock()
	f.stale, f.fresh = given, fresh
	f.mu.Unlock()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)) // so that the connection can be used again
	_ = response.Body.Close()
	return f.next.RoundTrip(again)
}

// WrappedRoundTripper lets the library find what it knows how to treat.
func (f *tokenFollower) WrappedRoundTripper() http.RoundTripper { return f.next }
