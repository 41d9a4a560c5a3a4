// Package bench measures Headwater beside what it replaces, on one simulated cluster at the same time. Every part is a
// process of its own, on this machine.
//
// BenchmarkRestart kills metricsapi, exporter and metrics-server in turn and measures what that costs their users.
// BenchmarkKubeStateMetrics asks exporter and kube-state-metrics by turns: starts, memory, scrapes, changes, shards; the
// sizes of its clusters are a flag (-nodes), and so is a file for a plot (-plot).
//
// What flows in: Headwater's binaries (make build, or -bin) and those of package pins. What flows out: a table for each
// size of cluster, and the same figures in the form of Go's benchmarks. Times are reported and never asserted; that
// answers are complete, and the same of both, is. Run it with make bench, or make bench-ksm.
package bench
