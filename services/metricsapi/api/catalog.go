package api

import (
	"fmt"
	"strings"
	"sync"
	"unique"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// node is what the API needs of a Node.
type node struct {
	labels   *view.Labels
	created  int64 // metadata.creationTimestamp, Unix seconds; 0 where there is none
	selected bool  // by --node-selector; see catalog.selected
}

// pod is what the API needs of a Pod. Only running pods are in the view.
type pod struct {
	labels  *view.Labels
	uid     string
	node    string // spec.nodeName
	created int64  // metadata.creationTimestamp, Unix seconds, by the API server's clock; 0 where there is none
	started int64  // status.startTime, Unix seconds, by its node's clock; 0 where there is none
	mirror  bool   // stands for a static pod, which may well have started before it
}

// catalog is the view of the objects: which nodes and running pods there are.
type catalog struct {
	nodes    *view.Objects[node]
	pods     *view.Objects[pod]
	idle     idlePods
	selector labels.Selector // of nodes, by --node-selector; nil where that isn't given
}

// idlePods are the pods that are there and not running: nothing is served of them, but one is told why.
type idlePods struct {
	mu   sync.Mutex
	pods map[[2]string]idlePod // by namespace and name
}

// idlePod is what is told of one.
type idlePod struct {
	phase   string
	created int64 // metadata.creationTimestamp, Unix seconds; 0 where there is none
}

func (i *idlePods) set(namespace, name string, pod idlePod) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pods == nil {
		i.pods = map[[2]string]idlePod{}
	}
	i.pods[[2]string{unique.Make(namespace).Value(), strings.Clone(name)}] = pod
}

func (i *idlePods) remove(namespace, name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.pods, [2]string{namespace, name})
}

func (i *idlePods) get(namespace, name string) (pod idlePod, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	pod, ok = i.pods[[2]string{namespace, name}]
	return pod, ok
}

// newCatalog makes an empty one. selector is that of --node-selector, nil for none.
func newCatalog(selector labels.Selector) *catalog {
	return &catalog{
		selector: selector,
		nodes:    view.NewObjects(func(n *node) *view.Labels { return n.labels }),
		pods:     view.NewObjects(func(p *pod) *view.Labels { return p.labels }),
	}
}

// settle is called when the catalog is whole, before it serves.
func (c *catalog) settle() {
	c.nodes.Settle()
	c.pods.Settle()
}

// nodeFields and podFields are what is decoded of an object; the rest of it is stepped over.
type nodeFields struct {
	Metadata metadataFields `json:"metadata"`
}

type podFields struct {
	Metadata metadataFields `json:"metadata"`
	Spec     struct {
		NodeName string `json:"nodeName" objects:"intern"`
	} `json:"spec"`
	Status struct {
		Phase     string       `json:"phase" objects:"intern"`
		StartTime objects.Time `json:"startTime"`
	} `json:"status"`
}

type metadataFields struct {
	CreationTimestamp objects.Time `json:"creationTimestamp"`
	Labels            objects.Raw  `json:"labels"`
	Annotations       struct {
		Mirror string `json:"kubernetes.io/config.mirror"`
	} `json:"annotations"`
}

// cataloger reads object changes into catalogs. One serves all rebuilds, so that these share label sets. Its sinks may be
// used concurrently.
type cataloger struct {
	nodePrefix, podPrefix string // of the subjects that matter
	nodes                 *objects.Decoder[nodeFields]
	pods                  *objects.Decoder[podFields]
	labels                view.Interner
	watches               *watches  // nil where watching is off
	changes               sync.Pool // of *schemas.ObjectChange: decoding into a used one saves most of its strings
}

func newCataloger(cluster string) *cataloger {
	prefix := func(resource string) string {
		return strings.TrimSuffix(schemas.ObjectsOfResource(cluster, "", resource), "*.*")
	}
	return &cataloger{
		nodePrefix: prefix("nodes"),
		podPrefix:  prefix("pods"),
		nodes:      objects.NewDecoder[nodeFields](),
		pods:       objects.NewDecoder[podFields](),
		changes:    sync.Pool{New: func() any { return new(schemas.ObjectChange) }},
	}
}

// catalogSink is a build of a catalog.
type catalogSink struct {
	*cataloger
	catalog *catalog
}

// Apply implements stream.Sink. Objects of other kinds are passed over by their subject, undecoded.
func (s *catalogSink) Apply(e stream.Event) error {
	isPod := strings.HasPrefix(e.Subject, s.podPrefix)
	if !isPod && !strings.HasPrefix(e.Subject, s.nodePrefix) {
		s.advance(e.Sequence)
		return nil
	}
	change := s.changes.Get().(*schemas.ObjectChange)
	defer func() {
		change.Object = nil // it is a part of the event, which is not ours to keep
		s.changes.Put(change)
	}()
	if err := change.Unmarshal(e.Data); err != nil {
		return err
	}
	apply := s.applyNode
	if isPod {
		apply = s.applyPod
	}
	if err := s.watches.applyObject(s.catalog, e.Sequence, isPod, change, apply); err != nil {
		return fmt.Errorf("couldn't read %s %s/%s: %w", change.Resource, change.Namespace, change.Name, err)
	}
	s.advance(e.Sequence)
	return nil
}

func (s *catalogSink) advance(sequence uint64) {
	s.catalog.nodes.Advance(sequence)
	s.catalog.pods.Advance(sequence)
	s.watches.readObjects(s.catalog, sequence)
}

func (s *catalogSink) applyNode(change *schemas.ObjectChange) error {
	if change.Operation == schemas.Deleted {
		s.catalog.nodes.Delete("", change.Name)
		return nil
	}
	var fields nodeFields
	if err := s.nodes.Decode(change.Object, &fields); err != nil {
		return err
	}
	labels, err := s.labels.Intern(fields.Metadata.Labels, decodeLabels)
	if err != nil {
		return err
	}
	s.catalog.nodes.Apply("", change.Name, node{
		labels:   labels,
		created:  seconds(fields.Metadata.CreationTimestamp),
		selected: s.catalog.selector == nil || s.catalog.selector.Matches(labels),
	})
	return nil
}

func (s *catalogSink) applyPod(change *schemas.ObjectChange) error {
	if change.Operation == schemas.Deleted {
		s.catalog.pods.Delete(change.Namespace, change.Name)
		s.catalog.idle.remove(change.Namespace, change.Name)
		return nil
	}
	var fields podFields
	if err := s.pods.Decode(change.Object, &fields); err != nil {
		return err
	}
	if fields.Status.Phase != "Running" {
		// In this order: who finds no running pod and looks here next is to find it.
		s.catalog.idle.set(change.Namespace, change.Name, idlePod{fields.Status.Phase, seconds(fields.Metadata.CreationTimestamp)})
		s.catalog.pods.Delete(change.Namespace, change.Name)
		return nil
	}
	labels, err := s.labels.Intern(fields.Metadata.Labels, decodeLabels)
	if err != nil {
		return err
	}
	s.catalog.pods.Apply(change.Namespace, change.Name, pod{
		labels:  labels,
		uid:     change.UID,
		node:    fields.Spec.NodeName,
		created: seconds(fields.Metadata.CreationTimestamp),
		started: seconds(fields.Status.StartTime),
		mirror:  fields.Metadata.Annotations.Mirror != "",
	})
	s.catalog.idle.remove(change.Namespace, change.Name)
	return nil
}

func seconds(t objects.Time) int64 {
	if !t.Valid {
		return 0
	}
	return t.Unix
}

// decodeLabels reads a msgpack map of strings. Keys and values recur in many label sets, so each exists once.
func decodeLabels(raw []byte) (map[string]string, error) {
	r := wire.NewReader(raw)
	n, err := r.MapLen()
	if err != nil {
		return nil, err
	}
	set := make(map[string]string, n)
	for range n {
		key, err := r.String()
		if err != nil {
			return nil, err
		}
		value, err := r.String()
		if err != nil {
			return nil, err
		}
		set[unique.Make(key).Value()] = unique.Make(value).Value()
	}
	return set, nil
}
