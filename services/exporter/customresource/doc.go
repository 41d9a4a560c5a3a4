// Package customresource turns custom resources into series, as a configuration of Custom Resource State says.
//
// What flows in: the configuration (internal/customresource), and the objects of the kinds that it names, each as its msgpack
// map. What flows out: one collector.Resource for each kind, which the exporter serves like a built-in one.
//
// Promised: names, types, labels and values are those of kube-state-metrics, series of an object are in the order of their
// labels; where an object doesn't say enough for a series, the series is skipped and counted, and the others are written. An
// object has no series twice. Whatever the object holds, Prometheus can read the result: label names that come from an object
// are mended, and an object that would make an absurd amount of labels or of text is an error before it takes the memory for
// them. An error of the configuration names the file, the line and the field.
//
//	configuration -> Compile -> Set -> For(kind) -> collector.Resource -> Render(object) -> lines
//
// Paths are resolved against a tree of the whole object, which is decoded once for all families.
package customresource
