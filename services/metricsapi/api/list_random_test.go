package api

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// odd are names and values as Kubernetes has them, and as it doesn't.
var odd = []string{"web", "", "a-b.c", "x<y>&z", `q"u\o`, "tab\there", "ümläut", "line\u2028", "bad\xff", "\x00", "\x7f", strings.Repeat("long", 100)}

// dice makes random readings.
type dice struct {
	*rand.Rand
	labels view.Interner
}

func (d *dice) text() string {
	if d.IntN(3) == 0 {
		return odd[d.IntN(len(odd))]
	}
	return fmt.Sprintf("name-%d", d.IntN(1000))
}

func (d *dice) labelSet(t testing.TB) *view.Labels {
	t.Helper()
	n := d.IntN(4)
	labels, err := d.labels.Intern([]byte{byte(n), byte(d.IntN(50))}, func([]byte) (map[string]string, error) {
		set := map[string]string{}
		for range n {
			set[d.text()] = d.text()
		}
		return set, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return labels
}

func (d *dice) number() uint64 {
	switch v := d.Uint64() >> d.IntN(64); d.IntN(4) {
	case 0:
		return v / 1000 * 1000
	case 1:
		return v &^ 1023
	case 2:
		return uint64(d.IntN(3000))
	default:
		return v
	}
}

func (d *dice) point() schemas.Point {
	p := schemas.Point{Time: d.Int64() - d.Int64(), Rate: d.number(), Memory: d.number(), Window: 1 + d.Int64()>>d.IntN(60)}
	if d.IntN(5) == 0 {
		p.Time = -d.Int64N(3e9) // around 1970, where rounding shows
	}
	if d.IntN(8) == 0 {
		p.Rate = schemas.NoRate
	}
	if d.IntN(2) == 0 {
		p.Extra = &schemas.Extra{SwapUsage: schemas.Optional{Value: d.number(), Valid: d.IntN(3) > 0}}
	}
	return p
}

// pods makes n readings of pods, in parts of which the last one isn't full.
func (d *dice) pods(t testing.TB, n int) podItems {
	var all podItems
	for i := range n {
		if i%partItems == 0 {
			all = append(all, nil)
		}
		sample := schemas.UsageSample{Node: "n", Time: at(0), Pods: []schemas.PodUsage{{}}}
		for c := range 1 + d.IntN(3) {
			sample.Pods[0].Containers = append(sample.Pods[0].Containers, container(fmt.Sprint(d.text(), c), d.point()))
		}
		entry := &view.Entry[pod]{Namespace: d.text(), Name: d.text(), Value: pod{labels: d.labelSet(t), mirror: true}}
		reading, ok := readPod(entry, view.PodUsage{Sample: &sample, Pod: &sample.Pods[0]}, epoch1, time.Minute)
		if !ok {
			t.Fatalf("%+v has no metrics", sample)
		}
		all[len(all)-1] = append(all[len(all)-1], reading)
	}
	return all
}

func (d *dice) nodes(t testing.TB, n int) nodeItems {
	var all nodeItems
	for i := range n {
		if i%partItems == 0 {
			all = append(all, nil)
		}
		p := d.point()
		p.Rate /= 2
		reading, ok := readNode(&view.Entry[node]{Name: d.text(), Value: node{labels: d.labelSet(t)}}, &schemas.UsageSample{Time: at(0), Point: &p}, epoch1, time.Minute)
		if !ok {
			t.Fatalf("%+v has no metrics", p)
		}
		all[len(all)-1] = append(all[len(all)-1], reading)
	}
	return all
}

// terse are n pods of which as little is said as can be.
func terse(n int) podItems {
	all := make([]podReading, n)
	for i := range all {
		all[i].entry = &view.Entry[pod]{Namespace: "n", Name: "p", Value: pod{labels: &view.Labels{}}}
	}
	return slices.Collect(slices.Chunk(all, partItems))
}

var epoch1 = time.Unix(0, at(time.Second))
