package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// session is one run of a membership. All but ensure happens on one goroutine. What others announce and what NATS confirms
// comes through one channel in the order of the line, so whoever isn't heard before a confirmation has been silent.
type session struct {
	*Members
	conn     *Conn
	roll     *roll
	others   others
	changed  func(members []Member, since time.Time)
	messages chan *nats.Msg
	inbox    string // confirmations come to <inbox>.<number of the announcement>

	number    uint64
	sent      map[uint64]announced // not confirmed yet
	lastSent  time.Time
	due       time.Time // of the next announcement
	proven    bool
	provenOn  uint64    // Conn.line of the last confirmation, where there was one
	hold      time.Time // until then it doesn't tell that it is a member again
	told      []Member  // what changed was last called with
	othersDue time.Time // when cfg.Others is to be called; zero for not at all
	warned    map[string]bool
	trouble   error // the last reason why an announcement failed
	troubleAt time.Time

	ensuring    bool
	ensured     chan error
	ensureAfter time.Time
}

// announced is an announcement on its way.
type announced struct {
	at    time.Time
	state string
	line  uint64
}

// loop takes part until the context ends.
func (s *session) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	reconnected := s.conn.reconnected()
	s.due = time.Now()
	for {
		select {
		case m := <-s.messages:
			s.take(m)
			for len(s.messages) > 0 { // all that is there, before who is a member is worked out
				s.take(<-s.messages)
			}
		case err := <-s.ensured:
			s.ensuring = false
			if err == nil {
				s.due = time.Now()
			} else if ctx.Err() == nil {
				s.failed(err)
			}
		case <-reconnected:
			reconnected = s.conn.reconnected()
			s.due = time.Now()
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Now()
		if s.roll.lapse(now) {
			s.metrics.lapsed.Inc()
			s.log.Warn("NATS confirmed nothing for as long as the lease: no member any more, the others go on in this one's place", "lease", s.cfg.Lease, "error", s.reason(now))
			s.due = now
		}
		s.tell(now)
		s.tellOthers(now)
		if !now.Before(s.speak()) {
			s.announce(ctx)
		}
		timer.Reset(time.Until(s.wake(now)))
	}
}

// speak is when the next announcement is due: the time for it, or it takes one to find out that a member is gone.
func (s *session) speak() time.Time {
	if t := s.roll.next(s.lastSent); !t.IsZero() && t.Before(s.due) {
		return t
	}
	return s.due
}

// wake is when there is something to do.
func (s *session) wake(now time.Time) time.Time {
	t := s.speak()
	for _, other := range []time.Time{s.hold, s.othersDue} {
		if other.After(now) && other.Before(t) {
			t = other
		}
	}
	return t
}

// take handles one message: of another member, or the confirmation of an announcement.
func (s *session) take(m *nats.Msg) {
	now := time.Now()
	if n, ok := strings.CutPrefix(m.Subject, s.inbox+"."); ok {
		s.answer(n, m, now)
		return
	}
	key := strings.TrimPrefix(m.Subject, s.prefix())
	a, err := parseAnnouncement(m.Data)
	if err != nil {
		s.metrics.skipped.WithLabelValues(skippedUnreadable).Inc()
		s.warn("unreadable", "a message in the members' bucket is not understood and left out; is there anything else that writes to it?", "key", key, "error", err)
		return
	}
	if key == s.key {
		return
	}
	s.others.heard(key, a, s.fixed(), now)
	if !s.fixed() && !s.enroll(key, a, now) {
		return
	}
	alone := len(s.roll.peers) == 0 && !s.roll.sole && s.roll.joined
	if a.Hello || alone {
		if at := s.lastSent.Add(min(answerEvery, s.every())); at.Before(s.due) {
			s.due = at
		}
	}
}

// enroll takes another process's announcement into the roll; false where there are too many.
func (s *session) enroll(key string, a announcement, now time.Time) bool {
	if _, ok := s.roll.heard(key, a, now); !ok {
		s.metrics.skipped.WithLabelValues(skippedTooMany).Inc()
		s.warn("too many", "there are too many members, the others are left out", "limit", maxMembers)
		return false
	}
	if a.State == stateMember {
		if a.Name == s.cfg.Name {
			s.warn("name "+key, "another process has the same name; both are members, and each has its part. Give them different names, or ignore this if it is about to end", "name", a.Name, "other", key)
		}
		if a.Settings != s.cfg.Settings {
			s.warn("settings "+a.Name+a.Settings, "a member has other settings; the group works, but what is divided is done differently by each", "other", a.Name, "its settings", a.Settings, "these", s.cfg.Settings)
		}
	}
	return true
}

// answer handles what NATS answers to an announcement.
func (s *session) answer(text string, m *nats.Msg, now time.Time) {
	n, ok := number(text)
	a, known := s.sent[n]
	if !ok || !known {
		return
	}
	delete(s.sent, n)
	err := error(nats.ErrNoResponders)
	if m.Header.Get("Status") != "503" {
		_, err = parsePubAck(m.Data)
	}
	if err != nil {
		s.failed(err)
		return
	}
	s.metrics.announced.WithLabelValues(announceConfirmed).Inc()
	s.trouble = nil
	line := s.conn.line()
	was := s.roll.joined
	again := s.proven && line != s.provenOn || a.line != line
	if again || a.at.Sub(s.roll.proof) >= s.cfg.Lease {
		s.others.unheard(now)
	}
	s.roll.confirmed(a.at, a.state, again, now)
	if s.roll.joined && !was && s.told != nil {
		s.hold = now.Add(answerEvery) // the others may be about to be members again, too
	}
	s.proven, s.provenOn = true, line
	if s.roll.reachable && !s.roll.joined && a.state == stateIdle {
		s.due = now // join
	}
}

// failed notes why an announcement was not confirmed.
func (s *session) failed(err error) {
	s.metrics.announced.WithLabelValues(announceFailed).Inc()
	s.trouble, s.troubleAt = err, time.Now()
	var api *jetstream.APIError
	if errors.As(err, &api) {
		s.warn("refused", "NATS does not take this member's announcements", "error", explain(err))
	}
}

// ensureSoon creates the bucket again, beside everything else.
func (s *session) ensureSoon() {
	if s.ensuring {
		return
	}
	s.ensuring = true
	s.ensureAfter = time.Now().Add(s.cfg.Lease)
	ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
	go func() {
		defer cancel()
		s.ensured <- s.ensure(ctx, s.conn)
	}()
}

// announce tells the others what this process is.
func (s *session) announce(ctx context.Context) {
	now := time.Now()
	s.due, s.lastSent = now.Add(s.every()), now
	line := s.conn.line()
	// After a break of the line the others may not have been heard. Else they need not hurry: a greeting from everybody who
	// was too slow would make all of them slower.
	a := announcement{State: stateIdle, Hello: !s.proven || line != s.provenOn}
	switch {
	case s.fixed():
		a.State, a.Part, a.Parts = stateFixed, s.cfg.Part.Number, s.cfg.Part.Of
	case s.roll.reachable:
		a.State = stateMember
	}
	s.number++
	m := s.message(a)
	m.Reply = fmt.Sprintf("%s.%d", s.inbox, s.number)
	if err := s.conn.nc.PublishMsg(m); err != nil {
		if ctx.Err() == nil {
			s.failed(err)
		}
		return
	}
	s.metrics.announced.WithLabelValues(announceSent).Inc()
	unanswered := false
	for n, old := range s.sent {
		if age := now.Sub(old.at); age > s.cfg.Lease || line != old.line {
			delete(s.sent, n)
			s.failed(errors.New("no answer; may this user publish to " + s.prefix() + ">, and is there a JetStream? Or its disk is full: see the NATS server's log"))
		} else if age >= s.every() {
			unanswered = true
		}
	}
	if unanswered && !now.Before(s.ensureAfter) {
		s.ensureSoon() // a bucket that is gone answers nothing
	}
	s.sent[s.number] = announced{at: now, state: a.State, line: line}
}

// message makes the message of an announcement.
func (s *session) message(a announcement) *nats.Msg {
	a.Version, a.Name, a.LeaseMS, a.Settings = 1, s.cfg.Name, s.cfg.Lease.Milliseconds(), s.cfg.Settings
	m := nats.NewMsg(s.prefix() + s.key)
	m.Data = a.json()
	if a.State == stateLeaving { // the form in which the bucket's other readers know a deletion
		m.Header.Set("KV-Operation", "PURGE")
		m.Header.Set("Nats-Rollup", "sub")
	}
	return m
}

// every is the time between two announcements.
func (s *session) every() time.Duration { return s.cfg.Lease / 4 }

// tell calls changed where the members are others than before, and keeps what Ready says. Not before it is a member for the
// first time.
func (s *session) tell(now time.Time) {
	if s.roll.joined {
		s.said(nil)
	} else {
		s.said(s.reason(now))
	}
	if !s.roll.joined && s.told == nil || s.roll.joined && now.Before(s.hold) {
		return
	}
	members := []Member{}
	if s.roll.joined {
		members = s.roll.members()
	}
	if s.told == nil || !slices.Equal(members, s.told) {
		s.told = members
		s.changed(members, s.roll.told(now))
	}
}

// reason says why this process is no member.
func (s *session) reason(now time.Time) error {
	switch err := s.conn.Connected(); {
	case err != nil:
		return err
	case s.trouble != nil && now.Sub(s.troubleAt) < maxLease:
		return explain(s.trouble)
	}
	return errors.New("NATS has yet to confirm its announcement")
}

// warn logs something once a session.
func (s *session) warn(once, text string, args ...any) {
	if s.warned == nil {
		s.warned = map[string]bool{}
	}
	if len(s.warned) < maxMembers && !s.warned[once] {
		s.warned[once] = true
		s.log.Warn(text, args...)
	}
}

// leaveTimeout bounds how long the end waits for NATS.
const leaveTimeout = time.Second

// leave tells the others that this process ends, and takes its key out of the bucket.
func (s *session) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	_, err := s.conn.nc.RequestMsgWithContext(ctx, s.message(announcement{State: stateLeaving}))
	if err == nil {
		var stream jetstream.Stream
		if stream, err = s.conn.js.Stream(ctx, "KV_"+s.bucket()); err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(s.prefix()+s.key))
		}
	}
	if err != nil {
		s.log.Info("couldn't tell the other members that this one ends; they will find out when its lease has run out", "lease", s.cfg.Lease, "error", err)
	}
}
