package testenv

import (
	"context"
	"testing"

	"github.com/headwater-metrics/headwater/services/internal/sim"
)

// Sim runs a simulated cluster until the test ends. Its log goes to the test's, unless the options name another one.
func Sim(t testing.TB, opts sim.Options) *sim.Cluster {
	t.Helper()
	if opts.Log == nil {
		opts.Log = Logger(t)
	}
	cluster, err := sim.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cluster.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("couldn't close the simulated cluster: %v", err)
		}
	})
	return cluster
}
