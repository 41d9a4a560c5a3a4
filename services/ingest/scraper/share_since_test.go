package scraper

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// A node that is taken over from somebody who was at it until just now is next scraped when it is due, and not at once; of those
// that nobody had, and those that are ours already, nothing is said.
func TestNodesTakenOverAreScrapedWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		to := newSchedule(t.Context(), resolution, d.scrape, d.skip)
		defer to.stop()
		s := &share{log: testenv.Logger(t), known: make(chan struct{}), targets: map[string]*shared{}, slots: fixedSlots(2)}
		s.metrics = newShareMetrics(nil, s)
		s.begin(to, func([]string) {})
		const nodes = 100
		s.Replace(targets(nodes))
		had := map[string]bool{}
		to.each(func(l *timeline) { had[l.node] = true })
		time.Sleep(resolution * 10) // the bubble's
		synctest.Wait()

		now := time.Now()
		s.mu.Lock()
		s.since, s.slots = now, fixedSlots(1)
		taken, _ := s.again()
		s.mu.Unlock()
		if taken == 0 || taken == nodes || taken != nodes-len(had) {
			t.Fatalf("%d nodes of %d were taken over", taken, nodes)
		}
		atOnce := 0
		to.each(func(l *timeline) {
			since := l.target.Load().since
			if had[l.node] {
				if !since.IsZero() {
					t.Errorf("%s was ours, and somebody is said to have scraped it up to %v", l.node, since)
				}
				return
			}
			wait, made := upcoming(now, now, l.phase, resolution)
			if !made {
				atOnce++
				return
			}
			if due := time.Unix(0, l.due.Load()); !since.Equal(now) || !due.Equal(now.Add(wait)) {
				t.Errorf("%s was scraped up to %v and is scraped in %v, want in %v", l.node, since, due.Sub(now), wait)
			}
		})
		if atOnce > taken/4 { // those that were due in the last half second
			t.Errorf("%d of %d nodes may not have been scraped", atOnce, taken)
		}
	})
}
