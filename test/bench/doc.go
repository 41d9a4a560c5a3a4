// Package bench measures Headwater beside what it replaces, on one simulated cluster at the same time. Every part is a
// process of its own, on this machine.
//
// BenchmarkRestart kills metricsapi, exporter and metrics-server in turn and measures what that costs their users.
// BenchmarkScale puts ingest with metricsapi, and then metrics-server, on the same kubelets: memory, CPU, answers, how old
// samples are, usually and while some nodes hang. BenchmarkKubeStateMetrics asks exporter and kube-state-metrics by turns:
// starts, memory, scrapes, changes, shards. The sizes of the clusters of both are a flag (-nodes), and so is a file for a
// plot (-plot). BenchmarkState is about the state service alone, or beside another binary of it (-state-before): memory,
// starts with an empty and with a full log, changes.
//
// What flows in: Headwater's binaries (make build, or -bin) and those of package pins. What flows out: a table for each
// size of cluster, and the same figures in the form of Go's benchmarks. Times are reported and never asserted; that
// answers are complete, and the same of both, is. Run it with make bench, make bench-ksm, or make bench-scale.
package bench
