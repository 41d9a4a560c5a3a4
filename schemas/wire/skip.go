package wire

import "fmt"

// Skip steps over the next value, whatever it is and however deep. It does not recurse: it counts the values that are
// still to come, so its cost is that of the bytes it passes. An error leaves the Reader where it was.
func (r *Reader) Skip() error {
	b, i := r.b, r.i
	for todo := uint64(1); todo > 0; todo-- {
		if i >= len(b) {
			return fmt.Errorf("%w: the value at byte %d is cut off at byte %d", ErrMalformed, r.i, len(b))
		}
		c := b[i]
		if e := extents[c]; e != 0 {
			i += int(e & 0xff)
			todo += uint64(e >> 8)
			continue
		}
		width := lengthBytes(c)
		i++
		if width > len(b)-i {
			return fmt.Errorf("%w: the value at byte %d is cut off at byte %d", ErrMalformed, i-1, len(b))
		}
		size, values, ok := extent(c, b[i:i+width])
		if !ok {
			return fmt.Errorf("%w: byte %d begins nothing valid", ErrMalformed, i-1)
		}
		i += width
		if size > uint64(len(b)-i) || values > uint64(len(b)-i) {
			return fmt.Errorf("%w: the value before byte %d is longer than what is left", ErrMalformed, i)
		}
		i += int(size)
		todo += values
	}
	if i > len(b) {
		return fmt.Errorf("%w: the value at byte %d is cut off at byte %d", ErrMalformed, r.i, len(b))
	}
	r.i = i
	return nil
}

// extents has, for the codes that no length follows, the bytes of the value (code included) in the low byte and the
// number of its elements in the high byte; 0 for the others. Never written after it is built.
var extents = func() (t [256]uint16) {
	for c := range t {
		if size, values, ok := extent(byte(c), nil); ok && lengthBytes(byte(c)) == 0 {
			t[c] = uint16(1+size) | uint16(values)<<8
		}
	}
	return t
}()

// lengthBytes is how many bytes of length follow the code c.
func lengthBytes(c byte) int {
	switch c {
	case 0xc4, 0xc7, 0xd9:
		return 1
	case 0xc5, 0xc8, 0xda, 0xdc, 0xde:
		return 2
	case 0xc6, 0xc9, 0xdb, 0xdd, 0xdf:
		return 4
	}
	return 0
}

// extent tells what follows the code c and its length: size bytes that belong to the value itself, then values more
// values that are its elements. It is not ok for the one code that msgpack never uses.
func extent(c byte, length []byte) (size, values uint64, ok bool) {
	n := uint64(0)
	for _, d := range length {
		n = n<<8 | uint64(d)
	}
	switch {
	case c < 0x80 || c >= 0xe0:
		return 0, 0, true
	case c < 0x90:
		return 0, 2 * uint64(c&0xf), true
	case c < 0xa0:
		return 0, uint64(c & 0xf), true
	case c < 0xc0:
		return uint64(c & 0x1f), 0, true
	}
	switch c {
	case 0xc0, 0xc2, 0xc3:
		return 0, 0, true
	case 0xcc, 0xd0:
		return 1, 0, true
	case 0xcd, 0xd1:
		return 2, 0, true
	case 0xca, 0xce, 0xd2:
		return 4, 0, true
	case 0xcb, 0xcf, 0xd3:
		return 8, 0, true
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return 1 + 1<<(c-0xd4), 0, true
	case 0xc4, 0xc5, 0xc6, 0xd9, 0xda, 0xdb:
		return n, 0, true
	case 0xc7, 0xc8, 0xc9: // the type of the extension is a byte more
		return n + 1, 0, true
	case 0xdc, 0xdd:
		return 0, n, true
	case 0xde, 0xdf:
		return 0, 2 * n, true
	}
	return 0, 0, false
}
