package api

import "testing"

// TestWholeIsToldOnce: when both views serve for the first time, and not when one of them is replaced.
func TestWholeIsToldOnce(t *testing.T) {
	told := 0
	s := newServed(t, func(c *Config) { c.Whole = func() { told++ } })
	s.service.serveUsage(s.service.beginUsage(), s.service.usageReplay.Position())
	s.service.serveUsage(s.service.beginUsage(), s.service.usageReplay.Position())
	if told != 0 {
		t.Error("told with one view of two")
	}
	for range 3 {
		s.whole()
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}
