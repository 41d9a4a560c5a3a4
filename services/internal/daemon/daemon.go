// Package daemon is what every Headwater process has in common: grouped flags with environment variables, logging,
// signals, the telemetry server, and the way in which a process ends.
//
// What flows in: os.Args and the environment. What flows out: a filled Config of the service, a context that ends at
// SIGINT or SIGTERM, and one line on standard error with exit code 1 when the service returns an error. A main.go
// declares its flags on the sections of a Command and hands Execute the function that runs the service.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
)

// EnvPrefix starts the environment variable of every flag: --nats-url is HEADWATER_NATS_URL.
const EnvPrefix = "HEADWATER_"

// version is set by the linker (-X); a plain `go build` leaves the module's own.
var version = ""

// Version is the release that this binary was built from, or "devel".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// Command is one process: its name, its flags in sections, and the streams that it writes to.
type Command struct {
	Name  string // as the user types it
	Short string // what it does, in one or two sentences, for --help

	// Commands are what the name can be followed by besides flags, for --help; whoever makes the Command runs them.
	Commands []Subcommand

	Flags cliflag.NamedFlagSets // sections in the order in which they were first named

	Stdout, Stderr io.Writer

	logging loggingFlags
	version bool
	help    bool
}

// Subcommand is a line of --help.
type Subcommand struct {
	Usage string // "render [flags] FILE..."
	Does  string // what it does, in a few words
}

// NewCommand starts a command with no flags but the global section.
func NewCommand(name, short string) *Command {
	return &Command{Name: name, Short: short, Stdout: os.Stdout, Stderr: os.Stderr}
}

// Section is the named group of flags, made when it is first asked for.
func (c *Command) Section(name string) *pflag.FlagSet { return c.Flags.FlagSet(name) }

// AddSections takes over sections that a library or a service has declared, behind those that there are.
func (c *Command) AddSections(sections cliflag.NamedFlagSets) {
	for _, name := range sections.Order {
		c.Section(name).AddFlagSet(sections.FlagSets[name])
	}
}

// Execute parses args and the environment and calls run with a context that ends at the first SIGINT or SIGTERM (a
// second one ends the process at once). SIGHUP does nothing. It returns the exit code: 0, 1 for an error of run, 2 for a wrong flag.
func (c *Command) Execute(args []string, run func(ctx context.Context, log *slog.Logger) error) int {
	if len(args) == 2 && args[0] == "probe" {
		if err := probe(args[1]); err != nil {
			fmt.Fprintf(c.Stderr, "%s: %v\n", c.Name, err)
			return 1
		}
		return 0
	}
	err := c.parse(args, os.LookupEnv)
	switch {
	case err != nil:
		fmt.Fprintf(c.Stderr, "%s: %v\nSee '%s --help'.\n", c.Name, err, c.Name)
		return 2
	case c.help:
		c.printHelp(c.Stdout)
		return 0
	case c.version:
		fmt.Fprintf(c.Stdout, "%s %s (%s, %s/%s)\n", c.Name, Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return 0
	}
	log, err := c.logging.apply(c.Stderr)
	if err != nil {
		fmt.Fprintf(c.Stderr, "%s: %v\n", c.Name, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer ignoreHangup(log)()
	context.AfterFunc(ctx, stop) // the second signal gets its default effect: the process ends
	if err := run(ctx, log); err != nil && !(ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		fmt.Fprintf(c.Stderr, "%s: %v\n", c.Name, err)
		return 1
	}
	return 0
}

// ignoreHangup keeps SIGHUP from ending the process until the function that it returns is called: who sends it wants files to
// be read again, or has closed a terminal.
func ignoreHangup(log *slog.Logger) (stop func()) {
	hangups, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangups:
				log.Info("SIGHUP is ignored: what may change while the process runs (certificates, tokens, configuration files) is read again by itself, and the rest at its start; SIGTERM ends the process")
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(done)
	}
}

// parse fills the flags from args, then those not given from the environment.
func (c *Command) parse(args []string, env func(string) (string, bool)) error {
	global := c.Section("global")
	global.BoolVarP(&c.help, "help", "h", false, "Print this help and exit.")
	global.BoolVar(&c.version, "version", false, "Print the version and exit.")
	c.logging.add(c.Section("logging"))

	all := pflag.NewFlagSet(c.Name, pflag.ContinueOnError)
	all.SetOutput(io.Discard)
	all.Usage = func() {}
	all.SortFlags = false
	all.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, name := range c.Flags.Order {
		all.AddFlagSet(c.Flags.FlagSets[name])
	}
	if err := all.Parse(args); err != nil {
		return err
	}
	if all.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: %s takes only flags", all.Arg(0), c.Name)
	}
	var first error
	given := map[string]bool{} // flags of which a part was given
	all.Visit(func(f *pflag.Flag) {
		for _, of := range f.Annotations[partOf] {
			given[of] = true
		}
	})
	all.VisitAll(func(f *pflag.Flag) {
		if f.Changed || first != nil || f.Name == "help" || f.Name == "version" || given[f.Name] || f.Annotations[partOf] != nil {
			return
		}
		name := EnvName(f.Name)
		if value, ok := env(name); ok && value != "" {
			if err := all.Set(f.Name, value); err != nil {
				first = fmt.Errorf("environment variable %s: %w", name, err)
			}
		}
	})
	return first
}

// partOf is the annotation of a flag that PartOf marks.
const partOf = "headwater-part-of"

// PartOf marks a flag of fs that sets a part of another one, such as the port of an address. It has no environment variable:
// HEADWATER_PORT is what Kubernetes itself sets in every pod beside a Service named headwater. And where it is given, the
// other's variable doesn't count, because the command line wins.
func PartOf(fs *pflag.FlagSet, part, whole string) {
	f := fs.Lookup(part)
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[partOf] = []string{whole}
}

// EnvName is the environment variable of a flag.
func EnvName(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func (c *Command) printHelp(w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s [flags]\n", c.Short, c.Name)
	for _, sub := range append(c.Commands, Subcommand{"probe URL", "exits 0 when URL answers 200: a container's health check"}) {
		fmt.Fprintf(w, "  %s %s\n        %s\n", c.Name, sub.Usage, sub.Does)
	}
	fmt.Fprintf(w, "\nEvery flag can be set by an environment variable too: --nats-url by %s. The command line wins.\n", EnvName("nats-url"))
	fmt.Fprintln(w, "SIGTERM ends the process, a second one at once. SIGHUP does nothing: files that may change while it runs are read again by themselves.")
	cliflag.PrintSections(w, c.Flags, 100)
}
