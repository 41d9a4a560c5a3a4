package stream

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// MembersConfig is how a process takes part in a group of equals that divide work among them.
type MembersConfig struct {
	Conn    *Conn
	Cluster string
	// Group is part of the bucket's name, K8S_<cluster>_<group>: capital letters.
	Group string
	// Replicas is the number of servers that hold the bucket; default 1.
	Replicas int
	// Name of this process for operators, and what decides its part of the work: a pod's name. Another process of the same
	// name is another member.
	Name string
	// Lease is how long this process is a member after it was last heard; 1 s to 1 min, default 10 s. It is announced four
	// times as often.
	Lease time.Duration
	// Settings is what should be the same in all members, as a text; where one has another, both log it.
	Settings string
	// Part is what this process does of the work whoever else is there: then it is no member, and only tells the others of
	// itself. Zero for a process that divides the work with the members.
	Part Part
	// Others is called with all other processes between which and this one nobody divides the work: the members and those with
	// a fixed part, where Part is given; else only the latter. It is called whenever they are others than before; nil for
	// nobody who wants to know.
	Others   func([]Other)
	Log      *slog.Logger
	Registry prometheus.Registerer // nil for none
}

const (
	minLease     = time.Second
	maxLease     = time.Minute
	defaultLease = 10 * time.Second

	// bucketTTL is how long a member that fell silent stays in the bucket: until then, whoever starts waits for it, for
	// candidateGrace. It has to be longer than the time between two announcements.
	bucketTTL = 2 * maxLease / 4

	// candidateGrace is how long whoever starts waits for a member that is in the bucket and hasn't been heard. All members
	// announce themselves at once when somebody new greets them.
	candidateGrace = time.Second
	// answerEvery is the least time between two announcements, however many greet.
	answerEvery = 250 * time.Millisecond
	// reconnectGrace is what a member is given beyond its lease when NATS was away: the longest time until it tries to
	// connect again.
	reconnectGrace = time.Second

	maxMembers     = 4096
	membersPending = 4 * maxMembers // messages that wait to be read
)

// Member is a process that takes part.
type Member struct {
	Key  string // what it is told apart by: unique for each process
	Name string
}

// Members is a process's membership in a group. The group lives in a key-value bucket, where each member keeps renewing a
// key; the bucket forgets who doesn't. All hear all keys as they are written.
//
// Nobody compares clocks: a member counts until its lease has passed on the clock of whoever listens, and a process counts
// itself until its own lease has passed since it sent the last announcement that NATS has confirmed. So whoever is cut off
// stops before the others go on in its place. Who was alone when the line broke has nobody to make room for, and stays.
type Members struct {
	cfg     MembersConfig
	key     string
	log     *slog.Logger
	metrics *membersMetrics

	mu  sync.Mutex
	why error // why this process is no member; nil while it is one
}

// NewMembers prepares a membership. Nothing happens before Run.
func NewMembers(cfg MembersConfig) (*Members, error) {
	if err := CheckCluster(cfg.Cluster); err != nil {
		return nil, err
	}
	cfg.Lease = or(cfg.Lease, defaultLease)
	switch {
	case cfg.Conn == nil || cfg.Group == "":
		return nil, fmt.Errorf("%w: a membership needs a connection and a group", ErrConfig)
	case cfg.Name == "" || len(cfg.Name) > maxMemberName:
		return nil, fmt.Errorf("%w: the name of a member must have 1 to %d bytes, not %d", ErrConfig, maxMemberName, len(cfg.Name))
	case cfg.Part != Part{} && !cfg.Part.valid():
		return nil, fmt.Errorf("%w: there is no part %d of %d", ErrConfig, cfg.Part.Number, cfg.Part.Of)
	case cfg.Lease < minLease || cfg.Lease > maxLease:
		return nil, fmt.Errorf("%w: the lease of a member must be %v to %v, not %v", ErrConfig, minLease, maxLease, cfg.Lease)
	}
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, fmt.Errorf("couldn't draw a random number: %w", err)
	}
	m := &Members{cfg: cfg, key: memberKey(cfg.Name, hex.EncodeToString(nonce[:])), log: cfg.Log, why: errors.New("it hasn't begun to")}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.log = m.log.With("bucket", m.bucket(), "member", m.key)
	m.metrics = newMembersMetrics(cfg.Registry, m.bucket())
	return m, nil
}

// Self is this process.
func (m *Members) Self() Member { return Member{Key: m.key, Name: m.cfg.Name} }

// Ready says why this process is no member at the moment; nil while it is one.
func (m *Members) Ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.why
}

// fixed tells whether it is no member, but does a fixed part of the work.
func (m *Members) fixed() bool    { return m.cfg.Part != Part{} }
func (m *Members) bucket() string { return "K8S_" + m.cfg.Cluster + "_" + m.cfg.Group }
func (m *Members) prefix() string { return "$KV." + m.bucket() + "." }

// Run takes part until the context ends, and returns its error; any other is one that trying again can't cure. It calls
// changed with all members, sorted by name and key, whenever they are others than before, and with none when this process
// ceases to be one. since is up to when all of them who are gone were heard: now, where they have left in an orderly way; zero
// where one of them was in the bucket and never heard. At the end the others are told. With a fixed part it never calls
// changed.
func (m *Members) Run(ctx context.Context, changed func(members []Member, since time.Time)) error {
	conn, release, err := m.cfg.Conn.open(ctx, strings.ToLower(m.cfg.Group)+"-members")
	if err != nil {
		return err
	}
	defer release()
	if err := m.ensure(ctx, conn); err != nil {
		return err
	}
	s := &session{
		Members: m, conn: conn, changed: changed,
		messages: make(chan *nats.Msg, membersPending), inbox: conn.nc.NewInbox(),
		sent: map[uint64]announced{}, ensured: make(chan error, 1),
		roll: newRoll(m.Self(), m.cfg.Lease), others: others{},
	}
	for _, subject := range []string{s.inbox + ".*", m.prefix() + ">"} {
		if _, err := conn.nc.ChanSubscribe(subject, s.messages); err != nil {
			return fmt.Errorf("couldn't subscribe to %s: %w", subject, err)
		}
	}
	if !m.fixed() {
		keys, err := m.list(ctx, conn)
		if err != nil {
			return err
		}
		for _, key := range keys {
			s.roll.candidate(key)
		}
	}
	err = s.loop(ctx)
	s.leave(context.WithoutCancel(ctx))
	m.said(errors.New("it has ended"))
	return err
}

// ensure creates the bucket where it isn't.
func (m *Members) ensure(ctx context.Context, conn *Conn) error {
	return retry(ctx, conn, "create or update the bucket "+m.bucket(), func(ctx context.Context) error {
		_, err := conn.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket:      m.bucket(),
			Description: "Headwater: who divides the work at the moment",
			TTL:         bucketTTL,
			History:     1,
			// In a file, for some servers are allowed no memory. Nothing is lost where it is lost.
			Storage:  jetstream.FileStorage,
			Replicas: or(m.cfg.Replicas, 1),
		})
		return err
	})
}

// list reads the keys that are in the bucket. None where there is no bucket.
func (m *Members) list(ctx context.Context, conn *Conn) (keys []string, err error) {
	err = retry(ctx, conn, "read the keys of the bucket "+m.bucket(), func(ctx context.Context) error {
		s, err := conn.js.Stream(ctx, "KV_"+m.bucket())
		if err != nil {
			return err
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(m.prefix()+">"))
		if err != nil {
			return err
		}
		keys = keys[:0]
		for subject := range info.State.Subjects {
			keys = append(keys, strings.TrimPrefix(subject, m.prefix()))
		}
		return nil
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	return keys, err
}

// said keeps what Ready tells.
func (m *Members) said(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.why = why
}

// membersMetrics are those of one membership.
type membersMetrics struct {
	announced *prometheus.CounterVec // result
	skipped   *prometheus.CounterVec // reason
	lapsed    prometheus.Counter
}

// What came of an announcement, and why one of another process was skipped.
const (
	announceSent      = "sent"
	announceConfirmed = "confirmed"
	announceFailed    = "failed"
	skippedUnreadable = "unreadable"
	skippedTooMany    = "too_many"
)

func newMembersMetrics(reg prometheus.Registerer, bucket string) *membersMetrics {
	labels := prometheus.Labels{"bucket": bucket}
	vector := func(name, label, help string, values ...string) *prometheus.CounterVec {
		v := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headwater_stream_" + name, Help: help, ConstLabels: labels}, []string{label}))
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	return &membersMetrics{
		announced: vector("member_announcements_total", "result", "Announcements of this process to the other members: sent, confirmed by NATS, or failed.",
			announceSent, announceConfirmed, announceFailed),
		skipped: vector("member_messages_skipped_total", "reason", "Announcements of others that were not understood, or came from too many processes.",
			skippedUnreadable, skippedTooMany),
		lapsed: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_stream_member_leases_lost_total", ConstLabels: labels,
			Help: "How often this process ceased to be a member because NATS confirmed nothing for as long as its lease.",
		})),
	}
}
