// Package parity proves that Headwater exports what kube-state-metrics does, against the real one.
//
// On a cluster: the real control plane, the real kube-state-metrics and Headwater's state and exporter see the same
// objects of all kinds through their lives, under a matrix of flags, and both answers are compared series by series.
//
//	kube-apiserver -> kube-state-metrics              -> /metrics \
//	              \-> state -> nats-server -> exporter -> /metrics -> compared as (name, labels) -> value, and types
//
// Without one: random objects go through kube-state-metrics' own generators (the program oracle, in the pins) and through
// "exporter render".
//
// What may differ is written in testdata/differences.txt, a line each, with the reason: the release that can be built is
// older than the one that Headwater follows. A line that nothing needs is an error. Of those families the oracle knows
// the newer form, so that they are compared all the same.
//
// make parity runs all of it, and builds what it needs first.
package parity
