package watcher

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/s2"
)

// kept is a message as the book keeps it: the header as it is, which is all that is needed of it nearly always, and the
// rest packed. It is never changed once it is made, and two that are the same pointer are the same message.
type kept struct {
	bytes  []byte   // the header, and behind it the rest, an s2 block; or the message as it is, if this has its size
	header int32    // bytes of the header
	size   int32    // bytes of the whole message
	dict   *s2.Dict // that the rest is packed with; nil for none
}

// len is how many bytes the message has; 0 for none.
func (k *kept) len() int {
	if k == nil {
		return 0
	}
	return int(k.size)
}

// head reads the header.
func (k *kept) head() header {
	h, _ := message(k.bytes).head() // it was read before
	return h
}

// same tells whether both say the same of an object: nothing, or the same state of the same object, written as the same
// version of its kind writes it.
func (k *kept) same(other *kept) bool {
	if k == other || k == nil || other == nil {
		return k == other
	}
	a, b := k.head(), other.head()
	return a.uid == b.uid && a.rv == b.rv && a.version == b.version && a.kind == b.kind
}

// message is the whole message.
func (k *kept) message() message { return k.append(make([]byte, 0, k.size)) }

// append appends the whole message.
func (k *kept) append(b []byte) []byte {
	if len(k.bytes) == int(k.size) {
		return append(b, k.bytes...)
	}
	rest := int(k.size - k.header)
	b = slices.Grow(append(b, k.bytes[:k.header]...), rest)
	to := b[len(b):]
	// What was packed here can be unpacked.
	if k.dict != nil {
		_, _ = k.dict.Decode(to, k.bytes[k.header:])
	} else {
		_, _ = s2.Decode(to, k.bytes[k.header:])
	}
	return b[:len(b)+rest]
}

// dictionaryBytes is how much of a kind's first messages is its dictionary.
const dictionaryBytes = 32 << 10

// packer packs the messages of one kind. Objects of a kind are alike, so what the first of them have in common isn't kept
// of the others: they take a sixth. It may be used by several goroutines at once.
type packer struct {
	dict atomic.Pointer[s2.Dict]

	mu     sync.Mutex
	sample []byte // of what becomes the dictionary
}

// keep packs a message. Errors are those of its header.
func (p *packer) keep(m message) (*kept, error) {
	h, err := m.head()
	if err != nil {
		return nil, err
	}
	return p.pack(m, h), nil
}

// pack packs a message with this header. Nothing is kept of m itself.
func (p *packer) pack(m message, h header) *kept {
	rest := m[h.length:]
	k := &kept{header: int32(h.length), size: int32(len(m))}
	if len(rest) <= s2.MaxDictSrcOffset { // no further does a dictionary reach
		if k.dict = p.dict.Load(); k.dict == nil {
			p.learn(rest)
		}
	}
	room := packRoom.Get().(*[]byte)
	defer packRoom.Put(room)
	if n := s2.MaxEncodedLen(len(rest)); cap(*room) < n {
		*room = make([]byte, n)
	}
	var packed []byte
	if k.dict != nil {
		packed = k.dict.Encode((*room)[:cap(*room)], rest)
	} else {
		packed = s2.Encode((*room)[:cap(*room)], rest)
	}
	k.bytes = append(append(make([]byte, 0, h.length+len(packed)), m[:h.length]...), packed...)
	if _, err := message(k.bytes).head(); err != nil || len(packed) >= len(rest) {
		k.bytes = bytes.Clone(m) // nothing is gained, or the message claims more fields than it has bytes now
	}
	return k
}

// packRoom has what messages are packed into.
var packRoom = sync.Pool{New: func() any { return new([]byte) }}

// learn takes a message for the dictionary, while there is none.
func (p *packer) learn(rest []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dict.Load() != nil {
		return
	}
	p.sample = append(p.sample, rest...)
	if len(p.sample) >= dictionaryBytes {
		p.dict.Store(s2.MakeDict(p.sample, nil))
		p.sample = nil
	}
}
