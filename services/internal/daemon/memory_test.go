package daemon

import (
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/pflag"
)

// parsed is what the flags make.
func parsed(t *testing.T, args ...string) *Memory {
	t.Helper()
	var m Memory
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	m.Add(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &m
}

// freely runs a test without GOMEMLIMIT, and puts Go's limit back after it.
func freely(t *testing.T) {
	t.Helper()
	t.Setenv("GOMEMLIMIT", "") // so that they are put back
	t.Setenv("AUTOMEMLIMIT", "")
	if err := errors.Join(os.Unsetenv("GOMEMLIMIT"), os.Unsetenv("AUTOMEMLIMIT")); err != nil {
		t.Fatal(err)
	}
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
}

func TestTheMemoryLimitFollowsTheContainers(t *testing.T) {
	freely(t)
	log := slog.New(slog.DiscardHandler)
	before := debug.SetMemoryLimit(-1)
	if err := parsed(t).Apply(log); err != nil || debug.SetMemoryLimit(-1) != before {
		t.Errorf("without flags: %v, limit %d", err, debug.SetMemoryLimit(-1))
	}
	if err := parsed(t, "--auto-gomemlimit").apply(memlimit.Limit(1000<<20), log); err != nil || debug.SetMemoryLimit(-1) != 900<<20 {
		t.Errorf("nine tenths: %v, limit %d", err, debug.SetMemoryLimit(-1))
	}
	if err := parsed(t, "--auto-gomemlimit", "--auto-gomemlimit-ratio=0.5").apply(memlimit.Limit(1000<<20), log); err != nil || debug.SetMemoryLimit(-1) != 500<<20 {
		t.Errorf("half: %v, limit %d", err, debug.SetMemoryLimit(-1))
	}
	t.Setenv("GOMEMLIMIT", "123MiB")
	if err := parsed(t, "--auto-gomemlimit").apply(memlimit.Limit(1000<<20), log); err != nil || debug.SetMemoryLimit(-1) != 500<<20 {
		t.Errorf("with GOMEMLIMIT: %v, limit %d", err, debug.SetMemoryLimit(-1))
	}
}

func TestTheMachinesOwnMemory(t *testing.T) {
	freely(t)
	if err := parsed(t, "--auto-gomemlimit").Apply(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if limit := debug.SetMemoryLimit(-1); limit < 64<<20 || limit > 1<<50 {
		t.Errorf("the limit is %d bytes", limit)
	}
}

func TestMemoryErrorsNameTheFlag(t *testing.T) {
	freely(t)
	log := slog.New(slog.DiscardHandler)
	for _, ratio := range []string{"0", "-1", "1.1", "NaN"} {
		if err := parsed(t, "--auto-gomemlimit", "--auto-gomemlimit-ratio="+ratio).Apply(log); err == nil || !strings.Contains(err.Error(), "--auto-gomemlimit-ratio is "+ratio) {
			t.Errorf("%s: %v", ratio, err)
		}
	}
	broken := func() (uint64, error) { return 0, errors.New("no such file") }
	if err := parsed(t, "--auto-gomemlimit").apply(broken, log); err == nil || !strings.Contains(err.Error(), "no such file") || !strings.Contains(err.Error(), "GOMEMLIMIT") {
		t.Errorf("%v", err)
	}
}
