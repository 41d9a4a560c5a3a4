package exposition

import (
	"hash/maphash"
	"sync"
)

// hash is that of the lines that an object has of a family; zero for none. It tells whether they changed. 6 bytes are
// enough: at 10,000 changes a second, one goes unnoticed in 400 years.
type hash [6]byte

// column is the hashes of a family, a row an object.
type column [slots]hash

// hashes are those of the families of one object; nil are those of an object that is gone.
type hashes []hash

var hashPool = sync.Pool{New: func() any { return new(hashes) }}

// of is the hash of family i.
func (h hashes) of(i int) hash {
	if h == nil {
		return hash{}
	}
	return h[i]
}

// set works out the hashes of an object's lines.
func (h *hashes) set(seed maphash.Seed, text []byte, ends []int) {
	all, start := (*h)[:0], 0
	for _, end := range ends {
		var v hash
		if end > start {
			sum := maphash.Bytes(seed, text[start:end])
			v = hash{byte(sum) | 1, byte(sum >> 8), byte(sum >> 16), byte(sum >> 24), byte(sum >> 32), byte(sum >> 40)}
		}
		all = append(all, v)
		start = end
	}
	*h = all
}
