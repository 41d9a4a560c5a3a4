package exposition

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// Page is the lines of one family for some objects, packed. It is immutable.
type Page struct {
	packed  []byte // a deflate stream that is flushed to a byte but not ended
	lengths []byte // how many bytes of lines each slot has, as uvarints; it shares its memory with packed
	size    int    // of the lines, unpacked
	crc     uint32 // of the lines
	shift   uint32 // crcShift(size)
}

// Size is the number of bytes of the page's lines.
func (p *Page) Size() int { return p.size }

// Packed is the number of bytes that the page takes in a gzip answer.
func (p *Page) Packed() int { return len(p.packed) }

// packer makes pages and reads them back. It is not safe for concurrent use; take one from packers.
type packer struct {
	unpacker
	deflate *flate.Writer
	out     bytes.Buffer

	// scratch of block.merge
	text    []byte
	old     []byte
	lengths []byte
	latest  []int32  // of each family and slot: 1 + the index of the newest lines among pieces, or 0; empty between merges
	pieces  [][]byte // the lines of the edits
	touched []bool   // the families that edits touch
}

// level is the effort of deflate. Pages are small and their lines alike: more effort gains a few percent.
const level = flate.BestSpeed

var packers = sync.Pool{New: func() any {
	deflate, _ := flate.NewWriter(io.Discard, level) // it fails for an unknown level only
	return &packer{unpacker: unpacker{inflate: flate.NewReader(bytes.NewReader(nil))}, deflate: deflate}
}}

// unpacker reads pages back. It is not safe for concurrent use; take one from unpackers.
type unpacker struct {
	inflate io.ReadCloser
	in      bytes.Reader
}

var unpackers = sync.Pool{New: func() any { return &unpacker{inflate: flate.NewReader(bytes.NewReader(nil))} }}

// pack makes a page of text; lengths are those of its slots, as uvarints. Both are copied. No text makes no page.
func (k *packer) pack(text, lengths []byte) *Page {
	if len(text) == 0 {
		return nil
	}
	k.out.Reset()
	k.deflate.Reset(&k.out)
	k.deflate.Write(text) // writes to memory: it can't fail
	k.deflate.Flush()
	n := k.out.Len()
	held := make([]byte, n+len(lengths))
	copy(held, k.out.Bytes())
	copy(held[n:], lengths)
	return &Page{packed: held[:n:n], lengths: held[n:], size: len(text), crc: crc32.ChecksumIEEE(text), shift: crcShift(len(text))}
}

// unpack appends the page's lines to b.
func (k *unpacker) unpack(b []byte, p *Page) ([]byte, error) {
	start := len(b)
	if need := start + p.size; need > cap(b) {
		b = append(make([]byte, 0, need+need/4), b...)
	}
	b = b[:start+p.size]
	k.in.Reset(p.packed)
	if err := k.inflate.(flate.Resetter).Reset(&k.in, nil); err != nil {
		return b[:start], err
	}
	if _, err := io.ReadFull(k.inflate, b[start:]); err != nil {
		return b[:start], fmt.Errorf("couldn't unpack a page: %w", err)
	}
	return b, nil
}

// slotLengths yields the length of each slot in turn; 0 beyond those that the page has.
type slotLengths struct{ rest []byte }

func (l *slotLengths) next() int {
	n, size := binary.Uvarint(l.rest)
	if size <= 0 {
		return 0
	}
	l.rest = l.rest[size:]
	return int(n)
}

// Pack makes a page of lines that belong together.
func Pack(text []byte) *Page {
	k := packers.Get().(*packer)
	defer packers.Put(k)
	return k.pack(text, nil)
}
