package api

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// TestWatchRefusals: combinations that mean nothing, and versions that can't be.
func TestWatchRefusals(t *testing.T) {
	s := start(t, small, enableWatch)
	version := s.version(group + "/nodes")
	for query, want := range map[string]string{
		"watch=true&resourceVersion=abc":                                                        `400 resourceVersion \"abc\" is no number; take one that a list or a watch of this API has given`,
		"watch=true&resourceVersion=-1":                                                         "400 is no number",
		"resourceVersion=1.5":                                                                   "400 is no number",
		"watch=true&sendInitialEvents=true":                                                     "422 sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
		"watch=true&resourceVersionMatch=NotOlderThan":                                          "422 resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
		"watch=true&sendInitialEvents=true&resourceVersionMatch=Exact":                          "422 Unsupported value",
		"sendInitialEvents=true":                                                                "422 sendInitialEvents is forbidden for list",
		"resourceVersionMatch=Exact":                                                            "422 resourceVersionMatch is forbidden unless resourceVersion is provided",
		"resourceVersionMatch=Exact&resourceVersion=0":                                          "422 forbidden for resourceVersion",
		"resourceVersionMatch=Nonsense&resourceVersion=" + version:                              "422 Unsupported value",
		"resourceVersionMatch=Exact&resourceVersion=" + version:                                 "200 node-a",
		"resourceVersionMatch=NotOlderThan&resourceVersion=" + version:                          "200 node-a",
		"resourceVersionMatch=NotOlderThan&resourceVersion=5":                                   "200 node-a",
		"resourceVersionMatch=Exact&resourceVersion=5":                                          "410 too old resource version: 5",
		"watch=true&timeoutSeconds=x":                                                           "400 ",
		"watch=true&fieldSelector=spec.nodeName%3Da":                                            `400 not a known field selector`,
		"watch=true&resourceVersion=5":                                                          "200 too old resource version: 5",
		"watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=x": "400 is no number",
	} {
		if strings.HasPrefix(want, "200 too old") {
			w := s.watch(t, group+"/nodes?"+query)
			if line := w.next(); w.response.StatusCode != 200 || !strings.Contains(line, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1"`) ||
				!strings.Contains(line, want[4:]) || !strings.Contains(line, `"reason":"Expired","code":410`) {
				t.Errorf("%s: %s", query, line)
			}
			w.expect("end")
			continue
		}
		code, body := s.get(group + "/nodes?" + query)
		if want := strings.SplitN(want, " ", 2); fmt.Sprint(code) != want[0] || !strings.Contains(body, want[1]) {
			t.Errorf("%s: %d %s, want %s", query, code, body, want)
		}
	}
	if code, body := s.get(group + "/nodes/node-a?resourceVersion=abc"); code != 400 {
		t.Errorf("%d %s", code, body)
	}
	if code, body := s.get(group + "/nodes/node-a?resourceVersion=" + version); code != 200 || !strings.Contains(body, `"resourceVersion":"`+version+`"`) {
		t.Errorf("%d %s", code, body)
	}
	if _, body := s.get("/metrics"); !strings.Contains(body, `headwater_metricsapi_watches_refused_total{reason="Expired"} 1`) {
		t.Error("no refused watch was counted")
	}
}

// TestWatchTimeout: a watch ends when its time is over, and a bookmark comes before.
func TestWatchTimeout(t *testing.T) {
	s := start(t, small, enableWatch)
	version := s.version(group + "/nodes")
	began := time.Now()
	s.watch(t, group+"/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=3&resourceVersion="+version).expect("BOOKMARK NodeMetrics", "end")
	if took := time.Since(began); took < 2*time.Second || took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	s.watch(t, group+"/nodes?watch=true&timeoutSeconds=1&resourceVersion="+version).expect("end")
}

func TestWatchEndsWithTheService(t *testing.T) {
	s := newServed(t, enableWatch)
	small(s)
	s.whole()
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.service.Run(ctx) }()
	testenv.Eventually(t, 10*time.Second, s.service.Ready)
	s.url = "https://" + s.service.Addr().String()
	idle := s.watch(t, group+"/nodes?watch=true&resourceVersion="+s.version(group+"/nodes"))
	stop()
	idle.expect("end")
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a watch holds up the end")
	}
}

// TestWatchWhileNothingIsTrue: when the usage has not been heard of for long, those who watch are told what those are told who
// list, and not that everything is gone.
func TestWatchWhileNothingIsTrue(t *testing.T) {
	s := start(t, small, enableWatch)
	w := s.watch(t, group+"/nodes?watch=true&resourceVersion="+s.version(group+"/nodes"))
	s.usage.heard.Store(epoch.Add(-time.Hour).UnixNano())
	w.expect("ERROR 503 ServiceUnavailable", "end")
	if code, _ := s.get(group + "/nodes?watch=true"); code != 503 {
		t.Errorf("another one: %d", code)
	}
	s.usage.heard.Store(0)
	w = s.watch(t, group+"/nodes?watch=true")
	w.expect("ADDED NodeMetrics node-a 1500u\nADDED NodeMetrics node-b 1")
}

// TestWatchOfOldSamples: what is too old is gone for those who watch, within a second or two.
func TestWatchOfOldSamples(t *testing.T) {
	s := newServed(t, enableWatch)
	small(s)
	s.whole()
	var later atomic.Int64
	s.service.now = func() time.Time { return epoch.Add(time.Second + time.Duration(later.Load())) }
	s.run()
	w := s.watch(t, group+"/pods?watch=true&resourceVersion="+s.version(group+"/pods"))
	later.Store(int64(45 * time.Second))
	w.expect("DELETED PodMetrics shop/web-1\nDELETED PodMetrics shop/db-0\nDELETED PodMetrics bank/ledger\nDELETED PodMetrics shop/mixed\nDELETED PodMetrics shop/reset")
	if code, body := s.get(group + "/pods"); code != 200 || strings.Contains(body, "web-1") {
		t.Errorf("%d %s", code, body)
	}
}

// TestWatchWhenTheObjectsAreReadOnceMore: when the objects had to be read once more, those who watch are told to list.
func TestWatchWhenTheObjectsAreReadOnceMore(t *testing.T) {
	s := start(t, small, enableWatch)
	version := s.version(group + "/nodes")
	w := s.watch(t, group+"/nodes?watch=true&resourceVersion="+version)
	s.catalog = s.service.beginCatalog()
	s.sequence += 100
	s.apply(newNode("node-b", nil))
	s.service.serveCatalog(s.catalog, stream.Position{})
	w.expect("ERROR 410 Expired", "end")
	s.watch(t, group+"/nodes?watch=true&resourceVersion="+version).expect("ERROR 410 Expired", "end")
	s.watch(t, group+"/nodes?watch=true").expect("ADDED NodeMetrics node-b 1")
}

// TestVersions: what a replica makes of a place, others understand who are not far from there.
func TestVersions(t *testing.T) {
	const far = 1<<(objectsBits-1) - 1
	for _, objects := range []uint64{0, 1, 5, far, 1 << objectsBits, 1<<objectsBits - 1, 1<<objectsBits + 1, 3<<objectsBits + 7, 1 << 40} {
		for _, difference := range []int64{0, 1, -1, 1000, -1000, far, -far} {
			near := int64(objects) + difference
			if near < 0 {
				continue
			}
			for _, part := range []bool{true, false} {
				place := view.Place{Usage: 1<<40 - 1, Objects: objects, Part: part}
				if got := placeOf(versionOf(place), view.Place{Objects: uint64(near)}); got != place {
					t.Errorf("%+v from near %d: %+v", place, near, got)
				}
			}
		}
	}
	if a, b := versionOf(view.Place{Usage: 7, Objects: 9, Part: true}), versionOf(view.Place{Usage: 7, Objects: 9}); a <= b || a >= versionOf(view.Place{Usage: 8}) {
		t.Errorf("%d, %d", a, b)
	}
}
