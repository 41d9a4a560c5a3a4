package main

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCollect(t *testing.T) {
	t.Setenv("GOGC", "")
	const usual = 123
	growth := func() int {
		percent := debug.SetGCPercent(usual)
		debug.SetGCPercent(percent)
		return percent
	}
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var listed atomic.Bool
		go collect(ctx, func() error {
			if listed.Load() {
				return nil
			}
			return errors.New("pods are being listed")
		})
		before := false
		for _, ready := range []bool{false, true, true, false, true} {
			listed.Store(ready)
			time.Sleep(settling / 2)
			synctest.Wait()
			if got := growth(); ready && !before && got != growthStarting {
				t.Errorf("ready for a moment: the heap may grow by %d %%, want %d", got, growthStarting)
			}
			before = ready
			time.Sleep(settling)
			synctest.Wait()
			want := growthStarting
			if ready {
				want = growthReady
			}
			if got := growth(); got != want {
				t.Errorf("ready %v: the heap may grow by %d %%, want %d", ready, got, want)
			}
		}
	})
	t.Setenv("GOGC", "100")
	debug.SetGCPercent(usual)
	collect(t.Context(), func() error { return nil })
	if got := growth(); got != usual {
		t.Errorf("GOGC is set, and the heap may grow by %d %%", got)
	}
}
