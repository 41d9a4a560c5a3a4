// Package server is the exporter: it replays the log of objects and the usage stream, and answers Prometheus.
//
//	OBJECTS -> replay -> collector: object to lines -> exposition: lines to pages --\
//	                                                                                 +-> /metrics
//	USAGE   -> replay -> usage: newest sample of each node --------------------------/
//
// What flows in: object changes and usage samples; flags, configuration files, and the StatefulSet that the exporter's pod is
// in. What flows out: /metrics, in Prometheus text or OpenMetrics, plain or gzip.
//
// What is exported is worked out once into an edition: the options, what they make of each kind, a replay and its view. A
// change of the files or of the shard makes another edition:
//
//	flags --+
//	files --+-> settings -> edition: catalog, replay, view --- whole, and as far as the one in service ---> in service
//	shard --+
//
// Promised: /metrics answers from whole views only, 503 with the reason until the first is whole, and never after it; a view
// that is built anew, because what is exported has changed, or because the stream was recreated or went back, is built beside
// the one in service and takes its place when it is whole; when what is exported changes, no object is seen to go back to an
// older state; files that can't be used change nothing and are told of; an event that can't be read is counted and logged
// once, and changes nothing else; a client that reads slowly holds up nobody and is cut off after the write time-out.
package server
