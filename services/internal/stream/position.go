package stream

import "time"

// Event is one message as a sink sees it.
type Event struct {
	// Sequence is the position in the stream: of the log, the change's own, whether it comes from the log or from a
	// snapshot.
	Sequence uint64
	// Subject is the message's subject. It may be kept.
	Subject string
	// Data is the message, valid only until Apply returns: keep a copy.
	Data []byte
	// Time is when the server stored the message; zero for an event from a snapshot.
	Time time.Time
	// Snapshot tells that the event comes from a snapshot: an object that existed then. Deletions come from the log only.
	Snapshot bool
}

// Sink is what a Replay builds.
type Sink interface {
	// Apply takes one event. An error means that the event can't be read: it is counted with a reason
	// (schemas.ErrVersion, schemas.ErrMalformed and schemas.ErrSubject have their own), logged once, and skipped.
	//
	// Events of one object come in order, and the newest wins: where the log overlaps a snapshot, an object may go back
	// to an older state and come forward again before the sink is whole. From one Replay, calls are serial, except in
	// the snapshot phase with ReplayConfig.Workers > 1, where they are concurrent (mostly for different objects).
	Apply(Event) error
}

// SinkFunc is a function as a Sink.
type SinkFunc func(Event) error

// Apply calls f.
func (f SinkFunc) Apply(e Event) error { return f(e) }

// LogPosition is a place in a certain log: sequences of different logs can't be compared.
type LogPosition struct {
	// Log is the identity of the log: the time of its creation. Zero for none.
	Log time.Time
	// Sequence of the last event that is reflected; 0 before the first.
	Sequence uint64
}

// Position says how far a Replay is.
type Position struct {
	LogPosition
	// Fence is the sequence at which the current build is whole.
	Fence uint64
	// Last is the newest sequence of the stream that is known of.
	Last uint64
	// Lag is the number of messages between Sequence and Last that are for this consumer.
	Lag uint64
	// Whole tells that a sink is in service. It stays true while a newer one is built beside it.
	Whole bool
	// Rebuilding tells that a sink is being built: at the start, or since the stream was recreated, went back or was
	// trimmed. Sequence, Fence and Last are those of the build then.
	Rebuilding bool
	// Waiting says what the Replay waits for before it can go on ("a snapshot that reaches to ..."); "" mostly.
	Waiting string
	// Time is when the server stored the last event that was applied.
	Time time.Time
	// Heard is when the server was last heard of, by a message or a heartbeat. More than Silent ago means that the sink
	// may be stale.
	Heard time.Time
	// Silence is the latest time in which nothing was heard and which is over; zero for none. What the sink lacks right
	// after it may be what has not come yet.
	Silence Silence
}
