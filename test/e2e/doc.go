// Package e2e shows Headwater on a real control plane: real kube-apiserver with its aggregation layer, real controllers,
// real kubectl, real Prometheus, a real nats-server, and Headwater's own binaries as processes of their own, which the
// scenarios kill. Only nodes and containers are played (package cluster), because the truth must be known.
//
// The tests share one world, and each puts back what it changed; those in TestUsageSide run at the same time, on a cluster of
// their own. Run them with make e2e.
package e2e
