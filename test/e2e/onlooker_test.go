package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// onlookerOfPods asks the Metrics API all the time, a little apart.
type onlookerOfPods struct {
	stop func()

	mu       sync.Mutex
	answers  int
	failed   []string // what was no answer
	wrong    []string
	oldest   time.Duration
	timed    time.Time            // since when oldest is measured
	held     bool                 // what was sent off may be held up, and several samples come at once then
	asked    time.Time            // when the latest answer was asked for
	previous map[string]time.Time // the latest timestamp of each pod
	trail    map[string][]string  // what was answered of it, as often as that changed
}

// lookOn begins to ask, until the test ends or stop is called. judge looks at each answer; timestamps that go back, or
// leave a time that no window covers, are wrong anyhow.
func lookOn(t *testing.T, namespace string, ask func(context.Context) ([]byte, error), judge func([]podMetrics) error) *onlookerOfPods {
	ctx, cancel := context.WithCancel(t.Context())
	o := &onlookerOfPods{previous: map[string]time.Time{}, trail: map[string][]string{}}
	var running sync.WaitGroup
	o.stop = func() { cancel(); running.Wait() }
	t.Cleanup(o.stop)
	running.Go(func() {
		pace := time.NewTicker(150 * time.Millisecond)
		defer pace.Stop()
		for {
			o.once(ctx, namespace, ask, judge)
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
		}
	})
	return o
}

func (o *onlookerOfPods) once(ctx context.Context, namespace string, ask func(context.Context) ([]byte, error), judge func([]podMetrics) error) {
	began := time.Now()
	body, err := ask(ctx)
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	items, err := decodeAnswer(body, err)
	if err != nil {
		o.failed = append(o.failed, now.Format(time.StampMilli)+" "+err.Error())
		return
	}
	o.answers++
	unseen := now.Sub(o.asked) // a sample may have come and gone in this time
	o.asked = began
	items = slices.DeleteFunc(items, func(p podMetrics) bool { return p.Metadata.Namespace != namespace })
	if err := judge(items); err != nil {
		o.wrong = append(o.wrong, now.Format(time.StampMilli)+" "+err.Error())
	}
	for _, p := range items {
		// Names alone may be used again.
		name := p.Metadata.Name + p.Metadata.Labels["life"]
		before := o.previous[name]
		o.previous[name] = p.Timestamp
		window, err := time.ParseDuration(p.Window)
		if !p.Timestamp.Equal(before) {
			trail := append(o.trail[name], fmt.Sprintf("%s seen at %s, window %s", p.Timestamp.Format(time.TimeOnly), now.Format(time.StampMilli), p.Window))
			o.trail[name] = trail[max(0, len(trail)-4):]
		}
		switch hole := p.Timestamp.Add(-window).Sub(before); {
		case err != nil:
			o.wrong = append(o.wrong, err.Error())
		case before.IsZero():
		case p.Timestamp.Before(before):
			o.wrong = append(o.wrong, fmt.Sprintf("%s: its time went back: %s", name, strings.Join(o.trail[name], "; ")))
		// Timestamps are cut to seconds, and a short window follows a sample that was the latest for too short a time to be seen.
		case p.Timestamp.After(before) && hole > 1200*time.Millisecond && window > unseen+resolution/4 && !o.held:
			o.wrong = append(o.wrong, fmt.Sprintf("%s: no window covers %v: %s", name, hole, strings.Join(o.trail[name], "; ")))
		}
		if !o.timed.IsZero() {
			o.oldest = max(o.oldest, began.Sub(p.Timestamp))
		}
	}
}

func decodeAnswer(body []byte, err error) ([]podMetrics, error) {
	if err != nil {
		return nil, err
	}
	return decodePods(body)
}

// holdUp says that samples may be held up from now on, as they are while NATS is away, or that they aren't any more.
func (o *onlookerOfPods) holdUp(held bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = held
}

// sinceNow begins to measure anew how old what is answered gets.
func (o *onlookerOfPods) sinceNow() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timed, o.oldest = time.Now(), 0
}

// age is how old it got.
func (o *onlookerOfPods) age() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.oldest.Round(time.Millisecond)
}

// end ends the looking and fails the test for what was wrong.
func (o *onlookerOfPods) end(t *testing.T, mayFail bool) {
	t.Helper()
	o.stop()
	if len(o.failed) > 0 && !mayFail || o.answers == 0 {
		t.Errorf("%d questions of %d had no answer: %v", len(o.failed), len(o.failed)+o.answers, o.failed[:min(3, len(o.failed))])
	}
	if len(o.wrong) > 0 {
		t.Errorf("of %d answers %d were wrong: %s", o.answers, len(o.wrong), strings.Join(o.wrong[:min(5, len(o.wrong))], "\n"))
	}
	t.Logf("%d answers, %d of them wrong, and %d failures", o.answers, len(o.wrong), len(o.failed))
}
