package daemon

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// loggingFlags are the flags that users know from Kubernetes components.
type loggingFlags struct {
	verbosity int
	format    string
}

func (l *loggingFlags) add(fs *pflag.FlagSet) {
	if fs.Lookup("v") != nil {
		return // a section that a service brought along already has them
	}
	fs.IntVarP(&l.verbosity, "v", "v", 0, "Verbosity of the log: 0 is what an operator needs, 2 tells of every reconnect and rebuild, 4 and more is for debugging.")
	fs.StringVar(&l.format, "logging-format", "text", "Form of log lines: \"text\" (key=value) or \"json\".")
}

// apply makes the process's logger and sends what the Kubernetes libraries log through it too.
func (l *loggingFlags) apply(w io.Writer) (*slog.Logger, error) {
	// The Kubernetes libraries' V(n) arrives here as slog level -n, so one number steers both.
	options := &slog.HandlerOptions{Level: slog.Level(-l.verbosity)}
	var handler slog.Handler
	switch l.format {
	case "text", "":
		handler = slog.NewTextHandler(w, options)
	case "json":
		handler = slog.NewJSONHandler(w, options)
	default:
		return nil, fmt.Errorf("--logging-format is %q; it must be \"text\" or \"json\"", l.format)
	}
	log := slog.New(handler)
	slog.SetDefault(log)
	klog.SetSlogLogger(slog.New(lessRepeats(handler)))
	klogFlags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(klogFlags)
	if err := klogFlags.Set("v", strconv.Itoa(l.verbosity)); err != nil {
		return nil, fmt.Errorf("couldn't set the log's verbosity: %w", err)
	}
	return log, nil
}
