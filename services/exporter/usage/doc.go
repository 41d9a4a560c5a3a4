// Package usage exports what containers, pods and nodes use, under the names of the kubelets' resource endpoint, and, where
// samples have more, under cAdvisor's and the kubelets' own.
//
// What flows in: usage samples, one a node and scrape. What flows out: series such as container_cpu_usage_seconds_total,
// each with the time at which the kubelet read the counter.
//
// The kubelet's endpoint speaks for one node, and Prometheus adds the node's name as a label of the target. This
// exporter speaks for all nodes at once, so every series says itself which node it is of: label node, behind the
// kubelet's own labels. Joins on namespace and pod are not affected, and a pod that is reported by two nodes, as a
// StatefulSet's may be while it moves, does not make two series of one name.
//
// Promised: the last sample of a node wins, but for one that comes after its successor; a node whose sample is older than
// the limit is left out; series are rendered once a sample and format, when a scrape first wants them.
package usage
