// Package collector turns Kubernetes objects into series, as kube-state-metrics does.
//
// What flows in: one object as the msgpack map of an object change. What flows out: its sample lines, family by family,
// in the text that both exposition formats share.
//
//	object --Decoder--> the kind's trimmed struct --one function a family--> lines
//
// Promised: a family is a pure function of the object and of the options, so that the same object always gives the same
// bytes; names, labels, values and types are those of kube-state-metrics 2.20; where it would panic, the series is left
// out and counted; no object makes a renderer panic.
//
// A kind is a file: the struct with the fields that its families read, and the table of its families. A family is added by
// one function and one line of the table; a kind by its file and one line of Kinds.
package collector
