// Package objects knows the Kubernetes objects that Headwater carries: which kinds there are, what of them never leaves
// the watcher, and how they are written to and read from the wire.
//
// In: objects as client-go decodes them (typed, or unstructured for custom resources). Out: one msgpack map an object,
// with the API's own JSON field names in sorted order, and back into whatever struct a consumer declares.
//
//	object          --Encoder[kind]-->  msgpack map, pruned         (state, exporter render)
//	msgpack map     --Decoder[T]---->   T, the fields it names      (exporter, metricsapi, ingest)
//
// Promised: what Kinds' prune table names is never encoded, not even into a buffer; the rest decodes to what
// encoding/json would have written; the same object gives the same bytes, whether it came as a typed or as an
// unstructured one from the same JSON; no input makes a decoder panic or allocate more than a small multiple of its size.
package objects
