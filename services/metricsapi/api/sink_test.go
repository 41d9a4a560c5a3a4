package api

import (
	"errors"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

func podSubject(cluster, resource string) string {
	return schemas.ObjectSubject{Cluster: cluster, Resource: resource, Namespace: "shop", Name: "web-1"}.String()
}

// podChange is a change whose object is whatever the test makes of it.
func podChange(object []byte) []byte {
	change := schemas.ObjectChange{Operation: schemas.Applied, APIVersion: "v1", Kind: "Pod", Resource: "pods", Namespace: "shop", Name: "web-1", Object: object}
	return change.Marshal()
}

func TestSinksRefuseWhatTheyCannotRead(t *testing.T) {
	s := newServed(t)
	running := newPod("shop", "web-1", "n", map[string]string{"app": "web"})
	s.apply(running)
	number := wire.AppendInt(nil, 7)
	labels := func(value []byte) []byte {
		b := wire.AppendString(wire.AppendMapLen(nil, 2), "metadata")
		b = wire.AppendString(wire.AppendMapLen(b, 1), "labels")
		b = append(b, value...)
		b = wire.AppendString(wire.AppendMapLen(wire.AppendString(b, "status"), 1), "phase")
		return wire.AppendString(b, "Running")
	}
	for name, data := range map[string][]byte{
		"nothing":                    nil,
		"no message":                 []byte("hello"),
		"of another version":         {0x91, 0x02},
		"an object that is no map":   podChange(number),
		"labels that are no map":     podChange(labels(number)),
		"a label that is no text":    podChange(labels(append(wire.AppendString(wire.AppendMapLen(nil, 1), "app"), number...))),
		"a label's name is no text":  podChange(labels(append(append(wire.AppendMapLen(nil, 1), number...), number...))),
		"more labels than there are": podChange(labels([]byte{0xdf, 0xff, 0xff, 0xff, 0xff})),
		"cut off":                    podChange(labels(wire.AppendMapLen(nil, 0)))[:40],
	} {
		err := s.catalog.Apply(stream.Event{Sequence: 9, Subject: podSubject("test", "pods"), Data: data})
		if err == nil || !errors.Is(err, schemas.ErrMalformed) && !errors.Is(err, schemas.ErrVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	catalog := s.catalog.(*catalogSink).catalog
	if entry, ok := catalog.pods.Get("shop", "web-1"); !ok || entry.Value.labels.Get("app") != "web" {
		t.Error("the pod was harmed")
	}
	if catalog.pods.Position() != 1 {
		t.Errorf("position %d, want 1", catalog.pods.Position())
	}
	for _, subject := range []string{schemas.UsageSubject{Cluster: "test", Node: "n"}.String(), schemas.ScrapeSubject{Cluster: "test", Node: "n"}.String()} {
		if err := s.samples.Apply(stream.Event{Sequence: 9, Subject: subject, Data: []byte("hello")}); !errors.Is(err, schemas.ErrMalformed) {
			t.Errorf("%s: %v", subject, err)
		}
	}
	if err := s.samples.Apply(stream.Event{Sequence: 10, Subject: "k8s.v1.test.later.n", Data: []byte("hello")}); err != nil {
		t.Errorf("what a later version puts into the stream: %v", err)
	}
}

func TestSinkPassesOverOtherKinds(t *testing.T) {
	s := newServed(t)
	for i, subject := range []string{
		podSubject("test", "secrets"), podSubject("test", "podsx"), podSubject("other", "pods"),
		schemas.ObjectSubject{Cluster: "test", Group: "metrics.k8s.io", Resource: "pods", Namespace: "shop", Name: "x"}.String(),
	} {
		if err := s.catalog.Apply(stream.Event{Sequence: uint64(i + 1), Subject: subject, Data: []byte("never looked at")}); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	if c := s.catalog.(*catalogSink).catalog; c.pods.Len() != 0 || c.pods.Position() != 4 || c.nodes.Position() != 4 {
		t.Errorf("%d pods, position %d", c.pods.Len(), c.pods.Position())
	}
}

// TestSinkKeepsWhatItNeeds looks at every field, and that a rebuild shares label sets with what serves.
func TestSinkKeepsWhatItNeeds(t *testing.T) {
	s := newServed(t)
	web := newPod("shop", "web-1", "node-a", map[string]string{"app": "web"})
	static := newPod("kube-system", "etcd", "node-b", nil)
	static.Annotations = map[string]string{"kubernetes.io/config.mirror": "hash", "other": "x"}
	static.Status.StartTime = nil
	s.apply(web)
	s.apply(static)
	s.apply(newNode("node-a", map[string]string{"app": "web"}))
	first := s.catalog.(*catalogSink).catalog
	entry, _ := first.pods.Get("shop", "web-1")
	ago := epoch.Add(-30 * time.Minute).Unix()
	if want := (pod{labels: entry.Value.labels, uid: "uid-of-web-1", node: "node-a", created: ago, started: ago}); entry.Value != want || entry.Value.labels.Get("app") != "web" {
		t.Errorf("%+v, want %+v", entry.Value, want)
	}
	if entry, _ := first.pods.Get("kube-system", "etcd"); !entry.Value.mirror || entry.Value.started != 0 || entry.Value.labels.Len() != 0 {
		t.Errorf("%+v", entry.Value)
	}
	if node, _ := first.nodes.Get("", "node-a"); node.Value.created != epoch.Add(-time.Hour).Unix() || node.Value.labels != entry.Value.labels {
		t.Errorf("%+v", node.Value)
	}
	s.catalog = s.service.beginCatalog()
	s.apply(web)
	if again, _ := s.catalog.(*catalogSink).catalog.pods.Get("shop", "web-1"); again.Value != entry.Value {
		t.Errorf("rebuilt: %+v, want %+v", again.Value, entry.Value)
	}
}

func FuzzCatalogSink(f *testing.F) {
	kind, _ := objects.ByResource("pods")
	encoder, err := objects.NewEncoder(kind)
	if err != nil {
		f.Fatal(err)
	}
	change, err := encoder.Change(newPod("shop", "web-1", "n", map[string]string{"app": "web"}), schemas.Applied, epoch)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(change.Marshal())
	f.Add(podChange(wire.AppendMapLen(nil, 0)))
	f.Add([]byte{})
	c := newCataloger("test")
	f.Fuzz(func(t *testing.T, data []byte) {
		sink := &catalogSink{cataloger: c, catalog: newCatalog(nil)}
		for _, resource := range []string{"pods", "nodes"} {
			_ = sink.Apply(stream.Event{Subject: podSubject("test", resource), Data: data})
		}
		sink.catalog.settle()
		for _, entry := range sink.catalog.pods.All() {
			if entry.Value.labels == nil {
				t.Errorf("%+v", entry)
			}
		}
	})
}
