// Package kubelet is the kubelets of a simulated cluster, all in one process.
//
// In: nodes with their listeners, and pods as the API server has them. Out: each node's /metrics/resource over HTTPS, in
// the kubelet's own text format, its /stats/summary, and the truth behind them for tests.
//
//	rate(t)    = base + swing·sin(2πt/period + phase)      cores
//	counter(t) = ∫ rate from the container's start to t     core-seconds, never sampled, never stored
//	node(t)    = system(t) + Σ counters of its containers, gone ones included
//
// Promised: what is served is a function of the seed, the epoch, the objects and the clock. A simulation that is stopped
// and started again with the same four goes on with the same counters. A rate over any window is the difference of two
// counters, exactly.
package kubelet
