package api

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// arriving is a server whose clock is set. Times are seconds: the resolution is 15, samples are true for 45.
type arriving struct {
	*served
	clock atomic.Int64
}

func newArriving(t *testing.T) *arriving {
	a := &arriving{served: newServed(t)}
	a.service.now = func() time.Time { return time.Unix(0, a.clock.Load()) }
	for _, node := range []string{"node-a", "node-b", "node-c"} {
		a.apply(newNode(node, nil))
	}
	return a
}

func moment(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

func (a *arriving) set(seconds float64) { a.clock.Store(moment(seconds).UnixNano()) }

// stored gives the server a message of the stream: of a scrape that was made at a time, by the clock of its ingester, and stored at
// a time, by that of NATS.
func (a *arriving) stored(sequence uint64, node string, taken, stored float64, failed bool) {
	a.t.Helper()
	p := point(1, 1, time.Second)
	sample := nodeSample(node, &p)
	sample.Time = moment(taken).UnixNano()
	e := stream.Event{Sequence: sequence, Subject: schemas.UsageSubject{Cluster: "test", Node: node}.String(), Data: sample.Marshal(), Time: moment(stored)}
	if failed {
		report := schemas.ScrapeReport{Node: node, Time: sample.Time, Result: "timeout"}
		e.Subject, e.Data = schemas.ScrapeSubject{Cluster: "test", Node: node}.String(), report.Marshal()
	}
	if err := a.samples.Apply(e); err != nil {
		a.t.Fatal(err)
	}
}

// ready sets the clock, lets NATS be heard, and checks that the server is ready, or why it isn't.
func (a *arriving) ready(what string, seconds float64, want string) {
	a.t.Helper()
	a.set(seconds)
	a.usage.heard.Store(moment(seconds).UnixNano())
	if got := a.service.usageReady(); (want == "") != (got == nil) || !strings.Contains(fmt.Sprint(got), want) {
		a.t.Errorf("%s, at %v: %v, want %q", what, seconds, got, want)
	}
}

// TestBeginningAfterALull: a server that replays what was stored around a time in which nobody wrote answers with no part of the
// nodes, and for no longer than one that was there. Node-b was healthy before, unless it is said.
func TestBeginningAfterALull(t *testing.T) {
	type message struct {
		sequence uint64
		node     string
		at       float64
	}
	const waits = "nothing was heard of the usage stream for 51s, and some nodes have no newer samples yet"
	for name, c := range map[string]struct {
		stream []message
		fails  bool    // node-c's messages are of failures
		begins float64 // when the server does
		want   string  // then
		until  float64 // when it is over, without another message
	}{
		"some are scraped again":            {stream: []message{{7, "node-b", -14}, {8, "node-a", -1}, {9, "node-a", 50}}, begins: 52, want: waits, until: 70.1},
		"all are":                           {stream: []message{{7, "node-b", -14}, {8, "node-a", -1}, {9, "node-a", 50}, {10, "node-b", 51}}, begins: 52},
		"it was long ago":                   {stream: []message{{7, "node-b", -14}, {8, "node-a", -1}, {9, "node-a", 50}}, begins: 70.1},
		"node-b had failed":                 {stream: []message{{7, "node-b", -20}, {8, "node-a", -1}, {9, "node-a", 50}}, begins: 52},
		"nodes may be heard no more often":  {stream: []message{{7, "node-b", -14}, {8, "node-a", -1}, {9, "node-a", 20}}, begins: 29},
		"they are heard more often":         {stream: []message{{7, "node-b", -14}, {8, "node-a", -1}, {9, "node-a", 20.1}}, begins: 29, want: "for 21s", until: 40.2},
		"failures were reported in between": {stream: []message{{7, "node-b", -14}, {8, "node-a", -1}, {9, "node-c", 20}, {10, "node-c", 40}, {11, "node-a", 50}}, fails: true, begins: 52},
		"what was in between is not there":  {stream: []message{{7, "node-b", -14}, {8, "node-a", -1}, {19, "node-a", 50}}, begins: 52},
		"NATS' clock is ahead":              {stream: []message{{7, "node-b", 986}, {8, "node-a", 999}, {9, "node-a", 1050}}, begins: 52, want: "for 0s", until: 72.1},
		"one node alone":                    {stream: []message{{7, "node-a", -1}, {8, "node-a", 14}, {9, "node-a", 29}}, begins: 30},
		"nothing was there":                 {begins: 52},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArriving(t)
			a.set(c.begins)
			for _, m := range c.stream {
				taken := m.at
				if taken > 900 { // by NATS' clock
					taken -= 1000
				}
				a.stored(m.sequence, m.node, taken, m.at, c.fails && m.node == "node-c")
			}
			a.whole()
			a.ready("at first", c.begins, c.want)
			if c.want == "" {
				return
			}
			a.ready("a moment before the time is over", c.until-0.2, "no newer samples yet")
			a.ready("the time is over", c.until, "")
			a.stored(20, "node-b", c.until-1, c.until-1, false)
			a.ready("node-b has come", c.begins, "")
		})
	}
}

// TestLivingThroughALull: so does a server that was there and heard NATS all the time, when the ingesters write again.
func TestLivingThroughALull(t *testing.T) {
	a := newArriving(t)
	a.whole()
	for i, node := range []string{"node-c", "node-b", "node-a"} {
		at := []float64{-20, -5, 0}[i]
		a.set(at)
		a.stored(uint64(i+1), node, at, at, false)
	}
	a.ready("nobody writes", 44, "")
	a.ready("one is too old", 46, "") // nobody knows how long that will be so
	a.set(60)
	a.stored(4, "node-a", 60, 60, false)
	a.ready("node-b is still lacking", 61, "nothing was heard of the usage stream for 1m0s")
	a.set(64)
	a.stored(5, "node-b", 64, 64, false)
	a.ready("node-c, which had failed before, is not waited for", 64, "")

	// A server that was cut off gets at once what was written meanwhile.
	a.set(130)
	a.stored(21, "node-a", 117, 117, false)
	a.stored(22, "node-b", 124, 124, false)
	a.ready("it hears again", 130, "")
	if got := a.service.arrivals.lately(); !got.Until.Equal(moment(60)) {
		t.Errorf("%+v", got)
	}
	a.service.forget(moment(120).UnixNano())
	if n := len(a.service.arrivals.samples); n != 2 {
		t.Errorf("%d nodes are remembered", n)
	}
}

// TestClocksThatDiffer: whether a node was healthy when a silence began doesn't depend on its ingester's clock. With one that is
// behind, samples are too old sooner, and that is no reason to give a part; with one that is ahead, a node that had failed
// doesn't become one to wait for.
func TestClocksThatDiffer(t *testing.T) {
	for ahead, c := range map[float64]struct{ whole, lacking float64 }{
		-12: {whole: 16.9, lacking: 17.1}, // node-a's sample is of -25: it is too old at 20, and about to be 3 s before
		-5:  {whole: 23.9, lacking: 24.1},
		5:   {whole: 26.9, lacking: 27.1},
	} {
		a := newArriving(t)
		a.whole()
		for i, node := range []string{"node-c", "node-a", "node-b"} {
			at := []float64{-20, -13, -1}[i] // node-c has failed since
			a.set(at)
			a.stored(uint64(i+1), node, at+ahead, at, false)
		}
		silent := func(what string, seconds float64, want bool) {
			t.Helper()
			a.set(seconds)
			a.usage.heard.Store(moment(0).UnixNano())
			if err := a.service.usageReady(); (err == nil) != want {
				t.Errorf("%v ahead, %s, at %v: %v", ahead, what, seconds, err)
			}
		}
		silent("the samples are true", c.whole, true)
		silent("one is about to be too old", c.lacking, false)
		a.usage.silence.Store(&stream.Silence{Since: moment(0), Until: moment(40)})
		a.set(41)
		a.stored(14, "node-b", 41+ahead, 41, false)
		a.ready(fmt.Sprint(ahead, " ahead, node-a lacks"), 55, "no newer samples yet")
		a.stored(15, "node-a", 55+ahead, 55, false)
		a.ready(fmt.Sprint(ahead, " ahead, all have come"), 55, "")
	}
}

// TestALullOverNATS: what is stored says when nobody wrote, to who was there and to who begins afterwards. Lists that are of a part
// come only when nobody waits any more.
func TestALullOverNATS(t *testing.T) {
	t.Parallel()
	w := newEndToEnd(t, testenv.Conn(t))
	running := w.publish(1)
	configure := func(o *Options) { o.Resolution, o.MaxSampleAge = 3*time.Second, 4*time.Second }
	there, stop := w.run(configure)
	t.Cleanup(stop)
	longest := there.cfg.Options.lull()
	testenv.Eventually(t, 20*time.Second, func() error {
		if since := time.Since(w.published); since < longest+time.Second {
			return fmt.Errorf("only %v ago", since)
		}
		return nil
	})
	node := there.catalogs.Load().nodes.All()[0].Name
	p := schemas.Point{Time: time.Now().UnixNano(), CPU: 1e9, Memory: 1 << 20, Rate: 1e6, Window: 15e9}
	sample := schemas.UsageSample{Node: node, Time: time.Now().UnixNano(), Point: &p}
	if err := w.samples.Publish(schemas.UsageSubject{Cluster: "test", Node: node}.String(), sample.Marshal()); err != nil {
		t.Fatal(err)
	}
	w.flush()
	next, stop := w.start(configure)
	t.Cleanup(stop)
	for who, service := range map[string]*Service{"was there": there, "begins": next} {
		testenv.Eventually(t, 20*time.Second, func() error {
			if service.starting.Load() != nil {
				return errors.New("it doesn't serve yet")
			}
			if lull := service.arrivals.lately(); lull.Until.Sub(lull.Since) < longest {
				return fmt.Errorf("the lull is %+v", lull)
			}
			return nil
		})
		if err := w.cluster.SetMetricsAPI("https://"+service.Addr().String(), nil); err != nil {
			t.Fatal(err)
		}
		list, err := w.client.MetricsV1beta1().NodeMetricses().List(t.Context(), metav1.ListOptions{})
		waited := time.Since(service.arrivals.lately().Until) < service.cfg.Options.recovery()
		if err == nil && waited {
			t.Errorf("who %s gives %d nodes", who, len(list.Items))
		}
	}
	w.publish(2)
	for _, service := range []*Service{there, next} {
		if err := w.cluster.SetMetricsAPI("https://"+service.Addr().String(), nil); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 20*time.Second, func() error {
			items, err := w.pods(2)
			if err == nil && len(items) != running {
				err = fmt.Errorf("%d pods, want %d", len(items), running)
			}
			if time.Since(w.published) > 3*time.Second {
				w.publish(2)
			}
			return err
		})
	}
}

// TestALullOfHours: what was healthy before a lull is waited for, however long it was; a node that was deleted meanwhile is not.
func TestALullOfHours(t *testing.T) {
	const back = 3 * 3600
	a := newArriving(t)
	a.whole()
	for i, node := range []string{"node-c", "node-b", "node-a"} {
		at := float64(-10 + 5*i)
		a.set(at)
		a.stored(uint64(i+1), node, at, at, false)
	}
	sweep := func(seconds float64) { a.service.forget(moment(seconds).Add(-forget).UnixNano()) }
	for at := 60.0; at < back; at += 600 {
		a.ready("nobody writes", at, "")
		sweep(at)
	}
	a.remove(newNode("node-c", nil))
	a.set(back)
	a.stored(4, "node-a", back, back, false)
	a.ready("node-b is still lacking", back+1, "nothing was heard of the usage stream for 3h0m0s")
	a.set(back + 2)
	a.stored(5, "node-b", back+2, back+2, false)
	a.ready("all have come", back+2, "")
	sweep(back + 2)
	if n := len(a.service.arrivals.samples); n != 2 {
		t.Errorf("%d nodes are remembered", n)
	}
}
