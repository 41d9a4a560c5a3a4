package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/headwater-metrics/headwater/schemas"
	wireobjects "github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// assignment is which shard an exporter is.
type assignment struct{ shard, total int }

// shards learns from the log which shard this exporter is: the ordinal of its pod in its StatefulSet, of as many as that has
// replicas. It reads the log by itself, because what the views hold depends on the answer.
type shards struct {
	pod, namespace string
	podSubject     string
	setSubjects    string // what the subjects of the namespace's StatefulSets begin with
	log            *slog.Logger
	replay         replay
	news           chan assignment // the newest one that was not taken

	mu      sync.Mutex
	current *members // whole; nil until then
	last    assignment
	err     error // why there is none, or why the last one may be outdated
}

// members is what is known of the pods and StatefulSets in question: what a replay builds.
type members struct {
	shards *shards
	pod    *member
	sets   map[string]*set // by name
}

// member is what is read of the pod.
type member struct {
	Metadata struct {
		OwnerReferences []struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
}

// set is what is read of a StatefulSet.
type set struct {
	Spec struct {
		Replicas *int `json:"replicas"`
		Ordinals struct {
			Start int `json:"start"`
		} `json:"ordinals"`
	} `json:"spec"`
}

func newShards(cfg Config, options *Options, log *slog.Logger) (*shards, error) {
	s := &shards{
		pod: options.Pod, namespace: options.PodNamespace, log: log, news: make(chan assignment, 1), err: errors.New("the log was not read yet"),
		podSubject:  schemas.ObjectSubject{Cluster: cfg.Cluster, Resource: "pods", Namespace: options.PodNamespace, Name: options.Pod}.String(),
		setSubjects: strings.TrimSuffix(schemas.ObjectsOfResourceInNamespace(cfg.Cluster, "apps", "statefulsets", options.PodNamespace), "*"),
	}
	var err error
	s.replay, err = stream.NewReplay(stream.ReplayConfig{
		Conn: cfg.Conn, Cluster: cfg.Cluster, Name: "exporter-shards", AwaitSnapshot: true, Log: cfg.Log, Registry: cfg.Registry,
		Begin: func() stream.Sink { return &members{shards: s, sets: map[string]*set{}} },
		Whole: func(sink stream.Sink, _ stream.Position) { s.whole(sink.(*members)) },
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't set up the replay for --pod: %w", err)
	}
	return s, nil
}

// changes yields the newest assignment whenever it has changed.
func (s *shards) changes() <-chan assignment {
	if s == nil {
		return nil
	}
	return s.news
}

// Run reads the log until ctx ends.
func (s *shards) Run(ctx context.Context) error { return s.replay.Run(ctx) }

// Err says why the shard is not known.
func (s *shards) Err() error {
	if err := s.replay.Ready(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Apply implements stream.Sink. All but one pod and the StatefulSets of one namespace is stepped over undecoded.
func (m *members) Apply(e stream.Event) error {
	s := m.shards
	ofSet := strings.HasPrefix(e.Subject, s.setSubjects)
	if !ofSet && e.Subject != s.podSubject {
		return nil
	}
	var change schemas.ObjectChange
	if err := change.Unmarshal(e.Data); err != nil {
		return err
	}
	gone := change.Operation == schemas.Deleted
	switch {
	case ofSet && gone:
		delete(m.sets, change.Name)
	case ofSet:
		found := &set{}
		if err := wireobjects.NewDecoder[set]().Decode(change.Object, found); err != nil {
			return err
		}
		m.sets[change.Name] = found
	case gone:
		m.pod = nil
	default:
		found := &member{}
		if err := wireobjects.NewDecoder[member]().Decode(change.Object, found); err != nil {
			return err
		}
		m.pod = found
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == m {
		s.update()
	}
	return nil
}

func (s *shards) whole(m *members) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = m
	s.update()
}

// update works out the assignment. One that can't be is said, once, and the last one stays. The mutex is held.
func (s *shards) update() {
	now, err := s.current.assignment(s.namespace, s.pod)
	if err != nil {
		if s.err == nil || s.err.Error() != err.Error() {
			s.log.Error("couldn't find out which shard this is; it stays as it was, if it was known", "error", err)
		}
		s.err = err
		return
	}
	s.err = nil
	if now == s.last {
		return
	}
	s.last = now
	select {
	case <-s.news: // nobody took it
	default:
	}
	s.news <- now
}

// assignment finds the pod's StatefulSet and its place in it.
func (m *members) assignment(namespace, pod string) (assignment, error) {
	if m.pod == nil {
		return assignment{}, fmt.Errorf("there is no pod %s in namespace %s on the log; check --pod and --pod-namespace, and that the state service watches pods", pod, namespace)
	}
	name := ""
	for _, o := range m.pod.Metadata.OwnerReferences {
		if group, _, _ := strings.Cut(o.APIVersion, "/"); o.Controller && o.Kind == "StatefulSet" && group == "apps" {
			name = o.Name
		}
	}
	if name == "" {
		return assignment{}, fmt.Errorf("no StatefulSet controls the pod %s in namespace %s; run the exporter as one, or give --shard and --total-shards instead of --pod", pod, namespace)
	}
	found := m.sets[name]
	if found == nil {
		return assignment{}, fmt.Errorf("there is no StatefulSet %s in namespace %s on the log, but the pod %s says that it is its; check that the state service watches statefulsets", name, namespace, pod)
	}
	suffix, ok := strings.CutPrefix(pod, name+"-")
	ordinal, err := strconv.Atoi(suffix)
	if !ok || err != nil || ordinal < found.Spec.Ordinals.Start {
		return assignment{}, fmt.Errorf("the pod's name %s does not end in its number in the StatefulSet %s", pod, name)
	}
	total := 1
	if found.Spec.Replicas != nil {
		total = *found.Spec.Replicas
	}
	return assignment{shard: ordinal - found.Spec.Ordinals.Start, total: total}, nil
}
