package server

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/events"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/freshness"
	"github.com/headwater-metrics/headwater/services/exporter/linger"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Extras are what kube-state-metrics doesn't have. All of it is off by default.
type Extras struct {
	// EventCounters adds counters of what happens to pods, Jobs and objects, counted from every event: see package events.
	EventCounters bool
	// DeletedLinger is how long the last series of a deleted object are still shown; default 0: not at all.
	DeletedLinger time.Duration
	// Freshness adds how fresh the answer is, kind by kind: see package freshness.
	Freshness bool
}

// AddFlags declares the flags that set e.
func (e *Extras) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&e.EventCounters, "event-counters", e.EventCounters, "Export counters that are folded from every event, so that what happens between two scrapes is counted: headwater_pod_container_terminations_total by namespace and reason, and completions of pods and Jobs.")
	fs.DurationVar(&e.DeletedLinger, "deleted-linger", e.DeletedLinger, "How long the last series of a deleted object are still exported; headwater_deleted_object_timestamp_seconds names these objects. 0: not at all.")
	fs.BoolVar(&e.Freshness, "freshness", e.Freshness, "Export how fresh the answer is: the newest event, the number of objects and the availability of each kind, and how far the streams were read.")
}

func (e *Extras) validate() error {
	if e.DeletedLinger < 0 {
		return fmt.Errorf("--deleted-linger is %v; it must not be negative", e.DeletedLinger)
	}
	return nil
}

// extras are what is kept for them as long as the process lives, whatever edition serves; each is nil where its flag is
// not given.
type extras struct {
	totals  *events.Totals
	tracker *freshness.Tracker
}

func newExtras(o *Extras) extras {
	var x extras
	if o.EventCounters {
		x.totals = events.NewTotals()
	}
	if o.Freshness {
		x.tracker = freshness.NewTracker()
	}
	return x
}

// watchAvailability tells the tracker which kinds the API server gives, until ctx ends.
func (s *Service) watchAvailability(ctx context.Context, conn *stream.Conn) error {
	err := stream.WatchAvailability(ctx, conn, s.cluster, func(message []byte) {
		if err := s.editions.tracker.Available(message); err != nil {
			s.metrics.odd(oddAvailability, "", err.Error())
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("couldn't go on reading which kinds are available: %w", err)
}

// feed is the edition's part in the counters of events; nil without them.
func (s *editions) feed(with *settings) *events.Feed {
	if s.totals == nil {
		return nil
	}
	o, c := with.options, with.catalog
	return s.totals.Feed(events.Scope{
		Resource: c.wants, Namespace: o.Collector.WantsNamespace, Shard: o.Shard.Wants, Node: o.Shard.WantsPodOf,
	})
}

// more are the groups of a scrape behind those of the snapshot of a view, which was taken before.
func (e *edition) more(view *objects, wanted func(string) bool, usage *stream.Position) []exposition.Group {
	var groups []exposition.Group
	add := func(g exposition.Group, ok bool) {
		if ok && wanted(g.Name) {
			groups = append(groups, g)
		}
	}
	if view.leaving != nil {
		add(view.leaving.Group())
	}
	if e.editions.totals != nil {
		add(e.editions.totals.Group())
	}
	if e.editions.tracker != nil {
		streams := []freshness.Stream{{Name: "objects", Position: e.replay.Position()}}
		if usage != nil {
			streams = append(streams, freshness.Stream{Name: "usage", Position: *usage})
		}
		add(e.editions.tracker.Group(view.kinds(), streams...), true)
	}
	return groups
}

// kinds are those in the view.
func (o *objects) kinds() []freshness.Kind {
	var all []freshness.Kind
	for i, r := range o.catalog.resources {
		all = append(all, freshness.Kind{Group: r.Group, Resource: r.Name, Label: r.Name, Objects: o.store.Table(i).Objects()})
	}
	if o.custom != nil {
		all = append(all, o.custom.sizes()...)
	}
	return all
}

// tables are those that an object may be in: one of the table of kinds, and those that the configuration of
// custom resources makes of it.
func (o *objects) tables(i int, change *schemas.ObjectChange) []int {
	var all []int
	if o.custom != nil {
		all = o.custom.indexes(change)
	}
	if i >= 0 {
		all = append(all, i)
	}
	return all
}

// depart takes the deletion of an object whose last series are to be shown for a while.
func (o *objects) depart(i int, key string, change *schemas.ObjectChange) {
	held := false
	for _, table := range o.tables(i, change) {
		t := o.store.Table(table)
		if !t.Holds(key, change.UID) {
			continue
		}
		held = true
		o.leaving.Delete(linger.Object{
			Table: table, Resource: t.Name(), Namespace: change.Namespace, Name: change.Name, UID: change.UID,
		}, time.Unix(0, change.Time), time.Now())
	}
	if !held {
		o.metrics.unwanted.Inc()
	}
}

// leave takes an object out of the view whose time has come.
func (o *objects) leave(left linger.Object) {
	removed := false
	if left.Table < len(o.catalog.resources) {
		removed = o.store.Table(left.Table).Delete(left.Key(), left.UID) == exposition.Removed
	} else {
		removed = o.custom.remove(left.Table, left.Key(), left.UID)
	}
	if removed {
		o.metrics.removed.Inc()
	}
}
