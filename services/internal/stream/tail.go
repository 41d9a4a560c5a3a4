package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	heartbeat = 500 * time.Millisecond // the server says at least this often that it is there
	silence   = 2 * time.Second        // nothing heard for so long: the consumer is lost, make a new one
	pullLife  = 30 * time.Second       // a request for messages ends by itself after this time

	logBatch   = 5000     // messages requested at a time of small messages
	batchBytes = 32 << 20 // what is requested at a time should not be more than about this
)

// rebuild is the error that says that what was read so far can't be continued.
type rebuild struct {
	reason  string // for the counter
	text    string
	missing uint64 // an event that the log should have and has not; 0 for none
}

func (r *rebuild) Error() string { return r.text }

// errDeleted: there is no stream any more.
var errDeleted = &rebuild{reason: reasonRecreated, text: "the stream was deleted"}

// errTick: see tail.ticks.
var errTick = errors.New("nothing to deliver now")

// The reasons of rebuilds, and of builds.
const (
	reasonStart     = "start"     // the first build
	reasonRecreated = "recreated" // the stream is another one, of the same name
	reasonWentBack  = "went_back" // the stream was restored to an older state
	reasonTrimmed   = "trimmed"   // messages were removed before they were read
	reasonSnapshot  = "snapshot"  // the snapshot turned out to be unusable
)

// tail reads a stream from a cursor on: every message once, in order. It keeps an ephemeral consumer on the server and
// makes a new one, right after the cursor, whenever the old one may be lost: at a reconnect, when a heartbeat is
// missing, when the deliveries are not contiguous, when the server says so. It makes them itself rather than leave it to
// the client library's ordered consumer, which may wait 10 s for the answer to a request that was lost, and which does
// not notice that the stream is another one. All methods are for one goroutine.
type tail struct {
	conn   *Conn // its own
	stream string
	batch  int
	// log: the stream is the log, which has no holes. A sequence that is left out means that something was removed.
	log bool
	// filter: only the messages of this subject; "" for all.
	filter string

	identity    time.Time // of the stream; zero for any
	cursor      uint64    // the last message that next returned, or the one to start after
	cursorTime  int64     // when it was stored; 0 for unknown
	behindSince time.Time // when the stream was first seen not to have what is at the cursor; zero where it has
	pending     uint64    // messages behind the cursor, as of the last delivery
	read        bool      // next has returned a message: the cursor is not just that of a snapshot

	// ticks: next returns errTick when the server says that there is nothing to deliver.
	ticks bool

	heard  *hearing            // notes when something was delivered; nil for none
	resets func(reason string) // counts new consumers

	// The consumer now; sub is nil for none.
	sub         *nats.Subscription
	consumer    string
	messages    chan *nats.Msg
	delivered   uint64 // consumer sequence of the last delivery
	outstanding int    // requested and not yet delivered
	line        uint64 // Conn.line when it was made
	reconnected <-chan struct{}
	timer       *time.Timer
	failures    int // consumers in a row that brought nothing
}

// message is a stored message.
type message struct {
	delivery
	*nats.Msg
}

// next waits for the message after the cursor. Errors: *rebuild, or that of the context.
func (t *tail) next(ctx context.Context) (message, error) {
	if t.delivered%256 == 0 && ctx.Err() != nil { // else a reader with a backlog would not notice
		return message{}, ctx.Err()
	}
	for {
		if t.sub == nil {
			if err := t.open(ctx); err != nil {
				return message{}, err
			}
		}
		var m *nats.Msg
		select {
		case m = <-t.messages:
		default:
			var lost string
			if m, lost = t.wait(ctx); m == nil {
				if err := ctx.Err(); err != nil {
					return message{}, err
				}
				t.reset(lost)
				continue
			}
		}
		if len(m.Data) == 0 && len(m.Header) > 0 && m.Header.Get("Status") != "" {
			t.status(m)
			if t.ticks {
				return message{}, errTick
			}
			continue
		}
		d, ok := parseDelivery(m.Reply)
		if !ok || d.consumer != t.delivered+1 {
			t.reset("gap")
			continue
		}
		if t.log && d.stream != t.cursor+1 {
			return message{}, &rebuild{missing: d.stream - 1, reason: reasonTrimmed, text: fmt.Sprintf("the log goes on at %d, but %d was the last event read: what is between was removed", d.stream, t.cursor)}
		}
		t.read = true
		t.delivered++
		t.outstanding--
		t.failures = 0
		t.cursor, t.cursorTime, t.pending = d.stream, d.time, d.pending
		if t.outstanding <= t.batch/2 {
			t.heard.note()
			t.pull()
		}
		return message{d, m}, nil
	}
}

// wait is the slow part of next: there is no message yet. It returns nil and the reason where the consumer is lost.
func (t *tail) wait(ctx context.Context) (*nats.Msg, string) {
	t.heard.note() // so far everything that came was taken
	t.timer.Reset(silence)
	defer t.timer.Stop()
	for {
		select {
		case m := <-t.messages:
			t.heard.note()
			return m, ""
		case <-t.timer.C:
			return nil, "silence"
		case <-t.reconnected:
			if t.conn.line() != t.line || t.conn.nc.IsClosed() {
				return nil, "reconnect"
			}
			t.reconnected = t.conn.reconnected() // it was the news of the connection that is used already
		case <-ctx.Done():
			return nil, ""
		}
	}
}

// status handles what is not a message of the stream but the server's word on the consumer or the request.
func (t *tail) status(m *nats.Msg) {
	switch m.Header.Get("Status") {
	case "100": // a heartbeat
	case "408": // the request ended; so many messages were not delivered
		n, _ := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		t.outstanding = max(0, t.outstanding-n)
		if t.outstanding <= t.batch/2 {
			t.pull()
		}
	default: // deleted, no leader, server shuts down
		t.reset("refused")
	}
}

// pull requests more messages.
func (t *tail) pull() {
	n := t.batch - t.outstanding
	request := fmt.Appendf(nil, `{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, n, pullLife, heartbeat)
	if err := t.conn.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+t.stream+"."+t.consumer, t.sub.Subject, request); err != nil {
		return // not connected: the reconnect, or else the silence, makes a new consumer
	}
	t.outstanding += n
}

// reset gives the consumer up.
func (t *tail) reset(reason string) {
	if t.resets != nil {
		t.resets(reason)
	}
	t.close()
	t.failures++
}

// close gives the consumer up and lets the server know, without waiting for the answer.
func (t *tail) close() {
	if t.sub == nil {
		return
	}
	t.sub.Unsubscribe()
	t.sub = nil
	t.conn.nc.Publish("$JS.API.CONSUMER.DELETE."+t.stream+"."+t.consumer, nil)
}

// open makes a consumer behind the cursor, trying until it succeeds, the context ends, or there is no going on from the
// cursor (*rebuild). What the consumer reads is compared with what was read before only when it is there: a stream that was
// compared before may be another one by the time that the consumer is made. A consumer ends with its stream.
func (t *tail) open(ctx context.Context) error {
	if t.timer == nil {
		t.timer = time.NewTimer(silence)
		t.timer.Stop()
	}
	for logged := false; ; t.failures++ {
		if t.failures > 0 {
			pause(ctx, min(time.Duration(t.failures)*50*time.Millisecond, time.Second), t.conn.reconnected())
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if t.conn.nc.IsClosed() {
			return ErrClosed
		}
		t.line, t.reconnected = t.conn.line(), t.conn.reconnected() // a reconnect from here on counts
		err := t.create(ctx)
		if err == nil {
			err = t.check(ctx)
		}
		if err == nil {
			t.behindSince = time.Time{}
			return nil
		}
		t.close()
		if changed := (*rebuild)(nil); errors.As(err, &changed) {
			return err
		}
		if !logged && ctx.Err() == nil && t.failures > 0 {
			logged = true
			t.conn.log.Warn("can't read on, trying again", "stream", t.stream, "position", t.cursor, "error", explain(err))
		}
	}
}

// look asks the stream's leader about it. *rebuild: it is not the one that was read, or not there any more.
func (t *tail) look(ctx context.Context) (StreamInfo, error) {
	info, err := t.conn.info(ctx, t.stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return info, errDeleted
	case err == nil && !t.identity.IsZero() && !info.Created.Equal(t.identity):
		err = &rebuild{reason: reasonRecreated, text: "the stream was deleted and created again at " + info.Created.Format(time.RFC3339)}
	}
	return info, err
}

// check compares the stream with what was read of it.
func (t *tail) check(ctx context.Context) error {
	info, err := t.look(ctx)
	if err != nil {
		return err
	}
	if info.Last < t.cursor {
		if !info.wentBack(&t.behindSince) {
			return errBehind
		}
		return &rebuild{reason: reasonWentBack, text: fmt.Sprintf("the stream ends at %d, but was read up to %d: it was restored to an older state", info.Last, t.cursor)}
	}
	if t.log && info.First > t.cursor+1 {
		return &rebuild{reason: reasonTrimmed, text: fmt.Sprintf("the stream begins at %d, but was read up to %d: what is between was removed", info.First, t.cursor)}
	}
	// The last sequence alone can't tell a stream that was restored and has grown beyond the cursor since.
	if t.cursorTime == 0 || t.cursor < info.First {
		return nil
	}
	stored, err := t.conn.storedMessage(ctx, t.stream, t.cursor)
	switch {
	case errors.Is(err, ErrNoMessage) && t.log && t.read:
		info, err := t.look(ctx)
		switch {
		case err != nil || info.First > t.cursor:
			return err // just trimmed
		case !info.wentBack(&t.behindSince):
			return errBehind
		}
		return &rebuild{reason: reasonWentBack, missing: t.cursor, text: fmt.Sprintf("the event at %d, which was read, is not there any more", t.cursor)}
	case errors.Is(err, ErrNoMessage):
		return nil // replaced by a newer one of its subject, or lost or trimmed behind a snapshot that has it
	case err != nil:
		return err
	case stored.Time.UnixNano() != t.cursorTime:
		return &rebuild{reason: reasonWentBack, text: fmt.Sprintf("the event at %d is not the one that was read there: the stream was restored to an older state", t.cursor)}
	}
	return nil
}

// create makes the consumer and requests the first messages.
func (t *tail) create(ctx context.Context) error {
	ctx, cancel := t.conn.request(ctx)
	defer cancel()
	config := jetstream.ConsumerConfig{
		Name:              "headwater-" + nuid.Next(),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       t.cursor + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: time.Minute,
		Replicas:          1,
		MemoryStorage:     true,
		FilterSubject:     t.filter,
	}
	consumer, err := t.conn.js.CreateConsumer(ctx, t.stream, config)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return errDeleted
	}
	if err != nil {
		return err
	}
	// Room for everything that is requested, and for the heartbeats that pile up while a sink takes long.
	t.messages = make(chan *nats.Msg, t.batch+1024)
	t.sub, err = t.conn.nc.ChanSubscribe(t.conn.nc.NewInbox(), t.messages)
	if err != nil {
		return err
	}
	t.consumer, t.delivered, t.outstanding = config.Name, 0, 0
	t.pending = consumer.CachedInfo().NumPending
	t.pull()
	return nil
}

// batchFor is how many messages to request at a time: some thousand, but fewer where messages are large.
func batchFor(info StreamInfo) int {
	if info.Messages == 0 {
		return logBatch
	}
	return min(logBatch, max(64, int(batchBytes/(info.Bytes/info.Messages+1))))
}

// storedMessage reads one message from the stream's leader. ErrNoMessage where there is none.
func (c *Conn) storedMessage(ctx context.Context, stream string, sequence uint64) (*jetstream.RawStreamMsg, error) {
	return c.leaderMessage(ctx, stream, fmt.Appendf(nil, `{"seq":%d}`, sequence))
}

// messageFrom reads the first message at a sequence or behind it. ErrNoMessage where there is none.
func (c *Conn) messageFrom(ctx context.Context, stream string, sequence uint64) (*jetstream.RawStreamMsg, error) {
	return c.leaderMessage(ctx, stream, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":">"}`, sequence))
}

// lastMessage reads the newest message of a subject, which may have wildcards. ErrNoMessage where there is none.
func (c *Conn) lastMessage(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	return c.leaderMessage(ctx, stream, fmt.Appendf(nil, `{"last_by_subj":%q}`, subject))
}

// leaderMessage asks the stream's leader, not a replica that may be behind.
func (c *Conn) leaderMessage(ctx context.Context, stream string, request []byte) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, request)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("couldn't read the server's answer: %w", err)
	}
	switch {
	case answer.Error != nil && (answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound || answer.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound):
		return nil, fmt.Errorf("%w: %w", ErrNoMessage, answer.Error)
	case answer.Error != nil:
		return nil, answer.Error
	case answer.Message == nil:
		return nil, errors.New("the server's answer has no message")
	}
	stored := answer.Message
	return &jetstream.RawStreamMsg{Subject: stored.Subject, Sequence: stored.Sequence, Data: stored.Data, Time: stored.Time}, nil
}
