package api

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// logs are the two streams in a test: what replicas read, each at its own speed. The test has one goroutine.
type logs struct {
	t              testing.TB
	objects, usage []stream.Event
	encoders       map[string]*objects.Encoder
}

func newLogs(t testing.TB) *logs {
	l := &logs{t: t, encoders: map[string]*objects.Encoder{}}
	for _, resource := range []string{"pods", "nodes"} {
		kind, _ := objects.ByResource(resource)
		encoder, err := objects.NewEncoder(kind)
		if err != nil {
			t.Fatal(err)
		}
		l.encoders[resource] = encoder
	}
	return l
}

// object appends an object change.
func (l *logs) object(object runtime.Object, operation schemas.Operation) {
	l.t.Helper()
	resource := "pods"
	if _, ok := object.(*corev1.Node); ok {
		resource = "nodes"
	}
	change, err := l.encoders[resource].Change(object, operation, time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	subject := schemas.ObjectSubject{Cluster: "test", Resource: resource, Namespace: change.Namespace, Name: change.Name}
	l.objects = append(l.objects, stream.Event{Sequence: uint64(len(l.objects) + 1), Subject: subject.String(), Data: change.Marshal()})
}

// other appends a change of an object that nobody here cares for.
func (l *logs) other() {
	subject := schemas.ObjectSubject{Cluster: "test", Resource: "secrets", Namespace: "a", Name: "b"}
	l.objects = append(l.objects, stream.Event{Sequence: uint64(len(l.objects) + 1), Subject: subject.String()})
}

// sample appends a usage sample.
func (l *logs) sample(sample schemas.UsageSample) {
	subject := schemas.UsageSubject{Cluster: "test", Node: sample.Node}
	l.usage = append(l.usage, stream.Event{Sequence: uint64(len(l.usage) + 1), Subject: subject.String(), Data: sample.Marshal()})
}

// replica is a metrics API that watches, without a server around it.
type replica struct {
	*logs
	service        *Service
	pods           storage
	nodes          storage
	source         *interrupted // of the pods
	catalog, usage stream.Sink
	readObjects    int // how many of the objects' events it has read
	readUsage      int
}

func (l *logs) replica(configure ...func(*Options)) *replica {
	options := NewOptions()
	options.EnableWatch = true
	for _, c := range configure {
		c(options)
	}
	s := newService(Config{Options: options, Cluster: "test", Log: testenv.Logger(l.t)})
	s.objectsReplay, s.usageReplay = &fakeReplay{waiting: "being replayed"}, &fakeReplay{waiting: "being replayed"}
	r := &replica{logs: l, service: s, source: &interrupted{source: s}, catalog: s.beginCatalog(), usage: s.beginUsage()}
	settings := settings{now: s.now, maxAge: options.maxSampleAge()}
	r.nodes, r.pods = watchable(&nodeStorage{s, settings}, &podStorage{r.source, settings}, s.watches)
	return r
}

// whole makes what was read the views that serve.
func (r *replica) whole() {
	r.service.serveCatalog(r.catalog, stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(r.readObjects)}})
	r.service.serveUsage(r.usage, stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(r.readUsage)}})
}

// read reads some of what is new.
func (r *replica) read(objects, usage int) {
	r.t.Helper()
	apply := func(sink stream.Sink, e stream.Event) {
		e.Data = bytes.Clone(e.Data)
		if err := sink.Apply(e); err != nil {
			r.t.Fatal(err)
		}
		clear(e.Data)
	}
	for ; objects > 0 && r.readObjects < len(r.logs.objects); objects-- {
		apply(r.catalog, r.logs.objects[r.readObjects])
		r.readObjects++
	}
	for ; usage > 0 && r.readUsage < len(r.logs.usage); usage-- {
		apply(r.usage, r.logs.usage[r.readUsage])
		r.readUsage++
	}
}

// catchUp reads all.
func (r *replica) catchUp() { r.read(len(r.logs.objects), len(r.logs.usage)) }

// text is what the test looks at of an item.
func text(object runtime.Object) string {
	switch item := object.(type) {
	case *sharedObject:
		return text(item.object)
	case *metrics.PodMetrics:
		return fmt.Sprint(item.Labels, item.Timestamp.UnixNano(), item.Window, len(item.Containers), item.Containers)
	case *metrics.NodeMetrics:
		return fmt.Sprint(item.Labels, item.Timestamp.UnixNano(), item.Window, item.Usage.Cpu())
	}
	return fmt.Sprintf("%T", object)
}

func keyOf(object runtime.Object) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return err.Error()
	}
	return accessor.GetNamespace() + "/" + accessor.GetName()
}
