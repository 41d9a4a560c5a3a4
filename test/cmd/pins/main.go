// Command pins builds the programs that the end-to-end tests run, where they are not built yet, and prints their paths.
//
//	go run ./cmd/pins                    build all, print one path per line
//	go run ./cmd/pins kubectl promtool   only these
//	go run ./cmd/pins -list              print name, version, state and path; build nothing
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"github.com/headwater-metrics/headwater/test/pins"
)

func main() {
	list := flag.Bool("list", false, "print name, version, state and path of each program; build nothing")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: pins [-list] [program ...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *list, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pins:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, list bool, names []string) error {
	if list && len(names) == 0 {
		for _, p := range pins.Programs {
			names = append(names, p.Name)
		}
	}
	if !list {
		if _, err := pins.Build(ctx, os.Stderr, names...); err != nil {
			return err
		}
	}
	programs, err := pins.List(names...)
	if err != nil {
		return err
	}
	if !list {
		for _, p := range programs {
			fmt.Println(p.Path)
		}
		return nil
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	for _, p := range programs {
		state := "missing"
		if p.Built {
			state = "built"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.Name, p.Version, state, p.Path)
	}
	return table.Flush()
}
