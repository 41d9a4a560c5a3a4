// Package watcher is the state service: it writes what the Kubernetes API server says onto the log, once.
//
// In: lists and watches of the kinds of package objects, from one API server. Out: one event for each change of each
// object (schemas.ObjectChange: its whole pruned state, or that it is gone), appended to the cluster's log; and now and
// then a snapshot of what the log says, so that consumers need not read all of it.
//
//	API server --reflector per kind--> feed --entries--> book --appender--> log
//	log --replay--> book                                 book --chunks----> snapshots
//	API server --definitions--> discovery: feeds of custom resources, begun and ended
//	configuration file --which custom resources are wanted--> discovery
//
// The book has, for every object, what the log says of it and what the API server says of it, packed; whatever differs
// is written. So everything that can go wrong has the same cure. A restart replays the log into a new book, lists, and
// writes the difference: what is unchanged is not written again, what vanished meanwhile gets its deletion. A relist is
// the same difference, and no consumer sees a kind empty or in part meanwhile. While NATS takes no events the difference
// grows, to one state an object at most, and is written when it does again.
//
// Promised, for each object (one subject of the log):
//   - events are in the order in which the API server told of them, each state at most once; the newest state is always
//     written, older ones may be left out while the log is behind or the kind is paced (a counter tells of each);
//   - an object that was deleted and created again under its name is a deletion and then the new object: two states with
//     different UIDs always have a deletion between them;
//   - a deletion is never held back.
//
// Custom resources, if any are wanted, are kinds like the others, with feeds that come and go with their definitions, and as
// they are wanted: a configuration file is followed while the service runs. A definition touches its own kind alone, a change
// of what is wanted the kinds that it is about; neither ends a term. What the log has of a custom resource is deleted when it
// isn't wanted any more, or the API server is known not to serve it any more, and held for as long as that isn't known. A
// file that can't be used changes nothing. The kinds and whether the API server gives them are told to consumers, too
// (schemas.Availability).
//
// There is one writer at a time. A service that leads has the log to itself: an event of any other writer ends its term
// (stream.ErrFenced), and with it the book. With leader election the others are hot: they follow the log, so that
// taking over is a list and its difference. They don't watch the API server: a list that began after the takeover is
// the only one that surely knows no less than the log.
package watcher
