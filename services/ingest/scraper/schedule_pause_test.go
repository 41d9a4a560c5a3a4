package scraper

import (
	"testing"
	"testing/synctest"
	"time"
)

// A process that was paused finds all scrapes due at once. They are spread as first ones are, and each is made, also where
// the next timer is late again.
func TestAPauseIsNoHerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		d := newDiary()
		s := newSchedule(t.Context(), resolution, d.scrape, d.skip)
		defer s.stop()
		s.Replace(targets(n))
		time.Sleep(2 * resolution)
		synctest.Wait()

		// Here no time passes while a process is paused, so the timers are said to be late.
		paused := func() {
			s.each(func(l *timeline) {
				l.at = time.Now().Add(-overdue - time.Millisecond)
				l.timer.Reset(0)
			})
			synctest.Wait()
		}
		since := func(from time.Duration) (scrapes []time.Duration) {
			d.mu.Lock()
			defer d.mu.Unlock()
			for _, at := range d.scrapes {
				for _, one := range at {
					if one > from {
						scrapes = append(scrapes, one-from)
					}
				}
			}
			return scrapes
		}
		resumed := time.Since(d.began)
		paused()
		if all := since(resumed); len(all) > 0 {
			t.Errorf("%d scrapes at once", len(all))
		}
		within := spread(n, resolution)
		time.Sleep(within)
		synctest.Wait()
		const parts = 10
		var by [parts + 1]int
		for _, at := range since(resumed) {
			by[int(at*parts/within)]++
		}
		for i, got := range by[:parts] {
			if got < n/parts/2 || got > n/parts*2 {
				t.Errorf("%d scrapes in part %d of %v", got, i, within)
			}
		}
		if all := since(resumed); len(all) != n {
			t.Errorf("%d scrapes, want one of each of %d nodes", len(all), n)
		}

		// Late again: put off once, not for ever.
		time.Sleep(resolution)
		synctest.Wait()
		again := time.Since(d.began)
		paused()
		paused()
		if all := since(again - 1); len(all) != n {
			t.Errorf("%d scrapes of timers that were late twice, want %d", len(all), n)
		}
		if d.overlap {
			t.Error("one was scraped twice at once")
		}
	})
}
