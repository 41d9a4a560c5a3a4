package exposition

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// Page is the lines of one family for some objects, packed. It is immutable.
type Page struct {
	data   []byte // a deflate stream that is flushed to a byte but not ended, and behind it the lineCounts of the rows
	packed uint32 // bytes of the stream
	crc    uint32 // of the lines
	shift  uint32 // crcShift(size)
	size   int    // of the lines, unpacked
}

// Size is the number of bytes of the page's lines.
func (p *Page) Size() int { return p.size }

// Packed is the number of bytes that the page takes in a gzip answer.
func (p *Page) Packed() int { return int(p.packed) }

func (p *Page) stream() []byte { return p.data[:p.packed] }
func (p *Page) counts() []byte { return p.data[p.packed:] }

// packer makes pages and reads them back. It is not safe for concurrent use; take one from packers.
type packer struct {
	unpacker
	deflate *flate.Writer
	out     bytes.Buffer

	// scratch of block.merge
	text    []byte
	old     []byte
	counts  []byte
	latest  []int32  // of each family and row: 1 + the index of the newest lines among pieces, or 0; empty between merges
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

// pack makes a page of text; counts are the lineCounts of its rows. Both are copied. No text makes no page.
func (k *packer) pack(text, counts []byte) *Page {
	if len(text) == 0 {
		return nil
	}
	k.out.Reset()
	k.deflate.Reset(&k.out)
	k.deflate.Write(text) // writes to memory: it can't fail
	k.deflate.Flush()
	n := k.out.Len()
	data := make([]byte, n+len(counts))
	copy(data, k.out.Bytes())
	copy(data[n:], counts)
	return &Page{data: data, packed: uint32(n), size: len(text), crc: crc32.ChecksumIEEE(text), shift: crcShift(len(text))}
}

// unpack appends the page's lines to b.
func (k *unpacker) unpack(b []byte, p *Page) ([]byte, error) {
	start := len(b)
	if need := start + p.size; need > cap(b) {
		b = append(make([]byte, 0, need+need/4), b...)
	}
	b = b[:start+p.size]
	k.in.Reset(p.stream())
	if err := k.inflate.(flate.Resetter).Reset(&k.in, nil); err != nil {
		return b[:start], err
	}
	if _, err := io.ReadFull(k.inflate, b[start:]); err != nil {
		return b[:start], fmt.Errorf("couldn't unpack a page: %w", err)
	}
	return b, nil
}

// Pack makes a page of lines that belong together.
func Pack(text []byte) *Page {
	k := packers.Get().(*packer)
	defer packers.Put(k)
	return k.pack(text, nil)
}
