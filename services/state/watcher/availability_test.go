package watcher_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

// told is what a consumer has last heard of the kinds.
type told struct {
	mu   sync.Mutex
	last schemas.Availability
}

func (w *world) listen() *told {
	w.t.Helper()
	l := &told{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = stream.WatchAvailability(ctx, w.conn, cluster, func(data []byte) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if err := l.last.Unmarshal(data); err != nil {
				w.t.Error(err)
			}
		})
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return l
}

// says waits until the kinds have these reasons, and no others are there.
func (l *told) says(t *testing.T, want map[string]string) {
	t.Helper()
	testenv.Eventually(t, patience, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		got := map[string]string{}
		for _, k := range l.last.Kinds {
			got[k.Group+"/"+k.Resource] = k.Reason
			if since := time.Unix(0, k.Since); time.Since(since) > time.Hour || time.Until(since) > 0 || k.Since > l.last.Time {
				return fmt.Errorf("%s is so since %v", k.Resource, since)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("consumers hear %v, want %v", got, want)
		}
		return nil
	})
}

func TestAvailabilityIsTold(t *testing.T) {
	w := newWorld(t)
	heard := w.listen() // before there is a stream
	w.put(node("n"))
	w.users.Forbid("secrets")
	w.define(stable, "foos", "v1", "v1beta1")
	few := func(c *watcher.Config) { c.Resources = []string{"nodes", "secrets"} }
	s := w.start(watching("*."+stable), few)
	s.isReady()
	all := map[string]string{"/nodes": "", "/secrets": "forbidden", stable + "/foos": "", stable + "/foos.v1beta1": "", "apiextensions.k8s.io/customresourcedefinitions": ""}
	heard.says(t, all)
	w.users.Permit("secrets")
	w.users.Forbid("nodes")
	w.store.EndWatches(w.resource("nodes"), nil)
	all["/secrets"], all["/nodes"] = "", "forbidden"
	heard.says(t, all)
	w.undefine(stable, "foos")
	delete(all, stable+"/foos")
	delete(all, stable+"/foos.v1beta1")
	heard.says(t, all)
	w.front.close()
	for kind := range all {
		all[kind] = "unreachable"
	}
	heard.says(t, all)
	w.front.open()
	for kind := range all {
		all[kind] = ""
	}
	all["/nodes"] = "forbidden"
	heard.says(t, all)
	s.stop()
	// The last word stays, for whoever comes later; the next term says its own.
	w.listen().says(t, all)
	w.users.Permit("nodes")
	s = w.start(few)
	s.isReady()
	heard.says(t, map[string]string{"/nodes": "", "/secrets": ""})
}
