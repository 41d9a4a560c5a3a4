// Package linger keeps deleted objects in the exposition for a while, so that a scrape that comes after the deletion still
// sees the last of them.
//
// What flows in: deletions, with the time at which they were observed. What flows out: the call that removes an object,
// when its time has come, and a family that names the objects that are deleted and still shown.
//
//	deletion --Delete--> queue, by due time --Expire, before every scrape--> remove
//
// An object is due at the time of its deletion plus the linger, as the log tells it: two replicas, and one that reads the
// log again, agree on it. What is overdue when the deletion is read goes at once. An object that is created again under
// the name takes the deleted one's place at once.
//
// What is not promised: a view that is built anew, at a start or a reload, does not know the objects that were deleted
// before the snapshot which it begins with, so it does not show them.
package linger
