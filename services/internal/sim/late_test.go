package sim_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestAKubeletThatIsToldToBeLate(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	url := kubeletURL(t, c, "node-0001")
	tell := func(method, token, query string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, strings.Replace(url, "/metrics/resource", "/sim/late?"+query, 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := scraper(c).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	takes := func() time.Duration {
		t.Helper()
		begin := time.Now()
		if code, _, err := scrape(t.Context(), c, scraper(c), url); code != http.StatusOK {
			t.Fatal(code, err)
		}
		return time.Since(begin)
	}
	for query, want := range map[string]int{"": 400, "by=1s": 400, "by=1s&for=0s": 400, "by=-1s&for=1s": 400, "by=x&for=1s": 400} {
		if got := tell(http.MethodPost, c.Token(), query); got != want {
			t.Errorf("%q: %d, want %d", query, got, want)
		}
	}
	if got := tell(http.MethodGet, c.Token(), "by=1s&for=1s"); got != http.StatusBadRequest {
		t.Errorf("GET: %d", got)
	}
	if got := tell(http.MethodPost, "wrong", "by=1s&for=1s"); got != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d", got)
	}
	const by, while = 150 * time.Millisecond, 2 * time.Second
	begin := time.Now() // before the kubelet counts from
	if got := tell(http.MethodPost, c.Token(), "by="+by.String()+"&for="+while.String()); got != http.StatusNoContent {
		t.Fatalf("%d", got)
	}
	if took := takes(); took < by && time.Since(begin) < while {
		t.Errorf("answered after %v, told to be %v late", took, by)
	}
	testenv.Eventually(t, soon, func() error {
		if time.Since(begin) < while || takes() >= by {
			return errNotYet
		}
		return nil
	})
}
