package server

import (
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/freshness"
)

// customTables are the tables of custom resources in one build of the view. Which kinds there are is known by their objects
// alone, so a table is added when the first object of its kind comes.
type customTables struct {
	set     customSet
	store   *exposition.Store
	metrics *metrics
	rivals  *rivals

	mu         sync.RWMutex
	kinds      map[customKind]*customTable // nil for one that is not exported
	byResource map[schema.GroupResource][]*customTable
}

// customKind is what objects of one table have in common. The same resource may change its version.
type customKind struct {
	schema.GroupVersionKind
	resource string
}

// customTable is one kind.
type customTable struct {
	*exposition.Table
	index     int // in the store
	resource  *collector.Resource
	renderers sync.Pool // collector.Renderer
}

func newCustomTables(set customSet, store *exposition.Store, m *metrics) *customTables {
	return &customTables{
		set: set, store: store, metrics: m, rivals: newRivals(m),
		kinds: map[customKind]*customTable{}, byResource: map[schema.GroupResource][]*customTable{},
	}
}

// apply takes an object, or its removal where it is not kept.
func (c *customTables) apply(change *schemas.ObjectChange, key string, kept bool) error {
	resource := schema.GroupResource{Group: change.Group, Resource: change.Resource}
	var table *customTable
	if kept {
		table = c.table(change)
	}
	// The object may have been of another version, or of a kind that was exported.
	removed := false
	for _, other := range c.tables(resource) {
		if other == table {
			continue
		}
		uid := ""
		if change.Operation == schemas.Deleted {
			uid = change.UID
		}
		removed = c.rivals.remove(other, key, uid) || removed
	}
	switch {
	case table != nil:
		return c.put(table, change, key)
	case removed:
		c.metrics.removed.Inc()
	default:
		c.metrics.unwanted.Inc()
	}
	return nil
}

func (c *customTables) put(table *customTable, change *schemas.ObjectChange, key string) error {
	renderer, err := table.renderer()
	if err != nil {
		return err
	}
	defer table.renderers.Put(renderer)
	lines, err := renderer.Render(change.Object)
	if err != nil {
		return fmt.Errorf("%s %s: %w", table.Name(), key, err)
	}
	if lines.Skipped > 0 {
		c.metrics.skipped.WithLabelValues(table.Name()).Add(float64(lines.Skipped))
	}
	c.metrics.put(c.rivals.put(table, key, change.UID, lines))
	return nil
}

func (t *customTable) renderer() (collector.Renderer, error) {
	if r, ok := t.renderers.Get().(collector.Renderer); ok {
		return r, nil
	}
	return t.resource.NewRenderer()
}

// table finds the table of an object's kind, or adds it; nil where the kind is not exported.
func (c *customTables) table(change *schemas.ObjectChange) *customTable {
	kind := customKind{schema.GroupVersionKind{Group: change.Group, Version: change.APIVersion, Kind: change.Kind}, change.Resource}
	c.mu.RLock()
	table, known := c.kinds[kind]
	c.mu.RUnlock()
	if known {
		return table
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if table, known = c.kinds[kind]; known {
		return table
	}
	if r := c.set.For(kind.GroupVersionKind, kind.resource); r != nil {
		i := c.store.Add(r)
		table = &customTable{Table: c.store.Table(i), index: i, resource: r}
		of := schema.GroupResource{Group: change.Group, Resource: change.Resource}
		c.byResource[of] = append(slices.Clip(c.byResource[of]), table)
	}
	c.kinds[kind] = table
	return table
}

func (c *customTables) tables(of schema.GroupResource) []*customTable {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byResource[of]
}

// objects calls do for each table: its name, which several may have, and how many objects it holds.
func (c *customTables) objects(do func(name string, count int)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, tables := range c.byResource {
		for _, t := range tables {
			do(t.Name(), t.Objects())
		}
	}
}

// sizes are the kinds that have tables, and how many objects these hold.
func (c *customTables) sizes() []freshness.Kind {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []freshness.Kind
	for of, tables := range c.byResource {
		kind := freshness.Kind{Group: of.Group, Resource: of.Resource}
		for _, t := range tables {
			kind.Label = t.Name()
			kind.Objects += t.Objects()
		}
		all = append(all, kind)
	}
	return all
}

// indexes are those of the tables that an object may be in.
func (c *customTables) indexes(change *schemas.ObjectChange) []int {
	var all []int
	for _, t := range c.tables(schema.GroupResource{Group: change.Group, Resource: change.Resource}) {
		all = append(all, t.index)
	}
	return all
}

// remove takes an object out of the table of that index; it returns whether it was there.
func (c *customTables) remove(index int, key, uid string) bool {
	c.mu.RLock()
	var table *customTable
	for _, t := range c.kinds {
		if t != nil && t.index == index {
			table = t
		}
	}
	c.mu.RUnlock()
	return table != nil && c.rivals.remove(table, key, uid)
}
