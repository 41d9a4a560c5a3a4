// Package debugpage shows, for people and for scripts, how the scraping of nodes goes, and why a pod has no metrics: the
// page /debug/nodes of the ingest and metricsapi services.
//
// In: a function of the service that makes a Page of what it knows at the moment. Out: an http.Handler that answers with
// HTML, or with JSON where the client accepts that and not HTML, or asks by ?format=json.
//
//	/debug/nodes                       all nodes, those with the worst trouble first
//	/debug/nodes?node=NAME             one node, with all that its samples lack
//	/debug/nodes?pod=NAMESPACE/NAME    one pod: each rule that decides whether it has metrics, in order
//	/debug/nodes?limit=N&offset=M      the next part of the list; at most 5,000 at once
//
// What is shown comes from kubelets and clients, and so may be hostile: it is escaped, cut, and never more than the limit.
package debugpage
