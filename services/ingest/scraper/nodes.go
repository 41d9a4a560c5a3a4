package scraper

import (
	"context"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// nodeTargets knows which nodes are to be scraped: those whose Node objects are in the log. The API server is watched
// once for all, by state. An ingester of one node reads that Node alone; where its kubelet is may be given
// (--kubelet-address), but that there is such a node only the log can tell.
type nodeTargets struct {
	replay     *stream.Replay // nil with follow
	follow     *stream.Follow // where there is one node only: thousands of ingesters don't read all objects; else nil
	addressing *addressing
	decoder    *objects.Decoder[node]
	prefix     string // of the subjects of Node objects

	to TargetSink // set by Run, before anything is replayed
}

func newNodeTargets(conn *stream.Conn, cluster string, a *addressing, log *slog.Logger, reg prometheus.Registerer) (*nodeTargets, error) {
	prefix, _, _ := strings.Cut(schemas.ObjectsOfResource(cluster, "", "nodes"), "*")
	t := &nodeTargets{
		addressing: a,
		decoder:    objects.NewDecoder[node](),
		prefix:     prefix,
	}
	var err error
	if a.only != "" {
		t.follow, err = stream.NewFollow(stream.FollowConfig{
			Conn: conn, Cluster: cluster, Name: "ingest-node", Log: log,
			Subject: schemas.ObjectSubject{Cluster: cluster, Resource: "nodes", Name: a.only}.String(),
		})
		return t, err
	}
	t.replay, err = stream.NewReplay(stream.ReplayConfig{
		Conn:    conn,
		Cluster: cluster,
		Name:    "ingest-nodes",
		// Else a log that was lost would end all timelines, and begin them again.
		AwaitSnapshot: true,
		Begin:         func() stream.Sink { return &nodeSink{nodeTargets: t, targets: map[string]Target{}} },
		Whole:         func(s stream.Sink, _ stream.Position) { s.(*nodeSink).whole() },
		Log:           log,
		Registry:      reg,
	})
	return t, err
}

// Run tells to of all targets, as soon as they are all known, and then of every change, until ctx ends; its error is ctx's.
func (t *nodeTargets) Run(ctx context.Context, to TargetSink) error {
	t.to = to
	if t.follow == nil {
		return t.replay.Run(ctx)
	}
	s := &nodeSink{nodeTargets: t, targets: map[string]Target{}}
	return t.follow.Run(ctx, func(e stream.Event) (err error) {
		if len(e.Data) == 0 { // there is no such node
			s.to.Remove(t.addressing.only)
		} else {
			err = s.Apply(e)
		}
		if s.targets != nil {
			s.whole()
		}
		return err
	})
}

// Ready says why the targets aren't known yet; nil when they are.
func (t *nodeTargets) Ready() error {
	if t.follow != nil {
		return t.follow.Ready()
	}
	return t.replay.Ready()
}

// nodeSink collects the targets of one replay until it is whole, and from then on passes changes on.
type nodeSink struct {
	*nodeTargets
	targets map[string]Target // nil when whole
	change  schemas.ObjectChange
	node    node
}

// Apply implements stream.Sink.
func (s *nodeSink) Apply(e stream.Event) error {
	if !strings.HasPrefix(e.Subject, s.prefix) {
		return nil
	}
	if err := s.change.Unmarshal(e.Data); err != nil {
		return err
	}
	target, wanted := Target{}, false
	if s.change.Operation != schemas.Deleted {
		if err := s.decoder.Decode(s.change.Object, &s.node); err != nil {
			return err
		}
		s.node.Metadata.Name = s.change.Name
		target, wanted = s.addressing.target(&s.node)
	}
	switch name := s.change.Name; {
	case s.targets != nil && wanted:
		s.targets[name] = target
	case s.targets != nil:
		delete(s.targets, name)
	case wanted:
		s.to.Set(target)
	default:
		s.to.Remove(name)
	}
	return nil
}

func (s *nodeSink) whole() {
	all := make([]Target, 0, len(s.targets))
	for _, t := range s.targets {
		all = append(all, t)
	}
	s.targets = nil
	s.to.Replace(all)
}
