// Package yamlfile reads configuration files strictly, with errors that say where to look.
//
// What flows in: the text of a YAML file of one document. What flows out: a struct that is filled, and the lines of its
// fields.
//
// Promised: each error begins with file, line and field, as in
//
//	metrics.yaml:12: spec.resources[0].metrics[1].each.gauge.path: couldn't read "status" as a list
//
// and all errors of a file are told at once. A field that the struct doesn't have, a field that is given twice and a value
// of another type are errors. Anchors, aliases and merge keys (<<) work. No input makes it panic, run long or grow large.
package yamlfile
