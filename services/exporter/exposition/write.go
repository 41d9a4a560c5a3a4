package exposition

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Answer is what a scrape gets: groups in one format.
type Answer struct {
	format   Format
	families []family
}

// family is a column of a group's pages, and those of the same name in later groups.
type family struct {
	header *Header
	head   *Page // the header in the format of the answer
	rows   [][]*Page
	column int
	more   []family
}

// NewAnswer makes an answer of the groups; Write and WriteGzip may be called any number of times. A family that several
// groups have is one block: it stands where the first has it, with that one's header, and the lines of all.
//
// No name is in OpenMetrics twice: a family that would take another's by being called without its suffix keeps the whole
// name, and gives up its type; so does one that groups have with several types.
func NewAnswer(format Format, groups []Group) *Answer {
	count := 0
	for i := range groups {
		count += len(groups[i].Families)
	}
	a := &Answer{format: format, families: make([]family, 0, count)}
	first := make(map[string]int, count)
	for _, g := range groups {
		for i, h := range g.Families {
			f := family{header: h, head: h.pages[format], rows: g.Pages, column: i}
			if at, known := first[h.Family.Name]; known {
				a.families[at].more = append(a.families[at].more, f)
				if one := a.families[at].header; one.full != nil && one.Family.Type != h.Family.Type && format == OpenMetrics {
					a.families[at].head = one.full
				}
				continue
			}
			first[h.Family.Name] = len(a.families)
			a.families = append(a.families, f)
		}
	}
	if format == OpenMetrics {
		a.keepApart(first)
	}
	return a
}

// keepApart gives families that would take a name of another one their full names. taken has the full names of all.
func (a *Answer) keepApart(taken map[string]int) {
	for i := range a.families {
		f := &a.families[i]
		if f.header.short == nil || f.head == f.header.full {
			continue
		}
		if slices.ContainsFunc(f.header.short, func(name string) bool { _, known := taken[name]; return known }) {
			f.head = f.header.full
			continue
		}
		for _, name := range f.header.short {
			taken[name] = i
		}
	}
}

// pages yields the pages of the answer in their order.
func (a *Answer) pages(yield func(*Page) bool) {
	for i := range a.families {
		f := &a.families[i]
		if !yield(f.head) || !f.lines(yield) {
			return
		}
		for j := range f.more {
			if !f.more[j].lines(yield) {
				return
			}
		}
	}
	if a.format == OpenMetrics {
		yield(endOfMetrics())
	}
}

// lines yields the pages of the column; false where it was told to stop.
func (f *family) lines(yield func(*Page) bool) bool {
	for _, row := range f.rows {
		if p := row[f.column]; p != nil && !yield(p) {
			return false
		}
	}
	return true
}

// endOfMetrics is the page of the line that ends OpenMetrics.
var endOfMetrics = sync.OnceValue(func() *Page { return Pack([]byte("# EOF\n")) })

// Sizes tells how many bytes Write and WriteGzip will write.
func (a *Answer) Sizes() (plain, gzip int64) {
	gzip = int64(len(gzipHead) + len(gzipTail) + 8)
	for p := range a.pages {
		plain += int64(p.size)
		gzip += int64(p.packed)
	}
	return plain, gzip
}

// gzipHead begins a member: deflate, no name, no time, fastest, of unknown origin.
var gzipHead = [10]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}

// gzipTail is an empty block of deflate that says that it is the last.
var gzipTail = [2]byte{3, 0}

// WriteGzip writes the answer as one gzip member. All it does is copy pages, and combine their CRCs.
func (a *Answer) WriteGzip(w io.Writer) error {
	out := newBuffered(w)
	defer out.release()
	out.write(gzipHead[:])
	var crc, size uint32
	for p := range a.pages {
		crc = mulCRC(crc, p.shift) ^ p.crc
		size += uint32(p.size)
		if out.write(p.stream()); out.err != nil {
			return out.err
		}
	}
	out.write(gzipTail[:])
	var trailer [8]byte
	binary.LittleEndian.PutUint32(trailer[:4], crc)
	binary.LittleEndian.PutUint32(trailer[4:], size)
	out.write(trailer[:])
	return out.flush()
}

// Write writes the answer as it is.
func (a *Answer) Write(w io.Writer) error {
	out := newBuffered(w)
	defer out.release()
	k := unpackers.Get().(*unpacker)
	defer unpackers.Put(k)
	for p := range a.pages {
		if len(out.held)+p.size > cap(out.held) {
			if err := out.flush(); err != nil {
				return err
			}
		}
		var err error
		if out.held, err = k.unpack(out.held, p); err != nil {
			return fmt.Errorf("couldn't write an answer: %w", err)
		}
	}
	return out.flush()
}

// buffered gathers small writes.
type buffered struct {
	w    io.Writer
	held []byte
	err  error
}

const bufferSize = 128 << 10

var buffers = sync.Pool{New: func() any { return &buffered{held: make([]byte, 0, bufferSize)} }}

func newBuffered(w io.Writer) *buffered {
	b := buffers.Get().(*buffered)
	b.w, b.held, b.err = w, b.held[:0], nil
	return b
}

func (b *buffered) write(data []byte) {
	if len(b.held)+len(data) > cap(b.held) {
		if b.flush(); len(data) > cap(b.held) {
			if b.err == nil {
				_, b.err = b.w.Write(data)
			}
			return
		}
	}
	b.held = append(b.held, data...)
}

func (b *buffered) flush() error {
	if b.err == nil && len(b.held) > 0 {
		_, b.err = b.w.Write(b.held)
	}
	b.held = b.held[:0]
	return b.err
}

func (b *buffered) release() {
	b.w = nil
	if cap(b.held) <= 8*bufferSize {
		buffers.Put(b)
	}
}
