package api

import (
	"testing"
	"time"
)

// TestAgesOfTheFuture: a clock that is ahead makes no counter shrink.
func TestAgesOfTheFuture(t *testing.T) {
	f := newFreshness()
	for _, age := range []time.Duration{2 * time.Second, -time.Hour} {
		var read ages
		read.add(age)
		f.observe(&read)
	}
	if f.all.count != 2 || f.all.sum != 2 || f.all.buckets[0] != 1 {
		t.Errorf("%+v", f.all)
	}
}
