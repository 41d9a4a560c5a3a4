package exposition_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	k8sruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// event is an object change as it comes from the log.
type event struct {
	table   int
	message []byte
}

// fixture is all objects of a cluster as events, in an order that mixes them as a snapshot does.
type fixture struct {
	resources []*collector.Resource
	encoders  map[string]*objects.Encoder // by Go type
	tables    map[string]int              // by Go type
	events    []event
	pods      []int // their indexes among events, by number
}

func newFixture(t testing.TB, nodes int) *fixture {
	t.Helper()
	resources, err := collector.New(collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{resources: resources, encoders: map[string]*objects.Encoder{}, tables: map[string]int{}}
	for i, r := range resources {
		kind, _ := objects.ByResource(r.Name)
		encoder, err := objects.NewEncoder(kind)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%T", kind.New())
		f.encoders[name], f.tables[name] = encoder, i
	}
	isPod := []bool(nil)
	err = specimen.Cluster(nodes, func(o k8sruntime.Object) error {
		if _, exported := f.tables[fmt.Sprintf("%T", o)]; !exported {
			return nil
		}
		f.events = append(f.events, f.event(t, o))
		isPod = append(isPod, f.events[len(f.events)-1].table == f.tables["*v1.Pod"])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	order := rand.New(rand.NewPCG(1, 2)).Perm(len(f.events))
	events := make([]event, len(f.events))
	for from, to := range order {
		events[to] = f.events[from]
		if isPod[from] {
			f.pods = append(f.pods, to)
		}
	}
	f.events = events
	return f
}

func (f *fixture) event(t testing.TB, o k8sruntime.Object) event {
	name := fmt.Sprintf("%T", o)
	message, err := f.encoders[name].AppendMessage(nil, o, schemas.Applied, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return event{f.tables[name], message}
}

// worker applies events as the exporter's sink does.
type worker struct {
	change    schemas.ObjectChange
	renderers []collector.Renderer
	key       []byte
}

func (f *fixture) worker(t testing.TB) *worker {
	w := &worker{}
	for _, r := range f.resources {
		renderer, err := r.NewRenderer()
		if err != nil {
			t.Fatal(err)
		}
		w.renderers = append(w.renderers, renderer)
	}
	return w
}

// render returns the lines of an event's object; w.key and w.change are those of the event then.
func (w *worker) render(e event) (*collector.Rendered, error) {
	if err := w.change.Unmarshal(e.message); err != nil {
		return nil, err
	}
	w.key = append(append(append(w.key[:0], w.change.Namespace...), '/'), w.change.Name...)
	return w.renderers[e.table].Render(w.change.Object)
}

func (w *worker) apply(store *exposition.Store, e event) error {
	out, err := w.render(e)
	if err == nil {
		store.Table(e.table).Put(string(w.key), w.change.UID, out.Text, out.Ends)
	}
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// build fills a store, by as many workers as there are processors.
func (f *fixture) build(t testing.TB) *exposition.Store {
	store := exposition.NewStore(f.resources)
	var next atomic.Int64
	var wg sync.WaitGroup
	const batch = 500 // events of a chunk of a snapshot
	for range runtime.GOMAXPROCS(0) {
		w := f.worker(t)
		wg.Go(func() {
			for {
				end := int(next.Add(batch))
				if end-batch >= len(f.events) {
					return
				}
				for _, e := range f.events[end-batch : min(end, len(f.events))] {
					if err := w.apply(store, e); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	store.Snapshot()
	return store
}

// TestACluster checks what a small cluster exports, in both formats and both encodings, before and after changes.
func TestACluster(t *testing.T) {
	f := newFixture(t, 4)
	store := f.build(t)
	w := f.worker(t)
	check := func(wanted int) {
		t.Helper()
		for format, check := range map[exposition.Format]func([]byte) (strict.Summary, error){
			exposition.Text: strict.Text, exposition.OpenMetrics: strict.OpenMetrics,
		} {
			var plain, packed bytes.Buffer
			a := exposition.NewAnswer(format, store.Snapshot().Groups())
			must(t, a.Write(&plain))
			must(t, a.WriteGzip(&packed))
			unpacked, err := gzip.NewReader(&packed)
			must(t, err)
			if text, err := io.ReadAll(unpacked); err != nil || !bytes.Equal(text, plain.Bytes()) {
				t.Errorf("format %d: the gzip answer differs from the plain one: %v", format, err)
			}
			got, err := check(plain.Bytes())
			if err != nil {
				t.Errorf("format %d: %v", format, err)
			}
			if got.Series != wanted {
				t.Errorf("format %d: %d series, want %d", format, got.Series, wanted)
			}
		}
	}
	series := func(e event) int {
		out, err := w.render(e)
		must(t, err)
		return bytes.Count(out.Text, []byte{'\n'})
	}
	total := 0
	for _, e := range f.events {
		total += series(e)
	}
	check(total)
	for i, at := range f.pods {
		old := f.events[at]
		switch i % 3 {
		case 0:
			restarted := f.event(t, specimen.Restarted(specimen.Pod(i)))
			total += series(restarted) - series(old)
			must(t, w.apply(store, restarted))
		case 1:
			total -= series(old)
			if got := store.Table(old.table).Delete(string(w.key), w.change.UID); got != exposition.Removed {
				t.Errorf("pod %d: %v", i, got)
			}
		}
	}
	check(total)
}
