package scraper

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// recorder is the kubelets of many nodes behind one address: each has a path of its own. It notes who asked for which,
// and when; the ingesters are told apart by their tokens.
type recorder struct {
	t     testing.TB
	nodes []*corev1.Node

	mu    sync.Mutex
	asked map[string][]asked // by node
}

type asked struct {
	by string
	at time.Time
}

const shareNodes = 40

func newRecorder(t testing.TB, w *world, nodes int) *recorder {
	r := &recorder{t: t, asked: map[string][]asked{}}
	server, _ := newKubelet(t, r.serve)
	for i := range nodes {
		k := &kubelet{name: fmt.Sprintf("node-%02d", i), server: server, path: fmt.Sprintf("/node-%02d/metrics", i)}
		r.nodes = append(r.nodes, k.node())
	}
	w.put(schemas.Applied, r.nodes...)
	return r
}

// cores is what a node uses: another rate for each, so that one node's counters aren't taken for another's.
func cores(node string) float64 {
	var i int
	fmt.Sscanf(node, "node-%d", &i)
	return float64(i%shareNodes+1) / 8
}

func (r *recorder) serve(w http.ResponseWriter, q *http.Request) {
	node, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	now := time.Now().Truncate(time.Millisecond)
	r.mu.Lock()
	r.asked[node] = append(r.asked[node], asked{strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer "), now})
	r.mu.Unlock()
	used, at := now.Sub(clockStart).Seconds()*cores(node), now.UnixMilli()
	fmt.Fprintf(w, "node_cpu_usage_seconds_total %.9f %d\nnode_memory_working_set_bytes 1e9 %d\n"+
		"container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=%q} %.9f %d\n"+
		"container_memory_working_set_bytes{container=\"c\",namespace=\"ns\",pod=%q} 1e6 %d\n"+
		"container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=%q} %d\n",
		used, at, at, "p-"+node, used, at, "p-"+node, at, "p-"+node, clockStart.Unix())
}

// since are the requests from a time on.
func (r *recorder) since(t time.Time) map[string][]asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := map[string][]asked{}
	for _, n := range r.nodes {
		for _, a := range r.asked[n.Name] {
			if !a.at.Before(t) {
				since[n.Name] = append(since[n.Name], a)
			}
		}
	}
	return since
}

// settled waits until every node was scraped at least twice from now on, by one of those named alone, each of whom has some,
// and returns who has which.
func (r *recorder) settled(within time.Duration, names ...string) map[string]string {
	r.t.Helper()
	began := time.Now()
	owner := map[string]string{}
	testenv.Eventually(r.t, within, func() error {
		clear(owner)
		all := r.since(began)
		for _, n := range r.nodes {
			a := all[n.Name]
			if len(a) < 2 {
				return fmt.Errorf("%s was scraped %d times", n.Name, len(a))
			}
			last := a[len(a)-2:]
			if last[0].by != last[1].by || !slices.Contains(names, last[0].by) {
				began = time.Now() // again, from here
				return fmt.Errorf("%s was scraped by %s and %s", n.Name, last[0].by, last[1].by)
			}
			owner[n.Name] = last[0].by
		}
		if has := slices.Compact(slices.Sorted(maps.Values(owner))); len(has) != len(names) {
			return fmt.Errorf("only %v have nodes", has)
		}
		return nil
	})
	return owner
}

// gap is the longest time between two scrapes of one node since a time, whoever did them, up to now.
func (r *recorder) gap(from time.Time) (longest time.Duration, node string) {
	now := time.Now()
	for name, all := range r.since(from) {
		for i := range all {
			end := now
			if i+1 < len(all) {
				end = all[i+1].at
			}
			if d := end.Sub(all[i].at); d > longest {
				longest, node = d, name
			}
		}
	}
	return longest, node
}

// double is the longest time for which one node was scraped by two since a time: from the first scrape of the second one to
// the last one of the first.
func (r *recorder) double(from time.Time, first string) (longest time.Duration) {
	for _, all := range r.since(from) {
		var taken time.Time
		for _, a := range all {
			if a.by != first && taken.IsZero() {
				taken = a.at
			}
			if a.by == first && !taken.IsZero() {
				longest = max(longest, a.at.Sub(taken))
			}
		}
	}
	return longest
}

// taken is how long after a time the last of one's nodes was first scraped by another.
func (r *recorder) taken(from time.Time, owner map[string]string, gone string) (longest time.Duration) {
	all := r.since(from)
	for node, of := range owner {
		if of != gone {
			continue
		}
		d := time.Hour
		for _, a := range all[node] {
			if a.by != gone {
				d = a.at.Sub(from)
				break
			}
		}
		longest = max(longest, d)
	}
	return longest
}
