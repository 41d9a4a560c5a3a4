// Package apiserver is a small Kubernetes API server: a store of typed objects in memory, served over the wire.
//
// In: objects from Go (Store) and requests over HTTPS (Server): get, list, watch, create, update, patch, delete. Out: the
// answers that client-go and kubectl expect, in JSON, YAML, protobuf, as Table and as PartialObjectMetadata, with
// resource versions, bookmarks, streaming lists, paging, selectors, discovery and the reviews of delegated
// authentication; and requests for metrics.k8s.io handed on to whoever serves it.
//
//	(resource, namespace, name) → item{resourceVersion, protobuf}
//	resourceVersion → event{ADDED | MODIFIED | DELETED, item before, item after}
//
// Promised: one counter numbers all changes; a list is one moment of the whole resource; a watch from a version gives
// every change after it exactly once, in order, or says 410 Gone when that history is no longer kept. Nothing here knows
// what the objects mean: controllers and generators live in package sim.
//
// Objects are kept encoded, because a cluster of 150,000 pods is listed and watched in protobuf and hardly ever decoded.
package apiserver
