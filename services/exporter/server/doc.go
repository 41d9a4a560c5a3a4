// Package server is the exporter: it replays the log of objects and the usage stream, and answers Prometheus.
//
//	OBJECTS -> replay -> collector: object to lines -> exposition: lines to pages --\
//	                                                                                 +-> /metrics
//	USAGE   -> replay -> usage: newest sample of each node --------------------------/
//
// What flows in: object changes and usage samples. What flows out: /metrics, in Prometheus text or OpenMetrics, plain or
// gzip.
//
// Promised: /metrics answers from whole views only, 503 with the reason until then; a view that is built anew, because the
// stream was recreated or went back, is built beside the one in service and takes its place when it is whole; an event
// that can't be read is counted and logged once, and changes nothing else; a client that reads slowly holds up nobody and
// is cut off after the write time-out.
package server
