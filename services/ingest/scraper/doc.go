// Package scraper is the ingest service: it reads every node's usage from its kubelet and publishes it.
//
//	OBJECTS: nodes -> targets -> share -> schedule -> kubelet client -> decode -> rate -> publish -> USAGE
//	                               ^          ^            |                       |
//	                               |          |            v                       v
//	                         which of them  a timer   GET https://node:10250    the node's history
//	                         are ours       per node  /metrics/resource         (names, counters' past)
//
// In: Node objects, replayed from the log, and the Prometheus text of each kubelet's resource endpoint; with SourceSummary
// also the JSON of its /stats/summary, for what the other one hasn't: page faults, network, disks, pressure, UIDs. Out: one
// schemas.UsageSample a node and scrape, on the node's usage subject; and where that can't tell how it went, a
// schemas.ScrapeReport. /debug/nodes shows the same to people.
//
// Promised:
//   - Each node is its own timeline: its own phase, its own time-out, published as soon as it is read. A node that hangs
//     delays nobody.
//   - A scrape that fails publishes no sample: the node's previous sample stays where it is, with its true time, and the
//     counters' past stays too, so that the next good scrape yields a rate.
//   - Nothing that a kubelet can send ends the process or takes more memory than Config.KubeletMaxBodyBytes. Whatever is
//     not published is counted, with its reason, and named in the node's report.
//   - A rate is there from the first scrape after a restart: the past is read back from the node's last message.
//   - Ingesters that are alive divide the nodes among them. Those of one that is lost are scraped by the others within two
//     resolutions, and go on with its counters; one that is cut off from the others stops before that.
//
// What a value means, what is dropped, and what a rate is measured from is the contract of metrics-server, so that the
// Metrics API answers the same numbers.
package scraper
