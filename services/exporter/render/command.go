package render

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/exporter/exposition"
)

const usage = `Prints what Kubernetes objects would export, without any server.

Usage:
  exporter render [flags] FILE...

FILE holds objects in JSON or YAML: one, a List as from "kubectl get -o json", or several documents; - is standard input.
The exit code is 0, 1 if an object can't be read, 2 for a wrong flag.

Flags:
`

// Command runs "exporter render": args are what stands behind these words. It returns the exit code.
func Command(args []string, in io.Reader, out, errs io.Writer) int {
	var options Options
	fs := pflag.NewFlagSet("exporter render", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.SortFlags = false
	openMetrics := fs.Bool("openmetrics", false, "Print OpenMetrics instead of the Prometheus text format.")
	options.AddFlags(fs)

	err := fs.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(out, usage, fs.FlagUsages())
		return 0
	}
	if err == nil && fs.NArg() == 0 {
		err = errors.New("it needs a FILE of objects, or - for standard input")
	}
	var r *Renderer
	if err == nil {
		r, err = New(options)
	}
	if err != nil {
		fmt.Fprintf(errs, "exporter render: %v\nSee 'exporter render --help'.\n", err)
		return 2
	}
	code := 0
	for _, name := range fs.Args() {
		if err := r.addFile(name, in); err != nil {
			fmt.Fprintln(errs, err)
			code = 1
		}
	}
	format := exposition.Text
	if *openMetrics {
		format = exposition.OpenMetrics
	}
	if err := r.Write(out, format); err != nil {
		fmt.Fprintf(errs, "couldn't print the series: %v\n", err)
		code = 1
	}
	for _, line := range r.LeftOut() {
		fmt.Fprintln(errs, line)
	}
	return code
}
