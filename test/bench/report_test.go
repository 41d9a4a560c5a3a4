package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// printRestarts prints a row for each process, and the log of a restart that took far longer than the others.
func printRestarts(to io.Writer, processes map[string]series) {
	columns := []struct {
		title  string
		figure func(restart) float64
	}{
		{"ready s", isReady}, {"first complete answer s", complete}, {"its oldest sample s", oldest}, {"CPU s until then", cpu},
		{"waited for a core s", waited}, {"peak RSS MB", peak}, {"warm answer s", warm}, {"its MB", megabytes},
	}
	names := slices.Sorted(maps.Keys(processes))
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "median (least-most) of\trestarts")
	for _, c := range columns {
		fmt.Fprint(t, "\t", c.title)
	}
	for _, name := range names {
		fmt.Fprintf(t, "\n%s\t%d", name, len(processes[name]))
		for _, c := range columns {
			fmt.Fprint(t, "\t", processes[name].of(c.figure))
		}
	}
	fmt.Fprintln(t)
	t.Flush()
	for _, name := range names {
		for _, r := range processes[name] {
			if usual := processes[name].of(complete).median; r.complete > 3*usual {
				fmt.Fprintf(to, "One restart of %s took %.2f s, with %.2f s of CPU and %.2f s of waiting for a core, where %.2f s are usual. Its log ends with\n%s\n",
					name, r.complete, r.cpu, r.waited, usual, r.log)
			}
		}
	}
}

// spread is what several restarts have in common.
type spread struct{ least, median, most float64 }

func (s series) of(figure func(restart) float64) spread {
	var all []float64
	for _, r := range s {
		all = append(all, figure(r))
	}
	n := len(all)
	if n == 0 {
		return spread{}
	}
	slices.Sort(all)
	return spread{all[0], (all[(n-1)/2] + all[n/2]) / 2, all[n-1]}
}

func (s spread) String() string {
	digits := 2
	switch {
	case s.most == 0:
		return "-"
	case s.median >= 100:
		digits = 0
	}
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, s.median, digits, s.least, digits, s.most)
}

func (u usage) print(to io.Writer) {
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	row := func(title string, cell func(cost) string) {
		fmt.Fprint(t, title)
		for _, c := range u.costs {
			fmt.Fprint(t, "\t", cell(c))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t, "\t"+strings.Join(u.names, "\t"))
	row("CPU s", func(c cost) string { return fmt.Sprintf("%.2f", c.cpu.Seconds()) })
	row("peak RSS MB", func(c cost) string { return fmt.Sprintf("%.0f", float64(c.peak)/1e6) })
	t.Flush()
}
