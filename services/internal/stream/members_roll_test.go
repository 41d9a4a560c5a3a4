package stream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func names(members []Member) (keys []string) {
	for _, m := range members {
		keys = append(keys, m.Key)
	}
	return keys
}

func TestRoll(t *testing.T) {
	const lease = 10 * time.Second
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	member := announcement{Version: 1, Name: "b", State: stateMember, LeaseMS: lease.Milliseconds()}
	idle, leaving := member, member
	idle.State, leaving.State = stateIdle, stateLeaving
	joined := func() *roll { // alone, at 0
		r := newRoll(Member{"a.1", "a"}, lease)
		r.confirmed(at(0), stateIdle, false, at(0))
		r.confirmed(at(0), stateMember, false, at(0))
		return r
	}
	check := func(t *testing.T, r *roll, want ...string) {
		t.Helper()
		if got := names(r.members()); !slices.Equal(got, want) {
			t.Errorf("members %v, want %v", got, want)
		}
	}

	t.Run("joins when confirmed", func(t *testing.T) {
		r := newRoll(Member{"a.1", "a"}, lease)
		check(t, r)
		if r.confirmed(at(0), stateIdle, false, at(0.1)); !r.reachable || r.joined {
			t.Error("a confirmation that it can be heard must lead to an announcement, not to a membership")
		}
		if !r.confirmed(at(0.2), stateMember, false, at(0.3)) {
			t.Error("joining is a change")
		}
		check(t, r, "a.1")
	})
	t.Run("a confirmation that comes too late is none", func(t *testing.T) {
		r := newRoll(Member{"a.1", "a"}, lease)
		r.confirmed(at(0), stateMember, false, at(10))
		check(t, r)
	})
	t.Run("another one", func(t *testing.T) {
		r := joined()
		if changed, _ := r.heard("b.1", member, at(1)); !changed {
			t.Error("no change")
		}
		if changed, _ := r.heard("b.1", member, at(2)); changed {
			t.Error("the same again is a change")
		}
		check(t, r, "a.1", "b.1")
		r.confirmed(at(9), stateMember, false, at(9))
		r.confirmed(at(11.9), stateMember, false, at(11.9))
		check(t, r, "a.1", "b.1")
		if next := r.next(at(11.9)); !next.Equal(at(12)) {
			t.Errorf("b is missed at %v", next.Sub(start))
		}
		r.confirmed(at(12), stateMember, false, at(12.1))
		check(t, r, "a.1")
	})
	t.Run("silence without a proof that it could have been heard", func(t *testing.T) {
		r := joined()
		r.heard("b.1", member, at(1))
		if r.lapse(at(9.9)) || !r.lapse(at(10)) {
			t.Error("the lease ends 10 s after the last proof")
		}
		check(t, r, "b.1")
		// When the line is back, b may have lost its own.
		r.confirmed(at(60), stateIdle, true, at(60))
		r.confirmed(at(60.1), stateMember, false, at(60.1))
		check(t, r, "a.1", "b.1")
		r.confirmed(at(70), stateMember, false, at(70))
		check(t, r, "a.1", "b.1")
		r.confirmed(at(71.1), stateMember, false, at(71.1))
		check(t, r, "a.1")
	})
	t.Run("alone, and the line breaks", func(t *testing.T) {
		r := joined()
		if r.lapse(at(3600)) {
			t.Error("nobody else is there to go on")
		}
		check(t, r, "a.1")
	})
	t.Run("no longer alone, and the line breaks", func(t *testing.T) {
		r := joined()
		r.heard("b.1", member, at(1))
		r.heard("b.1", leaving, at(2)) // unproven: b may have come back unheard
		if !r.lapse(at(10)) {
			t.Error("it was not alone when the line was last seen to work")
		}
	})
	t.Run("idle and leaving", func(t *testing.T) {
		for _, a := range []announcement{idle, leaving, {State: stateIdle}} {
			r := joined()
			r.heard("b.1", member, at(1))
			if changed, _ := r.heard("b.1", a, at(2)); !changed {
				t.Error("no change")
			}
			check(t, r, "a.1")
		}
	})
	t.Run("a key in the bucket", func(t *testing.T) {
		r := newRoll(Member{"a.1", "a"}, lease)
		r.candidate("b.1")
		r.candidate("c.1")
		r.candidate("a.1") // itself
		r.confirmed(at(5), stateIdle, false, at(5))
		r.confirmed(at(5.1), stateMember, false, at(5.1))
		check(t, r, "a.1", "b.1", "c.1")
		r.heard("b.1", member, at(5.5))
		r.confirmed(at(6), stateMember, false, at(6))
		check(t, r, "a.1", "b.1")
	})
	t.Run("since when", func(t *testing.T) {
		r := joined()
		tell := func(now float64, want time.Time) {
			t.Helper()
			if got := r.told(at(now)); !got.Equal(want) {
				t.Errorf("those who are gone were heard up to %v, want %v", got.Sub(start), want.Sub(start))
			}
		}
		tell(0.5, at(0.5)) // nobody is gone
		for _, key := range []string{"b.1", "c.1", "d.1"} {
			r.heard(key, member, at(1))
		}
		r.heard("d.1", member, at(2))
		tell(2, at(2))
		r.heard("b.1", leaving, at(3))
		tell(3, at(3))
		r.heard("d.1", idle, at(4)) // it was cut off
		tell(4, at(2))
		r.confirmed(at(9), stateMember, false, at(9))
		r.confirmed(at(11), stateMember, false, at(11))
		check(t, r, "a.1")
		tell(11, at(1))
		r.heard("e.1", member, at(12))
		r.candidate("f.1") // never heard
		r.heard("e.1", leaving, at(13))
		r.heard("f.1", leaving, at(13))
		r.candidate("f.1")
		r.confirmed(at(14), stateMember, false, at(14))
		tell(14, time.Time{})
	})
	t.Run("too many", func(t *testing.T) {
		r := joined()
		for i := range maxMembers {
			if _, ok := r.heard(fmt.Sprint(i), member, at(1)); !ok {
				t.Fatal(i)
			}
		}
		if _, ok := r.heard("one more", member, at(1)); ok || len(r.peers) != maxMembers {
			t.Error(len(r.peers))
		}
		if _, ok := r.heard("0", member, at(1)); !ok {
			t.Error("one of those that are known is refused")
		}
	})
}

// TestRollsAgree lets some processes live through random cuts, pauses and deaths in a time of their own, and checks what
// the group promises: work that two do at once, or nobody does, is so for a bounded time only.
func TestRollsAgree(t *testing.T) {
	for seed := range uint64(200) {
		newGroup(t, seed).run(10 * time.Minute)
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

const (
	groupLease = 10 * time.Second
	groupStep  = 50 * time.Millisecond
)

// group is some processes and the line of each to NATS. What a session does is here in small, in steps.
type group struct {
	t     *testing.T
	r     *rand.Rand
	now   time.Time
	procs []*proc
}

type proc struct {
	*roll
	lastSent, due time.Time
	cut, dead     bool // its line is down; it is gone
	paused        time.Time
	broken        bool // the line was down since the last confirmation
	inbox         []func(*proc)
	number        int
}

func newGroup(t *testing.T, seed uint64) *group {
	g := &group{t: t, r: rand.New(rand.NewPCG(seed, 1)), now: time.Now()}
	for i := range 2 + g.r.IntN(4) {
		p := &proc{number: i}
		g.birth(p)
		g.procs = append(g.procs, p)
	}
	return g
}

func (g *group) birth(p *proc) {
	p.roll = newRoll(Member{fmt.Sprintf("p%d.%d", p.number, g.r.Uint64()), fmt.Sprintf("p%d", p.number)}, groupLease)
	p.lastSent, p.due, p.broken, p.inbox = time.Time{}, g.now, false, nil
	for _, q := range g.procs {
		if q != p && g.now.Sub(q.proof) < bucketTTL { // the keys in the bucket
			p.candidate(q.self.Key)
		}
	}
}

func (g *group) run(d time.Duration) {
	var amiss, last time.Duration
	for passed := time.Duration(0); passed < d; passed += groupStep {
		g.now = g.now.Add(groupStep)
		if g.r.IntN(400) == 0 {
			g.trouble()
			last = passed
		}
		for _, p := range g.procs {
			if p.paused.After(g.now) {
				last = passed
			}
			g.step(p)
		}
		// Of those that can be heard exactly the members believe to be members, and they agree. Who can't be heard is
		// none when its lease has run out, unless it was alone.
		if g.agree() {
			amiss = 0
		} else if amiss += groupStep; amiss > 2*groupLease && passed-last > 2*groupLease {
			g.t.Errorf("they don't agree for %v, %v after the last trouble", amiss, passed-last)
			for _, p := range g.procs {
				g.t.Logf("%s cut=%v dead=%v paused=%v joined=%v sole=%v: %v", p.self.Key, p.cut, p.dead, p.paused.After(g.now), p.joined, p.sole, names(p.members()))
			}
			return
		}
		for _, p := range g.procs {
			if !p.dead && p.cut && p.joined && !p.sole && !p.paused.After(g.now) && g.now.Sub(p.proof) > groupLease+groupStep {
				g.t.Errorf("%s is a member beyond its lease", p.self.Key)
				return
			}
		}
	}
}

// trouble is something that happens to one of them.
func (g *group) trouble() {
	p := g.procs[g.r.IntN(len(g.procs))]
	switch g.r.IntN(4) {
	case 0:
		p.cut = !p.cut
		p.broken = true
		if p.cut {
			p.inbox = nil
		} else {
			p.due = g.now
		}
	case 1: // kill -9, or a start
		if p.dead = !p.dead; !p.dead {
			p.cut = false
			g.birth(p)
		}
	case 2:
		p.paused = g.now.Add(time.Duration(g.r.IntN(30_000)) * time.Millisecond)
	case 3: // all lines at once, as when NATS restarts
		down := g.r.IntN(2) == 0
		for _, q := range g.procs {
			if q.cut != down {
				q.cut, q.broken, q.inbox, q.due = down, true, nil, g.now.Add(time.Duration(g.r.IntN(1000))*time.Millisecond)
			}
		}
	}
}

// step is a round of session.loop.
func (g *group) step(p *proc) {
	if p.dead || p.paused.After(g.now) {
		return
	}
	inbox := p.inbox
	p.inbox = nil
	for _, m := range inbox {
		m(p)
	}
	if p.lapse(g.now) {
		p.due = g.now
	}
	wake := p.due
	if t := p.next(p.lastSent); !t.IsZero() && t.Before(wake) {
		wake = t
	}
	if g.now.Before(wake) {
		return
	}
	sent := g.now
	p.lastSent, p.due = sent, sent.Add(groupLease/4)
	if p.cut {
		return
	}
	a := announcement{Version: 1, Name: p.self.Name, State: stateIdle, Hello: p.broken || p.proof.IsZero(), LeaseMS: groupLease.Milliseconds()}
	if p.reachable {
		a.State = stateMember
	}
	key, of := p.self.Key, p.roll
	for _, q := range g.procs {
		if q != p && !q.dead && !q.cut {
			q.inbox = append(q.inbox, func(q *proc) {
				q.heard(key, a, g.now)
				if at := q.lastSent.Add(answerEvery); a.Hello && at.Before(q.due) {
					q.due = at
				}
			})
		}
	}
	p.inbox = append(p.inbox, func(p *proc) {
		if p.roll != of {
			return
		}
		p.confirmed(sent, a.State, p.broken, g.now)
		p.broken = false
		if p.reachable && !p.joined && a.State == stateIdle {
			p.due = g.now
		}
	})
}

// agree tells whether all who can be heard are members and know exactly each other, and no other is a member.
func (g *group) agree() bool {
	var want []Member
	for _, p := range g.procs {
		if !p.dead && !p.cut && !p.paused.After(g.now) {
			want = append(want, p.self)
		}
	}
	slices.SortFunc(want, func(a, b Member) int { return compareMembers(a, b) })
	for _, p := range g.procs {
		switch {
		case p.dead || p.paused.After(g.now):
		case p.cut && p.joined && !p.sole:
			return false
		case !p.cut && !slices.Equal(p.members(), want):
			return false
		}
	}
	return true
}
