package scraper

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

const shareResolution = time.Second

// TestIngestersShare: ingesters come, are stopped, killed and cut off from NATS. Every node is always somebody's, but for a
// bounded time, and nobody's rate notices.
func TestIngestersShare(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	w.config.MetricResolution = shareResolution
	r := newRecorder(t, w, shareNodes)
	published := collect(t, cfg)
	stalls := measureStalls(t)

	a := w.start(cfg, "a", nil)
	a.ready(t)
	r.settled(10*time.Second, "a")
	b, c := w.start(cfg, "b", nil), w.start(cfg, "c", nil)
	b.ready(t)
	c.ready(t)
	first := r.settled(10*time.Second, "a", "b", "c")
	for _, i := range []*ingester{a, b, c} {
		own := i.gauge("headwater_ingest_share_nodes", "own")
		if n := i.gauge("headwater_ingest_members", ""); n != 3 || own < 1 || own+i.gauge("headwater_ingest_share_nodes", "others") != shareNodes || i.gauge("headwater_ingest_member", "") != 1 {
			t.Errorf("%s: %v members, %v nodes", i.cfg.Instance, n, own)
		}
	}
	if problems, err := testutil.GatherAndLint(a.registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	// what counts is measured from the last scrape before it happened
	measure := func(what string, from time.Time, of string, longest time.Duration) {
		t.Helper()
		gap, node := r.gap(from.Add(-2 * shareResolution))
		double := r.double(from, of)
		lost := stalls.since(from.Add(-2 * shareResolution))
		t.Logf("%s: longest time without a scrape %v (%s), longest time scraped by two %v, stalled for %v", what, gap.Round(time.Millisecond), node, double.Round(time.Millisecond), lost.Round(time.Millisecond))
		if gap > longest+lost {
			t.Errorf("%s: %s was not scraped for %v, want at most %v", what, node, gap, longest)
		}
		if double > 2*shareResolution+lost {
			t.Errorf("%s: a node was scraped by two for %v", what, double)
		}
	}
	moved := func(what string, before, after map[string]string, gone string) {
		t.Helper()
		for node, owner := range before {
			if owner != gone && after[node] != owner {
				t.Errorf("%s: %s moved from %s to %s", what, node, owner, after[node])
			}
		}
	}

	stopped := time.Now()
	c.stop()
	two := r.settled(10*time.Second, "a", "b")
	measure("c was stopped", stopped, "c", shareResolution*7/4)
	moved("c was stopped", first, two, "c")
	if taken := r.taken(stopped, first, "c"); taken > shareResolution*5/4+stalls.since(stopped) { // each when it was due anyway
		t.Errorf("c was stopped, and its nodes taken over after %v", taken)
	} else {
		t.Logf("taken over %v after the stop", taken.Round(time.Millisecond))
	}

	all := []*ingester{a, b, c}
	c = w.start(cfg, "c", nil)
	c.ready(t)
	if again := r.settled(10*time.Second, "a", "b", "c"); !maps.Equal(again, first) {
		t.Error("c has other nodes than before")
	}

	killed := time.Now()
	c.kill()
	after := r.settled(10*time.Second, "a", "b")
	measure("c was killed", killed, "c", 3*shareResolution)
	moved("c was killed", first, after, "c")
	if taken := r.taken(killed, first, "c"); taken > 2*shareResolution+stalls.since(killed) {
		t.Errorf("c was killed, and its nodes taken over after %v", taken)
	} else {
		t.Logf("taken over %v after the kill", taken.Round(time.Millisecond))
	}

	cut := time.Now()
	b.line.cut(true)
	r.settled(10*time.Second, "a")
	measure("b was cut off", cut, "b", 3*shareResolution)
	if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "not a member") {
		t.Errorf("b is cut off and says %v", err)
	}
	if n := b.gauge("headwater_ingest_member", ""); n != 0 {
		t.Errorf("b is cut off and a member: %v", n)
	}
	if taken := r.taken(cut, after, "b"); taken > 2*shareResolution+stalls.since(cut) {
		t.Errorf("b was cut off, and its nodes taken over after %v", taken)
	} else {
		t.Logf("taken over %v after the cut", taken.Round(time.Millisecond))
	}
	healed := time.Now()
	b.line.cut(false)
	if again := r.settled(20*time.Second, "a", "b"); !maps.Equal(again, after) {
		t.Error("b has other nodes than before")
	}
	measure("b is back", healed, "a", 2*shareResolution)
	b.stop()
	a.stop()
	all = append(all, c)
	failed := 0.0
	for _, i := range all {
		failed += i.counter("headwater_ingest_recalls_total", recallFailed)
	}
	published.check(t, int(failed), stalls)
}

// An ingester that is alone waits for nobody, and goes on while NATS is away.
func TestIngesterAlone(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	r := newRecorder(t, w, shareNodes)
	a := w.start(cfg, "a", nil)
	a.ready(t)
	began := time.Now()
	testenv.Eventually(t, 20*time.Second, func() error {
		if n := len(r.since(time.Time{})); n < shareNodes {
			return fmt.Errorf("%d nodes scraped", n)
		}
		return nil
	})
	t.Logf("all nodes were scraped after %v", time.Since(began).Round(time.Millisecond))
	a.line.cut(true)
	from := time.Now()
	testenv.Eventually(t, 10*time.Second, func() error {
		for node, all := range r.since(from) {
			if len(all) < 4 { // far beyond the lease
				return fmt.Errorf("%s was scraped %d times", node, len(all))
			}
		}
		if n := len(r.since(from)); n < shareNodes {
			return fmt.Errorf("%d nodes scraped", n)
		}
		return nil
	})
	a.line.cut(false)
	r.settled(10*time.Second, "a")
	if err := a.Ready(); err != nil {
		t.Error(err)
	}
}

// Each says itself how long it may be silent: one that scrapes seldom isn't taken for lost by one that scrapes often.
func TestIngestersOfTwoResolutions(t *testing.T) {
	const slow = 3 * shareResolution
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	r := newRecorder(t, w, shareNodes)
	stalls := measureStalls(t)
	w.start(cfg, "a", nil).ready(t)
	b := w.start(cfg, "b", func(c *Config) { c.MetricResolution = slow })
	b.ready(t)
	owner := r.settled(30*time.Second, "a", "b")
	killed := time.Now()
	b.kill()
	r.settled(30*time.Second, "a")
	// What b said last may be older by as long as it wasn't let.
	lost := stalls.since(killed.Add(-slow))
	if taken := r.taken(killed, owner, "b"); taken < slow/2-lost || taken > 2*slow+lost {
		t.Errorf("taken over after %v, stalled for %v", taken, lost)
	}
}
