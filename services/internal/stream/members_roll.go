package stream

import (
	"cmp"
	"slices"
	"time"
)

// roll is who is a member, as one process knows it. It has no clock and no line: it is told what was heard and when, on the
// process's own monotonic clock.
type roll struct {
	self  Member
	lease time.Duration

	peers map[string]*peer // by key; without self
	// proof is when the last announcement was sent that NATS has confirmed; zero before the first. Until proof+lease the
	// others take this process for a member, and whoever was silent up to proof was silent indeed: it would have been heard.
	proof time.Time
	// reachable: NATS has confirmed something since the start, or since the lease ran out. Only then it is right to join.
	reachable bool
	// joined: NATS has confirmed the announcement that this process is a member, and the lease hasn't run out since.
	joined bool
	// gone: somebody is, who was last heard at since, the earliest of several; zero where one was never heard.
	gone  bool
	since time.Time
	// sole: at proof there was no other member, nor was one heard of since.
	sole bool
}

// peer is another member, or one that may be.
type peer struct {
	name      string
	settings  string
	lease     time.Duration
	heard     time.Time // as a member, or as one that leaves; zero for a candidate
	until     time.Time // it is gone when it has not been heard up to then; zero for a candidate before the first proof
	candidate bool      // known from the bucket only
}

func newRoll(self Member, lease time.Duration) *roll {
	return &roll{self: self, lease: lease, peers: map[string]*peer{}}
}

// candidate notes a key that is in the bucket: a member, or one that was lost lately.
func (r *roll) candidate(key string) {
	if key != r.self.Key && r.peers[key] == nil && len(r.peers) < maxMembers {
		r.peers[key] = &peer{name: memberName(key), lease: candidateGrace, candidate: true}
	}
}

// heard takes the announcement of another process and tells whether the members are others now; false also for ok where
// there are too many already.
func (r *roll) heard(key string, a announcement, now time.Time) (changed, ok bool) {
	p := r.peers[key]
	switch {
	case key == r.self.Key:
		return false, true
	case a.State != stateMember:
		if p != nil && a.State == stateLeaving {
			p.heard = now
		}
		r.remove(key)
		return p != nil, true
	case p == nil && len(r.peers) >= maxMembers:
		return false, false
	case p == nil:
		p = &peer{}
		r.peers[key] = p
		changed = true
	}
	changed = changed || p.name != a.Name
	p.name, p.settings, p.lease, p.candidate = a.Name, a.Settings, a.lease(), false
	p.heard, p.until = now, now.Add(p.lease)
	r.sole = false
	return changed, true
}

// remove takes a peer away and notes when it was last heard.
func (r *roll) remove(key string) {
	if p := r.peers[key]; p != nil {
		if !r.gone || p.heard.Before(r.since) {
			r.since = p.heard
		}
		r.gone = true
		delete(r.peers, key)
	}
}

// told returns up to when all who are gone since the last call were heard: now where nobody is gone, zero where one never
// was heard.
func (r *roll) told(now time.Time) time.Time {
	if r.gone {
		now = r.since
	}
	r.gone = false
	return now
}

// confirmed notes that NATS has confirmed an announcement; again says that the line was broken since the last one. It
// tells whether the members are others now.
func (r *roll) confirmed(sent time.Time, state string, again bool, now time.Time) (changed bool) {
	if sent.Before(r.proof) {
		return false
	}
	switch {
	case r.proof.IsZero():
		for _, p := range r.peers {
			if p.candidate {
				p.until = now.Add(candidateGrace)
			}
		}
	case again || sent.Sub(r.proof) >= r.lease:
		// The others could not be heard; perhaps they could not speak either.
		for _, p := range r.peers {
			if until := now.Add(p.lease + reconnectGrace); until.After(p.until) {
				p.until = until
			}
		}
	}
	r.proof = sent
	for key, p := range r.peers {
		if !p.until.After(sent) {
			r.remove(key)
			changed = true
		}
	}
	if now.Sub(sent) >= r.lease {
		return changed // too late to tell anything of now
	}
	r.reachable = true
	if state == stateMember {
		changed = changed || !r.joined
		r.joined = true
	}
	r.sole = len(r.peers) == 0
	return changed
}

// lapse ends the membership where the lease has run out, and tells whether it did.
func (r *roll) lapse(now time.Time) bool {
	if r.sole || now.Sub(r.proof) < r.lease {
		return false
	}
	was := r.joined
	r.reachable, r.joined = false, false
	return was
}

// next is the earliest time after the one given at which the own lease runs out, or a member is missed, so that it takes a
// proof that it could have been heard; zero for none.
func (r *roll) next(after time.Time) (t time.Time) {
	if r.reachable && !r.sole {
		t = r.proof.Add(r.lease)
	}
	for _, p := range r.peers {
		if p.until.After(after) && (t.IsZero() || p.until.Before(t)) {
			t = p.until
		}
	}
	return t
}

// members are all of them, sorted by name and key.
func (r *roll) members() []Member {
	all := make([]Member, 0, 1+len(r.peers))
	if r.joined {
		all = append(all, r.self)
	}
	for key, p := range r.peers {
		all = append(all, Member{Key: key, Name: p.name})
	}
	slices.SortFunc(all, compareMembers)
	return all
}

func compareMembers(a, b Member) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key))
}
