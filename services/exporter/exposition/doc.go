// Package exposition keeps rendered series ready to be served.
//
// What flows in: the lines that one object exports, family by family, when the object changes. What flows out: the answer to
// a scrape, as Prometheus text or OpenMetrics, plain or as one gzip member.
//
//	object's lines --Put--> block of up to 64 objects --packed once--> pages (one a family, deflated) --copied--> scrape
//
// A page is a piece of a deflate stream that ends on a byte and refers to nothing before itself, so pages are
// concatenated as they are, and the CRC of the whole follows from theirs. A scrape that accepts gzip copies bytes; only
// pages whose lines changed since the last one are packed anew. What a scrape costs follows what changed.
//
// Promised: a scrape shows the state between two Puts, of all resources alike; a family is one contiguous block, even if
// several resources have it; a family's HELP and TYPE are there as soon as its resource has an object; no reader, however
// slow, holds up a Put, and what it keeps alive is the pages that were replaced since; scrapes at the same time share the
// packing.
//
// Held beside the pages: 6 bytes for each object and family that has lines, and some 40 for each object.
package exposition
