package bench

// plotComparisons draws how the cost of kube-state-metrics and the exporter grows with the nodes.
func plotComparisons(all []*comparison) []byte {
	var panels []panel
	for _, p := range []struct {
		title string
		of    func(*figures) float64
	}{
		{"Memory at its peak, MB", func(f *figures) float64 { return mega(f.peak) }},
		{"Restart to the first complete answer, s", func(f *figures) float64 { return seconds(f.start.complete) }},
		{"CPU of a scrape with gzip, 1 % changed, s", func(f *figures) float64 { return seconds(f.changed.cpu) }},
	} {
		one := panel{title: p.title, lines: []plotLine{{name: "kube-state-metrics", color: peerColor}, {name: "exporter", color: ourColor}}}
		for _, c := range all {
			one.nodes = append(one.nodes, c.nodes)
			one.lines[0].values = append(one.lines[0].values, p.of(&c.peer))
			one.lines[1].values = append(one.lines[1].values, p.of(&c.ours))
		}
		panels = append(panels, one)
	}
	return plot(panels)
}
