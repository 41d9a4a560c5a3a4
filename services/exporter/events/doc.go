// Package events counts what happens to pods, jobs and objects, from every event of the log and not from what a scrape
// happens to see: a container that is killed and restarted between two scrapes is counted.
//
// What flows in: the object changes of every build of the exporter's view. What flows out: counters, as one group of the
// exposition.
//
//	build of the view --Fold--> book: each pod and job as last known --difference--> counts --Group--> scrape
//
// A count is the difference between what an object says now and what it said when it was last known. How often a
// container has ended is told by its status (restarts, and whether the present run is over), and only ever grows; so
// nothing is missed where several changes arrive as one, and nothing counts twice where a change comes again. Why it ended
// is told for the last run, and for the one before while that is over too; what lies further back counts as "Unknown".
//
// There is one book for the process. Every build of the view (at the start, after a reload, a reshard, a lost log) presents
// the same events to it, and the first one to present an event is the one that counts it.
//
// What is not counted: what a pod did unseen before its deletion; what an object that is older than the counting did before
// it was first seen (its kind was not given to Headwater until then).
//
// Promised: counting begins where the first build is whole, at zero; every event behind that counts once, in the order of
// the log, however many builds read it and however far back they begin; counters never go back while the process lives.
// Where the log has a gap, because it was lost, trimmed or restored, the difference across the gap counts, as far as the
// objects tell it. A namespace's series go an hour after it was deleted.
package events
