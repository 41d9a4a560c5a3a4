package daemon

import (
	"fmt"
	"log/slog"
	"math"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/pflag"
)

// Memory are the flags by which a process learns how much memory it has. The zero value leaves it to Go.
type Memory struct {
	auto  bool
	ratio float64
}

// Add declares the flags, named as those of kube-state-metrics.
func (m *Memory) Add(fs *pflag.FlagSet) {
	fs.BoolVar(&m.auto, "auto-gomemlimit", false, "Set Go's memory limit by the container's, or by the machine's memory where there is none: near it, garbage is collected more often. The environment variable GOMEMLIMIT wins.")
	fs.Float64Var(&m.ratio, "auto-gomemlimit-ratio", 0.9, "With --auto-gomemlimit: the part of that memory that Go's limit is, above 0 and at most 1.")
}

// Apply sets the limit. It is the process's, so whoever runs the process calls it, once.
func (m *Memory) Apply(log *slog.Logger) error {
	if !m.auto {
		return nil
	}
	return m.apply(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem), log)
}

func (m *Memory) apply(available memlimit.Provider, log *slog.Logger) error {
	if !(m.ratio > 0 && m.ratio <= 1) {
		return fmt.Errorf("--auto-gomemlimit-ratio is %v; it must be above 0 and at most 1", m.ratio)
	}
	limit, err := memlimit.Set(memlimit.WithRatio(m.ratio), memlimit.WithProvider(available))
	if err != nil {
		return fmt.Errorf("couldn't set Go's memory limit: %w; set the environment variable GOMEMLIMIT instead of --auto-gomemlimit", err)
	}
	if limit != math.MaxInt64 {
		log.Info("Go's memory limit is set", "bytes", limit)
	}
	return nil
}
