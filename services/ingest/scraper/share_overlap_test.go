package scraper

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// with are the lines that have a text in them.
func (l *lines) with(text string) (with []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			with = append(with, line)
		}
	}
	return with
}

// Ingesters whose fixed shares don't fit together, or which are beside others, scrape nodes twice: each says so once, with what
// to do, and all go on. What fits together, or may, is not told of.
func TestSharesThatOverlap(t *testing.T) {
	cfg := testenv.NATS(t)
	w := newWorld(t, testenv.Connect(t, cfg))
	r := newRecorder(t, w, shareNodes)
	type one struct {
		*ingester
		log *lines
	}
	start := func(name string, shard, total int, selector string) one {
		t.Helper()
		o := one{log: &lines{}}
		o.ingester = w.start(cfg, name, func(c *Config) {
			c.Shard, c.TotalShards, c.NodeSelector = shard, total, selector
			c.Log = slog.New(slog.NewTextHandler(o.log, nil))
		})
		o.ready(t)
		return o
	}
	overlaps := func(want int, all ...one) {
		t.Helper()
		testenv.Eventually(t, 10*time.Second, func() error {
			for _, o := range all {
				if n := o.gauge("headwater_ingest_overlapping_ingesters", ""); n != float64(want) {
					return fmt.Errorf("%s overlaps with %v ingesters, want %d", o.cfg.Instance, n, want)
				}
			}
			return nil
		})
	}
	warned := func(o one, times int, texts ...string) {
		t.Helper()
		found := o.log.with("other ingesters scrape nodes of this one too")
		if len(found) != times {
			t.Errorf("%s warned %d times, want %d: %q", o.cfg.Instance, len(found), times, found)
			return
		}
		for _, text := range texts {
			if !strings.Contains(found[times-1], text) {
				t.Errorf("%s doesn't name %s: %s", o.cfg.Instance, text, found[times-1])
			}
		}
	}
	const zero, all = "--shard=0 --total-shards=2", 2

	a, b := start("a", 0, all, ""), start("b", 1, all, "")
	elsewhere := start("elsewhere", 0, 3, "pool=other") // its nodes may be others
	twin := start("twin", 0, all, "")
	overlaps(1, a, twin)
	overlaps(0, b, elsewhere)
	warned(a, 1, "twin ("+zero+")", `this="`+zero+`"`)
	warned(twin, 1, "a ("+zero+")")
	twin.stop()
	overlaps(0, a, b)
	if len(a.log.with("no other ingester scrapes nodes of this one any more")) != 1 {
		t.Error("a doesn't say that it is over")
	}

	third := start("third", 2, 3, "")
	overlaps(1, a, b)
	overlaps(2, third)
	warned(b, 1, "third (--shard=2 --total-shards=3)")
	third.stop()
	overlaps(0, a, b)

	// Automatic ones don't count those with fixed shares as theirs, and have all nodes between them.
	began := time.Now()
	x, y := start("x", 0, 0, ""), start("y", 0, 0, "")
	overlaps(2, a, b, x, y)
	warned(a, 3, "x (no --total-shards)")
	warned(x, 1, "a ("+zero+")", "b (--shard=1 --total-shards=2)", `this="no --total-shards"`)
	warned(elsewhere, 0)
	for _, o := range []one{x, y} {
		testenv.Eventually(t, 10*time.Second, func() error {
			if n := o.gauge("headwater_ingest_members", ""); n != 2 {
				return fmt.Errorf("%s counts %v members", o.cfg.Instance, n)
			}
			return nil
		})
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		for node, by := range r.since(began) {
			fixed, automatic := 0, 0
			for _, scrape := range by {
				if scrape.by == "a" || scrape.by == "b" {
					fixed++
				} else {
					automatic++
				}
			}
			if fixed < 2 || automatic < 2 {
				return fmt.Errorf("%s was scraped %d times by those with fixed shares, %d times by the others", node, fixed, automatic)
			}
		}
		return nil
	})
}

// Which shares have nodes in common follows from how nodes are divided.
func TestCommonNodes(t *testing.T) {
	const most, nodes = 6, 2000
	for n := 1; n <= most; n++ {
		for m := 1; m <= most; m++ {
			both := map[[2]int]bool{}
			for i := range nodes {
				hash := hashName(fmt.Sprint("node-", i))
				both[[2]int{fixedSlots(n).owner(hash), fixedSlots(m).owner(hash)}] = true
			}
			for i := range n {
				for j := range m {
					a, b := stream.Part{Number: i, Of: n}, stream.Part{Number: j, Of: m}
					if got, want := common(a, b), both[[2]int{i, j}]; got != want {
						t.Errorf("%s and %s have nodes in common: %v, want %v", partText(a), partText(b), got, want)
					}
				}
			}
			if a := (stream.Part{Number: n - 1, Of: n}); !common(a, stream.Part{}) || !common(stream.Part{}, a) {
				t.Errorf("%s has no nodes in common with those that have no part", partText(a))
			}
		}
	}
}

// A fixed share is scraped also where the others can't be told of it.
func TestFixedShareWithoutABucket(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	r := newRecorder(t, w, shareNodes)
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// No two streams may have a subject in common: this one is in the bucket's way.
	stream := fmt.Sprintf(`{"name":"IN_THE_WAY","subjects":["$KV.K8S_%s_%s.>"],"storage":"memory"}`, clusterName, membersGroup)
	if answer, err := nc.Request("$JS.API.STREAM.CREATE.IN_THE_WAY", []byte(stream), 5*time.Second); err != nil || strings.Contains(string(answer.Data), `"error"`) {
		t.Fatal(answer, err)
	}
	log := &lines{}
	a := w.start(cfg, "a", func(c *Config) { c.TotalShards, c.Log = 1, slog.New(slog.NewTextHandler(log, nil)) })
	a.ready(t)
	r.settled(10*time.Second, "a")
	if n := len(log.with("couldn't tell the other ingesters of this one's fixed share")); n != 1 {
		t.Errorf("it is said %d times that the others can't be told", n)
	}
	if err := a.Ready(); err != nil {
		t.Error(err)
	}
}

// What one release writes down as its selector the next one reads.
func TestSelectorOfSettings(t *testing.T) {
	for settings, want := range map[string]string{
		`resolution 15s, source resource, selector ""`:                     `""`,
		`resolution 1m0s, source summary, selector "a=b, selector in (c)"`: `"a=b, selector in (c)"`,
		"": "",
	} {
		if got := selectorOf(settings); got != want {
			t.Errorf("%s: %s, want %s", settings, got, want)
		}
	}
	c := Config{MetricResolution: 15 * time.Second, Source: SourceResource, NodeSelector: "pool=a"}
	if got, want := c.shareSettings(), `resolution 15s, source resource, selector "pool=a"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if text := partText(stream.Part{}); text != "no --total-shards" {
		t.Error(text)
	}
}
