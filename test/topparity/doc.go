// Package topparity proves that Headwater answers the Metrics API as metrics-server does, against the real one.
//
//	                  /-> metrics-server                                -> Metrics API \
//	played kubelets -<                                                                  > compared, item by item
//	                  \-> ingest -> nats-server -> metricsapi (and state) -> Metrics API /
//
// Both read the same played kubelets behind one real control plane. Time goes in rounds: in each, a kubelet gives its
// reading to each of the two once, and holds back who comes again before the next one; so both see the same readings in
// the same order, and when both have them all, their answers have to be equal, but for the time of the answer and the
// order of containers. What happens in which round is a script (script_test.go), and random for some pods.
//
// What may differ is in testdata/differences.txt, a line each, with the reason. The script says where each is expected,
// and how both sides then answer; a line that nothing needs is an error.
//
// make parity runs it, and builds what it needs first.
package topparity
