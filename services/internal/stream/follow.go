package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// FollowConfig is how a reader of one object is made.
type FollowConfig struct {
	Conn    *Conn
	Cluster string
	// Subject is the object's: schemas.ObjectSubject.
	Subject string
	// Name of the reader, in the log: "ingest-node".
	Name string
	// Every is how often the log is asked although nothing was heard; default 30 s.
	Every time.Duration
	Log   *slog.Logger
}

// Follow reads one object of the log and steps over everything else: it is for processes of which there are thousands, where
// each reading all that happens would be too much for NATS. It asks for the newest event of the object's subject, again
// whenever it hears that there is a newer one, and now and then. Where the log has none, because the object didn't change for
// as long as the log reaches back or there is no such object, the snapshot tells, which is read once.
type Follow struct {
	cfg FollowConfig
	log *slog.Logger

	mu  sync.Mutex
	why error // why the object isn't known yet; nil when it is
}

const (
	followEvery = 30 * time.Second
	// followAgain is when it asks once more after it heard of an event, which may be heard of before it is stored, and when
	// it asks again after it got no answer.
	followAgain = time.Second
)

// NewFollow makes a reader. Nothing happens before Run.
func NewFollow(cfg FollowConfig) (*Follow, error) {
	if err := CheckCluster(cfg.Cluster); err != nil {
		return nil, err
	}
	if cfg.Conn == nil || cfg.Subject == "" {
		return nil, fmt.Errorf("%w: a reader of one object needs a connection and a subject", ErrConfig)
	}
	cfg.Every = or(cfg.Every, followEvery)
	f := &Follow{cfg: cfg, log: cfg.Log, why: errors.New("it hasn't begun to")}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.log = f.log.With("consumer", cfg.Name, "subject", cfg.Subject)
	return f, nil
}

// Ready says why the object isn't known yet; nil when it is, or is known not to exist.
func (f *Follow) Ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.why == nil {
		return nil
	}
	return fmt.Errorf("%s waits for %s: %w", f.cfg.Name, f.cfg.Subject, f.why)
}

func (f *Follow) said(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.why = why
}

// Run calls apply with the object's newest event and then with every newer one that it learns of, until the context ends;
// its error is that of the context. An event without data says that the log has no such object. What apply can't read is
// logged.
func (f *Follow) Run(ctx context.Context, apply func(Event) error) error {
	conn, release, err := f.cfg.Conn.open(ctx, f.cfg.Name)
	if err != nil {
		return err
	}
	defer release()
	heard := make(chan *nats.Msg, 256)
	if _, err := conn.nc.ChanSubscribe(f.cfg.Subject, heard); err != nil {
		return fmt.Errorf("couldn't subscribe to %s: %w", f.cfg.Subject, err)
	}
	s := following{Follow: f, conn: conn, apply: apply}
	for reconnected := conn.reconnected(); ; {
		wait := f.cfg.Every
		if err := s.ask(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !s.known {
				f.said(explain(err))
			}
			wait = followAgain
		} else {
			s.known = true
			f.said(nil)
		}
		if s.news {
			s.news, wait = false, followAgain
		}
		timer := time.NewTimer(wait)
		select {
		case <-heard:
			for len(heard) > 0 {
				<-heard
			}
			s.news = true
		case <-reconnected:
			reconnected = conn.reconnected()
			s.news = true // what happened meanwhile was not heard
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// following is one run, of one goroutine.
type following struct {
	*Follow
	conn  *Conn
	apply func(Event) error

	known    bool
	news     bool      // something was heard since the last but one look
	sequence uint64    // of the event that was applied last; 0 for none
	stored   time.Time // when it was stored: sequences begin anew where the log does
	log      time.Time // the identity of the log whose snapshot was read
}

// ask looks for the newest event.
func (s *following) ask(ctx context.Context) error {
	m, err := s.conn.lastMessage(ctx, objectsStream(s.cfg.Cluster), s.cfg.Subject)
	switch {
	case err == nil && m.Sequence == s.sequence && m.Time.Equal(s.stored):
		return nil
	case err == nil:
		s.sequence, s.stored = m.Sequence, m.Time
		s.give(Event{Sequence: m.Sequence, Subject: m.Subject, Data: m.Data, Time: m.Time})
		return nil
	case !errors.Is(err, ErrNoMessage):
		return err
	}
	info, err := s.conn.info(ctx, objectsStream(s.cfg.Cluster))
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && s.known:
		return nil // it will be made again
	case err != nil:
		return err
	case s.log.Equal(info.Created):
		return nil // the newest event is older than what the log keeps, or there never was one
	}
	return s.snapshot(ctx)
}

// snapshot reads all of the log, once.
func (s *following) snapshot(ctx context.Context) error {
	if !s.known {
		s.said(errors.New("the log has no event of it, so its snapshot is read"))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var found Event
	whole := false
	replay, err := NewReplay(ReplayConfig{
		Conn: s.conn, Cluster: s.cfg.Cluster, Name: s.cfg.Name + "-snapshot", AwaitSnapshot: true, Log: s.cfg.Log,
		Begin: func() Sink {
			found = Event{Subject: s.cfg.Subject}
			return SinkFunc(func(e Event) error {
				if !whole && e.Subject == s.cfg.Subject {
					found = e
					found.Data = append([]byte(nil), e.Data...)
				}
				return nil
			})
		},
		Whole: func(_ Sink, p Position) {
			whole, s.log = true, p.Log
			cancel()
		},
	})
	if err != nil {
		return err
	}
	if err := replay.Run(ctx); !whole {
		return err
	}
	s.give(found)
	return nil
}

// give hands an event on.
func (s *following) give(e Event) {
	if err := s.apply(e); err != nil {
		s.Follow.log.Warn("couldn't read an event, which is left out", "sequence", e.Sequence, "error", err)
	}
}
