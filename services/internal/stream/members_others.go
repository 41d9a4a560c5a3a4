package stream

import (
	"slices"
	"time"
)

// Part is a fixed part of a group's work: the one of that number, from 0, of so many. Two of different totals may have work in
// common, and each has some with every member.
type Part struct{ Number, Of int }

func (p Part) valid() bool { return p.Number >= 0 && p.Number < p.Of }

// Other is another process of a group, and what it does.
type Other struct {
	Member
	Part     Part   // zero for a member
	Settings string // its MembersConfig.Settings
}

// others are the processes between which and this one nobody divides the work, by key, each until its lease has passed in
// silence. Who can't hear the others doesn't know of any change.
type others map[string]*other

type other struct {
	Other
	lease time.Duration
	until time.Time // it is gone when it has not been heard up to then; zero for one that said so
	told  bool
}

// heard takes the announcement of another process. To a process with a fixed part members are others, too.
func (o others) heard(key string, a announcement, fixed bool, now time.Time) {
	known := o[key]
	if works := a.State == stateFixed || fixed && a.State == stateMember; !works {
		if known != nil {
			known.until = time.Time{}
		}
		return
	}
	is := Other{Member: Member{Key: key, Name: a.Name}, Part: a.part(), Settings: a.Settings}
	switch {
	case known == nil && len(o) >= maxMembers:
		return
	case known == nil:
		known = &other{}
		o[key] = known
	}
	known.told = known.told && known.Other == is
	known.Other, known.lease, known.until = is, a.lease(), now.Add(a.lease())
}

// unheard says that up to now the others could not be heard; perhaps they could not speak either.
func (o others) unheard(now time.Time) {
	for _, p := range o {
		if until := now.Add(p.lease + reconnectGrace); !p.until.IsZero() && until.After(p.until) {
			p.until = until
		}
	}
}

// changed forgets those whose time had passed at proof, up to when they would have been heard, and tells whether the others
// are others than when it was last asked.
func (o others) changed(proof time.Time) (changed bool) {
	for key, p := range o {
		if !p.until.After(proof) {
			delete(o, key)
			changed = changed || p.told
			continue
		}
		changed = changed || !p.told
		p.told = true
	}
	return changed
}

// othersLinger is the time between the first that is heard of a change of the others and their being told of: where several
// come or answer, they do so within it.
const othersLinger = 500 * time.Millisecond

// tellOthers calls cfg.Others where the others have changed.
func (s *session) tellOthers(now time.Time) {
	if s.cfg.Others == nil {
		return
	}
	if s.others.changed(s.roll.proof) && s.othersDue.IsZero() {
		s.othersDue = now.Add(othersLinger)
	}
	if !s.othersDue.IsZero() && !now.Before(s.othersDue) {
		s.othersDue = time.Time{}
		s.cfg.Others(s.others.all())
	}
}

// all are all of them, sorted by name and key.
func (o others) all() []Other {
	all := make([]Other, 0, len(o))
	for _, p := range o {
		all = append(all, p.Other)
	}
	slices.SortFunc(all, func(a, b Other) int { return compareMembers(a.Member, b.Member) })
	return all
}
