// Package bench measures what a restart costs the users of Headwater and of metrics-server, side by side: both scrape
// the same simulated cluster at the same time, at the same resolution, and are killed in turn. Every part is a process
// of its own, on this machine.
//
// What flows in: Headwater's binaries (make build, or -bin), nats-server and metrics-server from package pins. What
// flows out: a table for each size of cluster, and the same figures in the form of Go's benchmarks. Times are reported
// and never asserted; that answers are complete is. Run it with make bench.
package bench
