// Package sim is a Kubernetes cluster on the wire: an HTTPS API server and HTTPS kubelets, seeded and steerable.
//
// In: options, a seed, and calls or requests that change objects and usage. Out: what a real cluster would serve, so that
// ingest, state, metricsapi and kubectl run against it unchanged, and the truth behind it, for tests.
//
//	options, seed, epoch → objects → apiserver (list, watch, ...)  → state
//	                          └────→ kubelet   (/metrics/resource) → ingest
//	kubectl top → apiserver → (SetMetricsAPI) → metricsapi
//
// Promised: with the same options, seed and epoch, and the same directory (Options.Dir), a cluster that is stopped and
// started again has the same objects, with the same UIDs and start times, and its counters go on as if it had never
// been away; what was changed in between is as it was first, under new resource versions. A call from Go does exactly
// what it says and nothing else; only requests over the wire are followed by what controllers, a scheduler and kubelets
// would do about them.
//
// See packages apiserver, kubelet, identity and fault for the parts.
package sim
