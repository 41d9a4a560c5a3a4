package events

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// text is the sample lines of a scrape.
func text(t testing.TB, totals *Totals) string {
	t.Helper()
	g, ok := totals.Group()
	if !ok {
		return ""
	}
	if g.Name != "events" {
		t.Errorf("the group is called %q", g.Name)
	}
	var lines []string
	for format, check := range map[exposition.Format]func([]byte) (strict.Summary, error){exposition.Text: strict.Text, exposition.OpenMetrics: strict.OpenMetrics} {
		var out bytes.Buffer
		if err := exposition.NewAnswer(format, []exposition.Group{g}).Write(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := check(out.Bytes()); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
		lines = nil
		for line := range strings.Lines(out.String()) {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
	}
	return strings.Join(lines, "")
}

// started is totals whose first build is whole, and that build.
func started(w *world, scope Scope) (*Totals, *build) {
	totals := NewTotals()
	b := w.begin(totals.Feed(scope), theLog, 0)
	b.drain()
	return totals, b
}

func (w *world) pod(namespace, name string, reasons ...string) *simPod {
	p := &simPod{namespace: namespace, name: name, uid: w.uid(), created: w.now, phase: "Running"}
	p.containers = []*simContainer{{name: "main", list: 1, run: len(reasons), reasons: reasons}}
	w.pods = append(w.pods, p)
	return p
}

func (p *simPod) end(reason string) {
	c := p.containers[0]
	c.mode, c.reasons = terminatedNow, append(c.reasons, reason)
}

func (p *simPod) restart() {
	p.containers[0].mode = running
	p.containers[0].run++
}

func TestNothingIsShownBeforeTheFirstBuildIsWhole(t *testing.T) {
	w := newWorld(t, 1)
	w.writePod(w.pod("shop", "web", "Error"))
	totals := NewTotals()
	b := w.begin(totals.Feed(Scope{}), theLog, 0)
	for !b.whole {
		if _, ok := totals.Group(); ok {
			t.Fatal("there are counters before the first build is whole")
		}
		b.step()
	}
	const want = `headwater_pod_completions_total{namespace="shop",phase="Failed",reason=""} 0
headwater_pod_completions_total{namespace="shop",phase="Failed",reason="Evicted"} 0
headwater_pod_completions_total{namespace="shop",phase="Succeeded",reason=""} 0
headwater_pod_container_terminations_total{namespace="shop",reason="Completed"} 0
headwater_pod_container_terminations_total{namespace="shop",reason="Error"} 0
headwater_pod_container_terminations_total{namespace="shop",reason="OOMKilled"} 0
headwater_pod_container_terminations_total{namespace="shop",reason="Unknown"} 0
`
	if diff := cmp.Diff(want, text(t, totals)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatHappensBetweenTwoScrapes(t *testing.T) {
	w := newWorld(t, 1)
	p := w.pod("shop", "web")
	w.writePod(p)
	totals, b := started(w, Scope{})
	p.end("OOMKilled")
	w.writePod(p)
	p.restart()
	w.writePod(p)
	p.end("Error")
	p.restart() // both unseen
	w.writePod(p)
	p.phase, p.reason = "Failed", "Evicted"
	w.writePod(p)
	w.writeJob(&simJob{namespace: "shop", name: "backup", uid: "j", created: w.now, end: failed, reason: "BackoffLimitExceeded"})
	w.append("pods", schemas.Deleted, podObject(p))
	b.drain()
	const want = `headwater_job_completions_total{namespace="shop",result="complete",reason=""} 0
headwater_job_completions_total{namespace="shop",result="failed",reason="BackoffLimitExceeded"} 1
headwater_job_completions_total{namespace="shop",result="failed",reason="DeadlineExceeded"} 0
headwater_object_changes_total{resource="jobs",operation="applied"} 1
headwater_object_changes_total{resource="pods",operation="applied"} 4
headwater_object_changes_total{resource="pods",operation="deleted"} 1
headwater_pod_completions_total{namespace="shop",phase="Failed",reason=""} 0
headwater_pod_completions_total{namespace="shop",phase="Failed",reason="Evicted"} 1
headwater_pod_completions_total{namespace="shop",phase="Succeeded",reason=""} 0
headwater_pod_container_terminations_total{namespace="shop",reason="Completed"} 0
headwater_pod_container_terminations_total{namespace="shop",reason="Error"} 1
headwater_pod_container_terminations_total{namespace="shop",reason="OOMKilled"} 1
headwater_pod_container_terminations_total{namespace="shop",reason="Unknown"} 0
`
	for range 2 { // the second answer is the same, from what was rendered before
		if diff := cmp.Diff(want, text(t, totals)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestAScopeHoldsFromTheMomentThatItIsServed(t *testing.T) {
	w := newWorld(t, 1)
	shop, bank := w.pod("shop", "web"), w.pod("bank", "web")
	w.writePod(shop)
	w.writePod(bank)
	totals, a := started(w, Scope{
		Namespace: func(namespace string) bool { return namespace != "bank" },
		Resource:  func(group, resource string) bool { return group == "" },
	})
	crash := func() {
		for _, p := range []*simPod{shop, bank} {
			p.end("Error")
			w.writePod(p)
			p.restart()
			w.writePod(p)
		}
		w.writeJob(&simJob{namespace: "shop", name: "backup", uid: w.uid(), created: w.now, end: complete})
	}
	crash()
	a.drain()
	contains := func(lines ...string) {
		t.Helper()
		got := text(t, totals)
		for _, line := range lines {
			absent := strings.HasPrefix(line, "!")
			if strings.Contains(got, strings.TrimPrefix(line, "!")) == absent {
				t.Errorf("%s in\n%s", line, got)
			}
		}
	}
	contains(`terminations_total{namespace="shop",reason="Error"} 1`, `!namespace="bank"`, `!jobs`, `!headwater_job`, `changes_total{resource="pods",operation="applied"} 2`)

	// Another configuration: the other namespace, and jobs.
	b := w.begin(totals.Feed(Scope{Namespace: func(namespace string) bool { return namespace == "bank" }}), theLog, 1)
	crash()
	b.drain()
	a.drain()
	contains(`terminations_total{namespace="bank",reason="Error"} 2`, `!namespace="shop"`, `changes_total{resource="pods",operation="applied"} 4`)

	// Shards and nodes do not count what is not theirs.
	c := w.begin(totals.Feed(Scope{Shard: func(uid string) bool { return uid == shop.uid }}), theLog, 1)
	c.drain()
	contains(`terminations_total{namespace="shop",reason="Error"} 2`) // at once, without an event
	crash()
	c.drain()
	contains(`terminations_total{namespace="bank",reason="Error"} 2`, `terminations_total{namespace="shop",reason="Error"} 3`, `changes_total{resource="pods",operation="applied"} 6`)
	d := w.begin(totals.Feed(Scope{Node: func(node string) bool { return node == "node-bank" }}), theLog, 1)
	d.drain()
	crash()
	d.drain()
	contains(`terminations_total{namespace="bank",reason="Error"} 3`, `terminations_total{namespace="shop",reason="Error"} 3`)
}

func TestTheSeriesOfADeletedNamespaceGo(t *testing.T) {
	w := newWorld(t, 1)
	totals, b := started(w, Scope{})
	write := func(namespace string) {
		p := w.pod(namespace, "web", "Error")
		w.writePod(p)
		w.append("pods", schemas.Deleted, podObject(p))
		b.drain()
	}
	namespace := func(op schemas.Operation) {
		w.append("namespaces", op, namespaceObject("old"))
		b.drain()
	}
	has := func(want bool) {
		t.Helper()
		if got := strings.Contains(text(t, totals), `namespace="old"`); got != want {
			t.Errorf("its series are there: %v", got)
		}
	}
	namespace(schemas.Applied)
	write("old")
	write("new")
	namespace(schemas.Deleted)
	w.now = w.now.Add(forgetAfter)
	write("new")
	has(true)
	w.now = w.now.Add(time.Second)
	write("new")
	has(false)
	if got := text(t, totals); !strings.Contains(got, `{namespace="new",reason="Error"} 3`) {
		t.Error(got)
	}
	// One that is created again within the time keeps them.
	namespace(schemas.Applied)
	write("old")
	namespace(schemas.Deleted)
	namespace(schemas.Applied)
	w.now = w.now.Add(2 * forgetAfter)
	write("new")
	has(true)
	if _, series := totals.Stats(); series != 18 { // 7 of pods in each namespace, 4 of changes
		t.Errorf("%d series", series)
	}
}

func TestReasonsAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	totals, b := started(w, Scope{})
	odd := []string{"two words", "quote\"", "line\n", "\xff", strings.Repeat("x", 64), "é"}
	for i, reason := range odd {
		p := w.pod("shop", fmt.Sprint("odd-", i))
		p.end(reason)
		w.writePod(p)
	}
	for i := range 200 {
		p := w.pod("shop", fmt.Sprint("web-", i))
		p.end(fmt.Sprint("Reason", i))
		w.writePod(p)
	}
	b.drain()
	counts := got(totals)
	if n := counts[row{podTerminations, "shop", other, ""}]; n < uint64(len(odd)+100) || len(counts) > maxReasons+2 {
		t.Errorf("%d are of other reasons; %d series", n, len(counts))
	}
	if terminations(counts) != 206 {
		t.Error(terminations(counts))
	}
	text(t, totals)
}

func TestWhatCannotBeReadCountsAsAChangeOnly(t *testing.T) {
	w := newWorld(t, 1)
	p := w.pod("shop", "web")
	w.writePod(p)
	totals, b := started(w, Scope{})
	p.end("Error")
	w.writePod(p)
	change := w.log[1].change
	good := change.Object
	b.fold.Apply(2, false, &change)
	sequence := uint64(2)
	bad := wire.AppendString(wire.AppendString(wire.AppendMapLen(nil, 1), "status"), "not a map")
	for _, object := range [][]byte{nil, bad, good[:len(good)/2]} {
		sequence++
		change.Object = object
		if err := b.fold.Apply(sequence, false, &change); !errors.Is(err, schemas.ErrMalformed) {
			t.Errorf("%x: %v", object, err)
		}
	}
	want := map[row]uint64{{podTerminations, "shop", "Error", ""}: 1, {objectChanges, "", "pods", "applied"}: 4}
	if diff := cmp.Diff(want, got(totals), unexported); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCustomResourcesAreNamedWithTheirGroup(t *testing.T) {
	w := newWorld(t, 1)
	totals, b := started(w, Scope{})
	for i, k := range [][2]string{{"", "services"}, {"serving.knative.dev", "services"}, {"example.com", "foos.v1beta1"}, {"", "widgets"}} {
		if err := b.fold.Apply(uint64(i+1), false, &schemas.ObjectChange{Operation: schemas.Applied, Group: k[0], Resource: k[1]}); err != nil {
			t.Error(err)
		}
	}
	var names []string
	for r := range got(totals) {
		names = append(names, r.a)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"foos.v1beta1.example.com", "services", "services.serving.knative.dev", "widgets"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAPodsNamesOfContainersAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	p := w.pod("shop", "web", "Error")
	w.writePod(p)
	totals, b := started(w, Scope{})
	for i := range 1000 {
		p.containers[0].name = fmt.Sprint("c", i)
		w.writePod(p)
	}
	b.drain()
	if n := terminations(got(totals)); n != 1000 {
		t.Errorf("%d terminations", n)
	}
	for _, e := range totals.book {
		length := 0
		for n := e.runs; n != nil; n = n.next {
			length++
		}
		if length != 1+keptRuns {
			t.Errorf("%d containers are remembered", length)
		}
	}
}

func TestAContainerThatIsNamedTwiceCountsOnce(t *testing.T) {
	w := newWorld(t, 1)
	totals, b := started(w, Scope{})
	p := w.pod("shop", "web")
	p.containers = append(p.containers, &simContainer{name: "main", list: 0, run: 2, reasons: []string{"Error", "Error"}})
	p.containers = append(p.containers, &simContainer{name: "main", list: 1, run: 5, reasons: []string{"", "", "", "", ""}})
	for range 3 {
		w.writePod(p)
	}
	b.drain()
	if n := terminations(got(totals)); n != 2 {
		t.Errorf("%d terminations", n)
	}
}

func FuzzApply(f *testing.F) {
	w := newWorld(f, 1)
	w.history(30)
	for _, e := range w.log {
		f.Add(e.change.Object, e.change.Resource == "jobs")
	}
	f.Fuzz(func(t *testing.T, object []byte, isJob bool) {
		totals := NewTotals()
		fold := totals.Feed(Scope{}).Begin(stream.Position{})
		fold.Whole(stream.Position{})
		change := schemas.ObjectChange{Operation: schemas.Applied, Resource: "pods", Object: object}
		if isJob {
			change.Group, change.Resource = "batch", "jobs"
		}
		for sequence := range uint64(3) {
			if fold.Apply(sequence+1, false, &change) != nil {
				return
			}
		}
		before := terminations(got(totals))
		fold.Apply(4, false, &change)
		if after := terminations(got(totals)); after != before {
			t.Errorf("the same again makes %d terminations of %d", after, before)
		}
		text(t, totals)
	})
}
