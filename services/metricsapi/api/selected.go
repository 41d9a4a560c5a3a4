package api

import (
	"fmt"
	"slices"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// A node that --node-selector doesn't select has no metrics, and neither have the pods on it: metrics-server doesn't scrape it.
// Here ingest may have scraped it all the same, so its samples are hidden from whoever makes answers.

// selected tells whether what is known of a node counts: without the flag always, with it unless the node is there and isn't
// selected. The usage of one that was deleted stands until it is too old, with the flag as without it.
func (c *catalog) selected(name string) bool {
	if c.selector == nil {
		return true
	}
	entry, ok := c.nodes.Get("", name)
	return !ok || entry.Value.selected
}

// scraped tells whether somebody is to scrape a node: it exists, and is selected.
func (c *catalog) scraped(name string) bool {
	entry, ok := c.nodes.Get("", name)
	return ok && entry.Value.selected
}

// anySelected tells whether there is a node that is selected.
func (c *catalog) anySelected() bool {
	if c.selector == nil {
		return c.nodes.Len() > 0
	}
	return slices.ContainsFunc(c.nodes.All(), func(e *view.Entry[node]) bool { return e.Value.selected })
}

// selectUsage returns the usage of the nodes that are selected: the view itself where the flag isn't given.
func (c *catalog) selectUsage(usage *view.Usage) view.UsageReader {
	if c.selector == nil {
		return usage
	}
	return &selectedUsage{usage, c}
}

// selectedUsage is a view of the usage without the samples of nodes that aren't selected. Its Len counts them all the same.
type selectedUsage struct {
	view.UsageReader
	catalog *catalog
}

// Node implements view.UsageReader.
func (s *selectedUsage) Node(name string) (*schemas.UsageSample, bool) {
	if !s.catalog.selected(name) {
		return nil, false
	}
	return s.UsageReader.Node(name)
}

// Pod implements view.UsageReader.
func (s *selectedUsage) Pod(query view.PodQuery) (view.PodUsage, bool) {
	found, ok := s.UsageReader.Pod(query)
	if !ok || !s.catalog.selected(found.Sample.Node) {
		return view.PodUsage{}, false
	}
	return found, true
}

// Pods implements view.UsageReader.
func (s *selectedUsage) Pods(queries []view.PodQuery, results []view.PodUsage) {
	s.UsageReader.Pods(queries, results)
	for i := range results {
		if results[i].Pod != nil && !s.catalog.selected(results[i].Sample.Node) {
			results[i] = view.PodUsage{}
		}
	}
}

// All implements view.UsageReader.
func (s *selectedUsage) All() []*schemas.UsageSample {
	return slices.DeleteFunc(s.UsageReader.All(), func(sample *schemas.UsageSample) bool { return !s.catalog.selected(sample.Node) })
}

// followSelection looks at the answers of a node's pods anew, when the node has come to be selected or, if it was, is not any more.
// before is the place without that message of the objects, whose number is sequence. Each pod on the node may have an answer where
// the streams are read in another order. That asks for a look at all pods, which is rare. The caller holds mu.
func (w *watches) followSelection(c *catalog, node string, was bool, before view.Place, sequence uint64) {
	if !w.following() {
		return
	}
	born, now := sequence, w.now()
	if was {
		born = 0
	}
	w.pods.changes.Begin(before, w.place(), now)
	for _, entry := range c.pods.All() {
		if on := entry.Value.node; on != node && on != "" {
			continue
		}
		key := view.Key{Namespace: entry.Namespace, Name: entry.Name}
		if _, silent := w.pod(key, now); silent {
			w.pods.changes.Suppose(key, podReading{entry: entry}, entry.Value.labels, born, now)
		}
	}
	w.wake()
}

// selection says whether a node is selected, and what to do if it is not.
func (d *diagnosis) selection(node string) string {
	flag := fmt.Sprintf("--node-selector=%s", d.catalog.selector)
	if _, ok := d.catalog.nodes.Get("", node); !ok {
		return fmt.Sprintf("there is no Node %s any more, whose labels could be looked at: what is known of it counts until it is too old", node)
	}
	if d.catalog.selected(node) {
		return "its labels match " + flag
	}
	return fmt.Sprintf("%s isn't selected by %s, so neither it nor the pods on it have metrics, as in metrics-server: kubectl get node %s --show-labels shows its labels; label it so that it matches, or change the flag of metricsapi, and of ingest where it is given there",
		node, flag, node)
}

// unselected is the note on nodes that aren't selected, if there are any: their rows only tell how they are scraped.
func (d *diagnosis) unselected() []string {
	if d.catalog.selector == nil {
		return nil
	}
	var names []string
	for _, entry := range d.catalog.nodes.All() {
		if !entry.Value.selected {
			names = append(names, entry.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("Not selected by --node-selector=%s, so that neither they nor the pods on them have metrics, whatever stands here of their scrapes: %s (%s).",
		d.catalog.selector, few(names), count(len(names), "node"))}
}
