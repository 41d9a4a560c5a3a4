package events

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// TestARestoredLog puts back the log to an older state, in which a pod is there again that was deleted since: what that
// pod did is long counted.
func TestARestoredLog(t *testing.T) {
	w := newWorld(t, 1)
	stays := w.pod("shop", "stays")
	w.writePod(stays)
	totals, b := started(w, Scope{})
	crash := func(p *simPod) {
		p.end("Error")
		w.writePod(p)
		p.restart()
		w.writePod(p)
	}
	ghost := w.pod("shop", "ghost")
	w.writePod(ghost)
	crash(ghost)
	crash(stays)
	older := slices.Clone(w.log)
	w.now = w.now.Add(time.Hour)
	for range 20 { // the new log's events will have sequences that the old one's had
		w.append("nodes", schemas.Applied, nodeObject())
	}
	crash(stays)
	w.append("pods", schemas.Deleted, podObject(ghost))
	b.drain()
	if n := terminations(got(totals)); n != 3 {
		t.Fatalf("%d before", n)
	}
	beside := w.begin(totals.Feed(Scope{}), theLog, 0) // a build that does not notice
	beside.drain()

	w.log = older
	again := w.begin(b.feed, theLog, 5)
	again.drain()
	if n := terminations(got(totals)); n != 3 {
		t.Errorf("%d terminations when the older state is there", n)
	}
	// The state service writes what has changed meanwhile, and something new happens.
	w.append("pods", schemas.Deleted, podObject(ghost))
	w.writePod(stays)
	again.drain()
	crash(stays)
	crash(stays)
	again.drain()
	if n := terminations(got(totals)); n != 5 {
		t.Errorf("%d terminations in the end", n)
	}
	if objects, _ := totals.Stats(); objects != 1 {
		t.Errorf("%d objects", objects)
	}
}

// TestAChunkThatIsNewerThanTheLog lets a build begin beyond a gap with an object that was replaced since the log's first
// events of it: those are older than what the snapshot said.
func TestAChunkThatIsNewerThanTheLog(t *testing.T) {
	w := newWorld(t, 1)
	w.writePod(w.pod("shop", "other"))
	totals, a := started(w, Scope{})
	w.history(5)
	a.drain()
	before := terminations(got(totals))
	w.append("nodes", schemas.Applied, nodeObject()) // not read
	from := len(w.log)
	w.writePod(w.pod("new", "web", "Error"))
	w.writePod(w.pod("new", "web", "Error", "Error"))
	b := &build{w: w, feed: a.feed, log: theLog, cursor: from, fence: len(w.log), snapshot: []int{from + 1}}
	b.fold = a.feed.Begin(stream.Position{LogPosition: stream.LogPosition{Log: theLog, Sequence: uint64(from)}})
	b.drain()
	if n := terminations(got(totals)) - before; n != 2 {
		t.Errorf("%d terminations of the pod that the snapshot has, not 2", n)
	}
}

// TestAKindThatIsGivenLate shows pods that have lived for long before the API server gave their kind.
func TestAKindThatIsGivenLate(t *testing.T) {
	w := newWorld(t, 1)
	old := w.pod("shop", "old", "Error", "Error")
	w.now = w.now.Add(time.Hour)
	w.append("nodes", schemas.Applied, nodeObject())
	totals, b := started(w, Scope{})
	w.now = w.now.Add(time.Hour)
	young := w.pod("shop", "young", "OOMKilled") // the state service was away when it was created
	w.now = w.now.Add(time.Hour)
	w.append("nodes", schemas.Applied, nodeObject())
	w.writePod(old)
	w.writePod(young)
	old.end("Completed")
	w.writePod(old)
	b.drain()
	want := map[row]uint64{
		{podTerminations, "shop", "OOMKilled", ""}: 1, {podTerminations, "shop", "Completed", ""}: 1,
		{objectChanges, "", "nodes", "applied"}: 1, {objectChanges, "", "pods", "applied"}: 3,
	}
	if diff := cmp.Diff(want, got(totals), unexported); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheDeletionOfAFormerPod(t *testing.T) {
	w := newWorld(t, 1)
	totals, b := started(w, Scope{})
	former := w.pod("shop", "web")
	w.writePod(former)
	p := w.pod("shop", "web")
	p.end("Error")
	w.writePod(p)
	w.append("pods", schemas.Deleted, podObject(former))
	w.writePod(p)
	b.drain()
	if n := terminations(got(totals)); n != 1 {
		t.Errorf("%d terminations", n)
	}
}

// TestADeletionThatWasRevoked is told by a build that is behind: the same pod is there again since.
func TestADeletionThatWasRevoked(t *testing.T) {
	w := newWorld(t, 1)
	totals, a := started(w, Scope{})
	behind := w.begin(totals.Feed(Scope{}), theLog, 0)
	p := w.pod("shop", "web")
	w.writePod(p)
	w.append("pods", schemas.Deleted, podObject(p))
	w.writePod(p)
	a.drain()
	behind.drain()
	if objects, _ := totals.Stats(); objects != 1 {
		t.Errorf("%d objects", objects)
	}
}

func TestANodeThatLosesCount(t *testing.T) {
	w := newWorld(t, 1)
	p := w.pod("shop", "web", "Error", "Error", "Error")
	w.writePod(p)
	totals, b := started(w, Scope{})
	c := p.containers[0]
	c.run, c.reasons = 0, nil
	w.writePod(p)
	for range 3 {
		p.end("OOMKilled")
		w.writePod(p)
		p.restart()
		w.writePod(p)
	}
	b.drain()
	want := map[row]uint64{{podTerminations, "shop", "Unknown", ""}: 1, {podTerminations, "shop", "OOMKilled", ""}: 3, {objectChanges, "", "pods", "applied"}: 7}
	if diff := cmp.Diff(want, got(totals), unexported); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, e := range totals.book {
		if e.runs == nil || e.runs.next != nil {
			t.Error("more than one entry for one container")
		}
	}
}

// TestABuildFromBeforeTheLogWasRestored becomes whole after another replay has noticed that the log was restored.
func TestABuildFromBeforeTheLogWasRestored(t *testing.T) {
	w := newWorld(t, 1)
	p := w.pod("shop", "web")
	for range 10 {
		w.writePod(p)
	}
	totals, a := started(w, Scope{})
	for range 10 {
		w.writePod(p)
	}
	beside := w.begin(totals.Feed(Scope{}), theLog, 15) // beyond what was read
	if beside.fold.quick {
		t.Fatal("it has joined")
	}
	w.writePod(p)
	a.drain()
	again := w.begin(a.feed, theLog, 5)
	beside.drain()
	if totals.settled {
		t.Error("the book counts as complete")
	}
	again.drain()
	if !totals.settled || len(totals.book) != 1 {
		t.Error("the book does not count as complete, or lacks a pod")
	}
}

// TestANewLogTakesOver presents events of an older log beside those of the new one.
func TestANewLogTakesOver(t *testing.T) {
	w := newWorld(t, 1)
	p := w.pod("shop", "web")
	w.writePod(p)
	totals, old := started(w, Scope{})
	fresh := w.begin(totals.Feed(Scope{}), theLog.Add(time.Hour), 0)
	fresh.drain()
	p.end("Error")
	w.writePod(p)
	old.drain()
	if n := terminations(got(totals)); n != 0 {
		t.Errorf("an event of the old log counts: %d", n)
	}
	late := w.begin(old.feed, theLog.Add(time.Hour), 0) // its replay has noticed
	late.drain()
	fresh.drain()
	if n := terminations(got(totals)); n != 1 {
		t.Errorf("%d terminations", n)
	}
}
