// Package shard says which objects are an exporter's own where several exporters divide them: by a hash of the object's
// UID, or by the node that a pod is bound to.
//
// What flows in: UIDs, nodes' names, pods. What flows out: yes or no.
//
// Promised: the division is that of kube-state-metrics, object for object, so that shards of both may serve side by side;
// shards 0 to n-1 of n together have everything, and no two of them the same.
package shard

// Of returns which of total shards a key belongs to: the jump consistent hash of the FNV-1a hash of its bytes. The key of
// an object is its UID. One shard, or none, has everything.
func Of(key string, total int) int {
	return jump(fnv1a(key), total)
}

// fnv1a is the 64-bit hash of Fowler, Noll and Vo, without the allocation of hash/fnv.
func fnv1a(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h ^= uint64(key[i])
		h *= 1099511628211
	}
	return h
}

// jump is the jump consistent hash of Lamping and Veach ("A Fast, Minimal Memory, Consistent Hash Algorithm", 2014): when
// a bucket is added, 1/n of the keys move, all of them into it.
func jump(key uint64, buckets int) int {
	bucket, next := int64(0), int64(0)
	for next < int64(buckets) {
		bucket = next
		key = key*2862933555777941757 + 1
		next = int64(float64(bucket+1) * (float64(int64(1)<<31) / float64((key>>33)+1)))
	}
	return int(bucket)
}
