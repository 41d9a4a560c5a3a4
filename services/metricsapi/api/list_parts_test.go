package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/services/internal/view"
)

// nobody is a source that only counts.
type nobody struct {
	source
	sync.Mutex
	ages
}

func (n *nobody) observe(a *ages) {
	n.Lock()
	defer n.Unlock()
	n.count += a.count
}

// TestPartsWithoutMetrics reads a list of which whole parts have nothing to say.
func TestPartsWithoutMetrics(t *testing.T) {
	scheme, codecs, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	d := &dice{Rand: rand.New(rand.NewPCG(5, 5))}
	entries := make([]*view.Entry[pod], 6*partItems-3)
	for i := range entries {
		entries[i] = &view.Entry[pod]{Namespace: "shop", Name: fmt.Sprint(i), Value: pod{labels: d.labelSet(t)}}
	}
	for talking := range 1 << 6 { // a bit for each part
		var source nobody
		items := podItems(readParts(&source, entries, epoch1, func(part []*view.Entry[pod], readings []podReading) []podReading {
			i := slices.Index(entries, part[0])
			if talking>>(i/partItems)&1 != 0 {
				for _, entry := range part[:2] {
					readings = append(readings, podReading{entry: entry})
				}
			}
			return readings
		}))
		l := &list{items: items, now: epoch1, formats: newFormats(scheme, codecs), makers: new(makers), response: &response{}}
		object := l.GetObject()
		if n := len(object.(*metrics.PodMetricsList).Items); n != 2*bits.OnesCount(uint(talking)) || source.count != uint64(n) {
			t.Errorf("%06b: %d pods, %d observed", talking, n, source.count)
		}
		for _, encoder := range encoders(scheme, codecs) {
			var want, got bytes.Buffer
			if err := errors.Join(encoder.Encode(object, &want), encoder.Encode(l, &got)); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Fatalf("%06b: %v, %s", talking, err, firstDifference(want.Bytes(), got.Bytes()))
			}
		}
	}
}

// TestPagesAreUsedInOrder fills pages by several goroutines, with everything that may fail.
func TestPagesAreUsedInOrder(t *testing.T) {
	var m makers
	items := func() *itemWriter { return newItemWriter(epoch, 0, false) }
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 2, 7, 100} {
		for failFill := -1; failFill < min(n, 9); failFill++ {
			for failUse := -1; failUse < min(n, 9); failUse++ {
				var used []byte
				err := m.inOrder(n, items, func(part int, by *maker, p *page) error {
					p.content = append(p.content[:0], byte(part))
					if part == failFill {
						return broken
					}
					return nil
				}, func(p *page) error {
					if len(used) == failUse {
						return broken
					}
					used = append(used, p.content...)
					return nil
				})
				fails, want := failFill >= 0 || failUse >= 0, n
				for _, f := range []int{failFill, failUse} {
					if f >= 0 {
						want = min(want, f)
					}
				}
				if errors.Is(err, broken) != fails || len(used) != want || !slices.IsSorted(used) {
					t.Fatalf("%d parts, %d and %d fail: %v, used %v", n, failFill, failUse, err, used)
				}
			}
		}
	}
}

// TestListsConcurrently sends lists side by side, some to clients that go away in the middle.
func TestListsConcurrently(t *testing.T) {
	scheme, codecs, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	d := &dice{Rand: rand.New(rand.NewPCG(3, 3))}
	pods, formats, makers := d.pods(t, 3*partItems), newFormats(scheme, codecs), new(makers)
	wants := map[runtime.Identifier][]byte{}
	for id := range formats {
		var b bytes.Buffer
		l := &list{items: pods, now: epoch1, formats: formats, makers: makers, response: &response{http.Header{}, false}}
		if err := l.CacheEncode(id, nil, &b); err != nil {
			t.Fatal(err)
		}
		wants[id] = b.Bytes()
	}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for id, want := range wants {
				l := &list{items: pods, now: epoch1, formats: formats, makers: makers, response: &response{http.Header{}, i%2 == 0}}
				w := &limited{left: math.MaxInt}
				if i%3 == 0 {
					w.left = len(want) / 2 / (1 + i%2*20)
				}
				err := l.CacheEncode(id, nil, w)
				if i%3 == 0 {
					if i%2 != 0 && !errors.Is(err, io.ErrClosedPipe) {
						t.Errorf("a client that went away: %v", err)
					}
					continue
				}
				body := w.Bytes()
				if i%2 == 0 {
					body = gunzip(t, body)
				}
				if err != nil || !bytes.Equal(body, want) {
					t.Errorf("%v: %s", err, firstDifference(want, body))
				}
			}
		})
	}
	wait.Wait()
}

// limited is a connection that breaks.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return l.Buffer.Write(b)
}
