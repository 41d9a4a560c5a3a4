// Package api serves the Metrics API (metrics.k8s.io, v1beta1 and v1) from two views that it replays from the streams:
//
//	K8S_<cluster>_USAGE    -> view.Usage                 what every container and node uses, as of its last scrape
//	                          reports                    why a node has none, and what was dropped of its kubelet's answer
//	K8S_<cluster>_OBJECTS  -> view.Objects[node], [pod]  which nodes and running pods there are, and their labels
//
// What flows in: usage samples and object changes, through internal/stream. What flows out: NodeMetrics and PodMetrics,
// over HTTPS, through the Kubernetes API server library: delegated authentication and authorization, discovery, OpenAPI,
// JSON, YAML, protobuf, Table.
//
// Promised:
//
//   - A request is answered as metrics-server answers it, its error texts included, wherever there is data.
//   - Neither resource is ever answered from a half-built view. Until both replays are whole, get and list say 503 with
//     the reason and Retry-After, which client-go obeys by itself; so do they when the streams have not been heard for so
//     long that no sample can be true any more. Discovery, OpenAPI and the probes answer from the start: a discovery
//     that fails breaks far more than metrics (namespace deletion, kubectl), and the aggregation layer takes an APIService
//     out of service by it.
//   - Usage is served under the labels of the pod that it is of: never an old pod's under those of a new one with the
//     same name, nor what one node says about another's pods.
//   - A sample older than --max-sample-age is absent, as the API has it for what isn't known.
//
// Whoever wonders why a node or a pod has no metrics is told by /debug/nodes, rule by rule.
//
// With --enable-watch, both resources can be watched, too, and answers have a resourceVersion, which all replicas understand. A
// watch is a cursor into the order in which answers last changed (view.Changes): who reads slowly is told less, and newer. It
// costs nothing where it is off.
//
// Requests put no load on the Kubernetes API server but for authentication and authorization, and none on kubelets.
package api
