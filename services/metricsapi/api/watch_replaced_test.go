package api

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// replacements counts how often what is served was replaced: those that began, and those that are over.
type replacements struct{ begun, over atomic.Int64 }

func (r *replacements) do(replace func()) {
	r.begun.Add(1)
	replace()
	r.over.Add(1)
}

// steadyClient lists, watches from there, and lists again at once when it is refused: as clients do, but for their pauses.
type steadyClient struct {
	pods     storage
	replaced *replacements
	refused  map[metav1.StatusReason]int
	told     int
}

// run ends with ctx. It returns what was refused without a reason: nothing was replaced between the list and the refusal.
func (c *steadyClient) run(ctx context.Context) error {
	for ctx.Err() == nil {
		over := c.replaced.over.Load()
		version := ""
		object, err := c.pods.List(ctx, &metainternalversion.ListOptions{})
		if err == nil {
			version, err = meta.NewAccessor().ResourceVersion(object)
		}
		if apierrors.IsServiceUnavailable(err) {
			continue // before the first views are whole
		}
		if err != nil || version == "" {
			return fmt.Errorf("a list at version %q: %w", version, err)
		}
		w, err := c.pods.(rest.Watcher).Watch(ctx, &metainternalversion.ListOptions{ResourceVersion: version})
		if err != nil {
			return fmt.Errorf("a watch: %w", err)
		}
		for event := range w.ResultChan() {
			c.told++
			if status, ok := event.Object.(*metav1.Status); ok && event.Type == watch.Error && ctx.Err() == nil {
				c.refused[status.Reason]++
				if c.replaced.begun.Load() == over {
					return fmt.Errorf("refused, and nothing was replaced: %s", status.Message)
				}
			}
		}
	}
	return nil
}

// TestWatchersOfReplacedViews: when views are replaced, who watches is told to list again, once, and finds what goes on from his
// list: neither while they are built, nor while they are read once more, is anybody refused again and again.
func TestWatchersOfReplacedViews(t *testing.T) {
	l := newLogs(t)
	r := l.replica()
	r.service.now = func() time.Time { return epoch.Add(time.Second) }
	rebuilt(r)
	const pods, watchers, rounds = 300, 40, 24
	l.object(newNode("node-a", nil), schemas.Applied)
	for i := range pods {
		l.object(newPod("shop", fmt.Sprint("p", i), "node-a", nil), schemas.Applied)
	}
	usage := func(round int) {
		var all []schemas.PodUsage
		for i := range pods {
			all = append(all, podUsage("shop", fmt.Sprint("p", i), container("c", point(uint64(round+1), 1, time.Second))))
		}
		l.sample(measured(uint64(round), all...))
	}
	usage(0)
	r.catchUp()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var replaced replacements
	clients := make([]steadyClient, watchers)
	var running sync.WaitGroup
	for i := range clients {
		clients[i] = steadyClient{pods: r.pods, replaced: &replaced, refused: map[metav1.StatusReason]int{}}
		running.Go(func() {
			if err := clients[i].run(ctx); err != nil {
				t.Error(err)
				stop()
			}
		})
	}
	position := func(n int) stream.Position {
		return stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(n)}}
	}
	replaced.do(r.whole)
	for round := range rounds {
		switch round % 3 {
		case 0:
			usage(round + 1)
			r.catchUp()
		case 1: // another catalog, built beside the one that serves
			catalog := r.service.beginCatalog()
			r.catalog, r.readObjects = catalog, 0
			r.read(len(l.objects), 0)
			replaced.do(func() { r.service.serveCatalog(catalog, position(r.readObjects)) })
		case 2: // the stream of the usage is another one, which the same view reads
			replaced.do(func() {
				l.usage, r.readUsage = nil, 0
				for i := range 20 {
					usage(round + i)
					r.catchUp()
				}
				r.service.serveUsage(r.usage, position(r.readUsage))
			})
		}
	}
	stop()
	running.Wait()
	total, told := map[metav1.StatusReason]int{}, 0
	for i := range clients {
		told += clients[i].told
		n := 0
		for reason, times := range clients[i].refused {
			total[reason] += times
			n += times
		}
		// A list of a stream that is read once more leads nowhere, either.
		if most := 2 * int(replaced.begun.Load()); n > most {
			t.Errorf("a client was refused %d times, of %d replacements", n, replaced.begun.Load())
		}
	}
	t.Logf("%d events; refused: %v", told, total)
}
