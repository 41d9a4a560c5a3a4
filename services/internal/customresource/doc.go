// Package customresource is the configuration of Custom Resource State: which fields of which custom resources become
// which series. The file is that of kube-state-metrics.
//
// What flows in: the file, as --custom-resource-state-config or --custom-resource-state-config-file gives it, and kubectl's
// names of resources. What flows out: the configuration, for the exporter, and the patterns of the kinds that it names, for
// the state service, which watches these.
//
// Promised: an error names the file, the line and the field. What a metric says is checked where it is compiled
// (exporter/customresource); here it is only read.
package customresource
