package exposition

import (
	"bytes"
	"encoding/binary"
)

var newline = []byte{'\n'}

// lineCounts reads or writes how many lines each row of a page has: as runs, of a count and how often it repeats, both
// as uvarints. Most objects of a resource have the same number of lines of a family, so a run or two is all.
type lineCounts struct {
	packed        []byte // what remains to be read
	count, repeat int    // the run that is being read or written
}

// next yields the count of the next row; 0 beyond those that were written.
func (c *lineCounts) next() int {
	if c.repeat == 0 {
		if c.count = c.uvarint(); len(c.packed) == 0 {
			return 0
		}
		c.repeat = c.uvarint()
	}
	c.repeat--
	return c.count
}

func (c *lineCounts) uvarint() int {
	n, size := binary.Uvarint(c.packed)
	c.packed = c.packed[max(size, 0):]
	return int(n)
}

// append notes the count of the next row, which may stay in c until flush.
func (c *lineCounts) append(b []byte, count int) []byte {
	if c.repeat > 0 && count != c.count {
		b = c.flush(b)
	}
	c.count = count
	c.repeat++
	return b
}

// flush writes the run that has ended.
func (c *lineCounts) flush(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(c.count))
	b = binary.AppendUvarint(b, uint64(c.repeat))
	c.repeat = 0
	return b
}

// lengthOf is how many bytes the first lines of text have, or as many as there are.
func lengthOf(text []byte, lines int) int {
	n := 0
	for range lines {
		end := bytes.IndexByte(text[n:], '\n')
		if end < 0 {
			return len(text)
		}
		n += end + 1
	}
	return n
}
