package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Reader reads the values of a message one after the other. It is a cursor: an error leaves it where it was, so that
// the caller can look at the value (Peek) or step over it (Skip). The zero Reader is at the end of an empty message.
// It must not be used by two goroutines at once.
type Reader struct {
	b []byte
	i int
}

// NewReader reads b, which must not change while the Reader is used. What StringBytes, Bytes and Raw return are parts of b.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Len is the number of bytes that are left.
func (r *Reader) Len() int { return len(r.b) - r.i }

// Offset is the number of bytes that were read.
func (r *Reader) Offset() int { return r.i }

// Peek tells the kind of the next value without reading it; None at the end.
func (r *Reader) Peek() Kind {
	if r.i >= len(r.b) {
		return None
	}
	return kindOf(r.b[r.i])
}

// Nil reads a nil if the next value is one, and tells whether it was. Anything else stays unread.
func (r *Reader) Nil() bool {
	if r.i < len(r.b) && r.b[r.i] == 0xc0 {
		r.i++
		return true
	}
	return false
}

// fail says what was wanted and what there is.
func (r *Reader) fail(want Kind) error {
	if r.i >= len(r.b) {
		return fmt.Errorf("%w: it ends at byte %d, where %v should be", ErrMalformed, r.i, want)
	}
	if k := kindOf(r.b[r.i]); k != want {
		return fmt.Errorf("%w: byte %d should begin %v, but begins %v", ErrMalformed, r.i, want, k)
	}
	return fmt.Errorf("%w: %v at byte %d is cut off, too long or out of range", ErrMalformed, want, r.i)
}

// head reads the big-endian number of n bytes (1, 2, 4 or 8) that follows the code byte, without moving.
func (r *Reader) head(n int) (v uint64, ok bool) {
	b := r.b[r.i+1:]
	if len(b) < n {
		return 0, false
	}
	switch n {
	case 1:
		return uint64(b[0]), true
	case 2:
		return uint64(binary.BigEndian.Uint16(b)), true
	case 4:
		return uint64(binary.BigEndian.Uint32(b)), true
	}
	return binary.BigEndian.Uint64(b), true
}

// ArrayLen reads the head of an array and returns the number of its elements, which is at most the number of bytes left.
func (r *Reader) ArrayLen() (int, error) {
	if r.i < len(r.b) {
		if n := int(r.b[r.i] ^ 0x90); n < 16 && n < len(r.b)-r.i {
			r.i++
			return n, nil
		}
	}
	return r.longArrayLen()
}

func (r *Reader) longArrayLen() (int, error) {
	return r.containerLen(0xdc, 1, Array)
}

// MapLen reads the head of a map and returns the number of its pairs, which is at most half the number of bytes left.
func (r *Reader) MapLen() (int, error) {
	if r.i < len(r.b) {
		if n := int(r.b[r.i] ^ 0x80); n < 16 && 2*n < len(r.b)-r.i {
			r.i++
			return n, nil
		}
	}
	return r.longMapLen()
}

func (r *Reader) longMapLen() (int, error) {
	return r.containerLen(0xde, 2, Map)
}

// containerLen reads the head of a container in its 16-bit form (code) or 32-bit form (code+1), each of whose entries
// takes at least size bytes.
func (r *Reader) containerLen(code byte, size uint64, want Kind) (int, error) {
	width := 0
	if r.i < len(r.b) {
		switch r.b[r.i] {
		case code:
			width = 2
		case code + 1:
			width = 4
		}
	}
	if width == 0 {
		return 0, r.fail(want)
	}
	n, ok := r.head(width)
	if !ok || n*size > uint64(len(r.b)-r.i-1-width) {
		return 0, r.fail(want)
	}
	r.i += 1 + width
	return int(n), nil
}

// String reads a string and returns a copy of it.
func (r *Reader) String() (string, error) {
	b, err := r.StringBytes()
	return string(b), err
}

// StringBytes reads a string and returns its bytes within the message.
func (r *Reader) StringBytes() ([]byte, error) {
	if r.i < len(r.b) {
		if n := int(r.b[r.i] ^ 0xa0); n < 32 && n < len(r.b)-r.i {
			start := r.i + 1
			r.i = start + n
			return r.b[start:r.i:r.i], nil
		}
	}
	return r.longString()
}

func (r *Reader) longString() ([]byte, error) {
	return r.block(0xd9, String)
}

// Bytes reads binary and returns its bytes within the message.
func (r *Reader) Bytes() ([]byte, error) {
	return r.block(0xc4, Binary)
}

// block reads a value that is a length and that many bytes, whose 8-, 16- and 32-bit forms are code, code+1 and code+2.
func (r *Reader) block(code byte, want Kind) ([]byte, error) {
	width := 0
	if r.i < len(r.b) {
		switch r.b[r.i] {
		case code:
			width = 1
		case code + 1:
			width = 2
		case code + 2:
			width = 4
		}
	}
	if width == 0 {
		return nil, r.fail(want)
	}
	n, ok := r.head(width)
	if !ok || n > uint64(len(r.b)-r.i-1-width) {
		return nil, r.fail(want)
	}
	start := r.i + 1 + width
	r.i = start + int(n)
	return r.b[start:r.i:r.i], nil
}

// Uint reads an integer of any form that is not negative.
func (r *Reader) Uint() (uint64, error) {
	if i := r.i; i < len(r.b) {
		if c := r.b[i]; c < 0x80 {
			r.i = i + 1
			return uint64(c), nil
		} else if c == 0xcf && i+9 <= len(r.b) {
			r.i = i + 9
			return binary.BigEndian.Uint64(r.b[i+1:]), nil
		}
	}
	v, negative, err := r.integer()
	if err == nil && negative {
		return 0, fmt.Errorf("%w: the integer before byte %d is negative", ErrMalformed, r.i)
	}
	return v, err
}

// Int reads an integer of any form that fits an int64.
func (r *Reader) Int() (int64, error) {
	if i := r.i; i < len(r.b) {
		if c := r.b[i]; c < 0x80 {
			r.i = i + 1
			return int64(c), nil
		} else if c == 0xcf && i+9 <= len(r.b) && r.b[i+1] < 0x80 {
			r.i = i + 9
			return int64(binary.BigEndian.Uint64(r.b[i+1:])), nil
		}
	}
	v, negative, err := r.integer()
	if err == nil && !negative && v > math.MaxInt64 {
		return 0, fmt.Errorf("%w: the integer before byte %d is greater than 2^63-1", ErrMalformed, r.i)
	}
	return int64(v), err
}

// integer reads an integer; a negative one as its two's complement.
func (r *Reader) integer() (v uint64, negative bool, err error) {
	if r.i >= len(r.b) {
		return 0, false, r.fail(Int)
	}
	c := r.b[r.i]
	if c < 0x80 || c >= 0xe0 {
		r.i++
		return uint64(int8(c)), c >= 0xe0, nil
	}
	if c < 0xcc || c > 0xd3 {
		return 0, false, r.fail(Int)
	}
	width := 1 << (c & 3)
	v, ok := r.head(width)
	if !ok {
		return 0, false, r.fail(Int)
	}
	r.i += 1 + width
	if c < 0xd0 {
		return v, false, nil
	}
	shift := 64 - 8*width
	s := int64(v<<shift) >> shift
	return uint64(s), s < 0, nil
}

// Float reads a float of either width, or an integer.
func (r *Reader) Float() (float64, error) {
	if r.Peek() == Int {
		v, negative, err := r.integer()
		if negative {
			return float64(int64(v)), err
		}
		return float64(v), err
	}
	if r.Peek() != Float {
		return 0, r.fail(Float)
	}
	width := 4
	if r.b[r.i] == 0xcb {
		width = 8
	}
	v, ok := r.head(width)
	if !ok {
		return 0, r.fail(Float)
	}
	r.i += 1 + width
	if width == 4 {
		return float64(math.Float32frombits(uint32(v))), nil
	}
	return math.Float64frombits(v), nil
}

// Bool reads a boolean.
func (r *Reader) Bool() (bool, error) {
	if r.i < len(r.b) && r.b[r.i]|1 == 0xc3 {
		r.i++
		return r.b[r.i-1] == 0xc3, nil
	}
	return false, r.fail(Bool)
}

// Raw reads the next value, whatever it is, and returns its bytes within the message.
func (r *Reader) Raw() ([]byte, error) {
	start := r.i
	if err := r.Skip(); err != nil {
		return nil, err
	}
	return r.b[start:r.i:r.i], nil
}
