// Package stream is the only place in Headwater that knows NATS JetStream. It keeps three streams for each cluster:
//
//	K8S_<cluster>_OBJECTS    the log: every change of every object once, in order; exactly one writer, the Appender
//	K8S_<cluster>_SNAPSHOTS  the objects as of a position of the log, in chunks, committed by a manifest; SnapshotWriter
//	K8S_<cluster>_USAGE      the last two usage samples of every node; UsagePublisher
//
// and a key-value bucket, K8S_<cluster>_<group>, for processes that divide work among them: Members.
//
// In flow encoded messages of package schemas with their subjects; the payloads are opaque here. Out flow Events, into a
// Sink, by Replay: first the newest snapshot, then the log from there to a fence, then live.
//
// What is promised:
//
//   - The log is exactly-once and in order. Every event is sent with the sequence that must precede it, so a writer that
//     does not know the end of the log is refused (ErrFenced) and cannot write again.
//   - A Replay is whole exactly when it has reached the fence: the log's last sequence as its leader told it at the
//     start. At that moment the sink holds, for every object, what was acknowledged at that sequence: none is missing,
//     none is stale. Never a guess, never a sleep.
//   - The position is the log's sequence: the same number means the same content in every consumer.
//   - A log that was recreated, restored to an older state, or trimmed beyond a consumer's position is noticed. A new
//     sink is built beside the old one, which stays in service until the new one is whole.
//   - Of the members of a group each knows who they are, and stops to be one before another one may take its place
//     (Members says how). No clocks are compared.
//   - When NATS is away, at the start or later, nothing here fails: writers buffer up to a bound, readers wait.
//
// What is not: a snapshot is a shortcut, not the truth. Whatever is wrong with one (unknown version, another log's,
// damaged) is counted, and the log itself is read instead.
package stream
