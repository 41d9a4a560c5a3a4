// Command allinone runs Headwater in one process: an embedded NATS server and the four services, on a simulated cluster
// unless a kubeconfig is given.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/daemon"
)

func main() {
	cmd := daemon.NewCommand("allinone", "Runs Headwater in one process: an embedded NATS server and the four services, on a simulated cluster unless --kubeconfig names a real one.")
	options := newOptions()
	options.addFlags(cmd)
	os.Exit(cmd.Execute(os.Args[1:], func(ctx context.Context, log *slog.Logger) error {
		if options.simOnly {
			return runSim(ctx, options, log)
		}
		return run(ctx, options, log, os.Stdout)
	}))
}

// share adds the flags of fs to a section of cmd. A flag that another section has already is given once and reaches
// both: --metric-resolution is how often ingest scrapes and what metricsapi expects.
func share(cmd *daemon.Command, section string, fs *pflag.FlagSet) {
	fs.VisitAll(func(f *pflag.Flag) {
		for _, name := range cmd.Flags.Order {
			if there := cmd.Flags.FlagSets[name].Lookup(f.Name); there != nil {
				there.Value = &both{there.Value, f.Value}
				return
			}
		}
		if f.Shorthand != "" && shorthandTaken(cmd, f.Shorthand) {
			f.Shorthand = ""
		}
		cmd.Section(section).AddFlag(f)
	})
}

func shorthandTaken(cmd *daemon.Command, shorthand string) bool {
	for _, name := range cmd.Flags.Order {
		if cmd.Flags.FlagSets[name].ShorthandLookup(shorthand) != nil {
			return true
		}
	}
	return false
}

// both is a flag's value that sets two variables.
type both struct {
	pflag.Value
	second pflag.Value
}

// Set implements pflag.Value.
func (b *both) Set(text string) error {
	if err := b.Value.Set(text); err != nil {
		return err
	}
	return b.second.Set(text)
}
