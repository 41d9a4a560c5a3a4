package stream

import "errors"

// Errors that this package wraps; match them with errors.Is.
var (
	// ErrFenced: another writer has written to the log (or to the snapshots), or the log has moved beyond the position
	// that the writer was created with. This writer can never write again. What it had not yet acknowledged may or may
	// not be in the log: replay the log, take the difference to what is true, and append it with a new writer.
	ErrFenced = errors.New("another writer has written to the log")

	// ErrLogChanged: the log is not the one it was: deleted, recreated, or restored to an older state. Like ErrFenced,
	// it ends the writer; Ensure the streams, replay, and append the difference with a new writer.
	ErrLogChanged = errors.New("the log was deleted, recreated or restored to an older state")

	// ErrOverflow: the writer's buffer is full, since NATS takes nothing or not fast enough. The event was not accepted
	// and will never be in the log unless it is appended again.
	ErrOverflow = errors.New("the buffer of unacknowledged events is full")

	// ErrTooLarge: the message is larger than the server takes, or its subject is; see Conn.MaxPayload.
	ErrTooLarge = errors.New("message too large")

	// ErrSubject: the subject is none that the stream stores.
	ErrSubject = errors.New("subject outside of the stream")

	// ErrClosed: the writer was closed.
	ErrClosed = errors.New("closed")

	// ErrTrimmed: the log no longer begins at its first event and there is no usable snapshot that reaches to where it
	// begins, so its content cannot be rebuilt. A Replay waits for a snapshot; ReplayOnce returns this error.
	ErrTrimmed = errors.New("the log is trimmed beyond its newest usable snapshot")

	// ErrNoMessage: the stream has no message for this subject.
	ErrNoMessage = errors.New("no message")

	// ErrConfig: a setting is wrong; trying again cannot help.
	ErrConfig = errors.New("invalid configuration")
)
