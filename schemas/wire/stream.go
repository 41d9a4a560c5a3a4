package wire

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// growth is how many bytes ReadValue takes memory for before it has seen them.
const growth = 64 << 10

// lookahead is how far ReadValue looks for the end of a value that is in memory already.
const lookahead = 8 << 10

// ReadValue reads one value from r, not a byte more, and appends its bytes to b. It takes memory as bytes arrive, never
// because a length claims that many will come, and it does not recurse. At the very end of r the error is io.EOF itself;
// an end within the value wraps ErrMalformed, as does a byte that begins nothing valid; other errors are r's.
func ReadValue(r io.Reader, b []byte) ([]byte, error) {
	start := len(b)
	if m, ok := r.(*bytes.Reader); ok {
		if b, ok = fromMemory(m, b); ok {
			return b, nil
		}
	}
	bytewise, ok := r.(io.ByteReader)
	if !ok {
		bytewise = &oneByte{r: r}
	}
	for todo := uint64(1); todo > 0; todo-- {
		at := len(b)
		c, err := bytewise.ReadByte()
		if err != nil {
			if at > start {
				err = within(err, at-start)
			}
			return b, err
		}
		b = append(b, c)
		if c < 0x80 || c >= 0xe0 {
			continue
		}
		if b, err = fill(r, b, uint64(lengthBytes(c))); err != nil {
			return b, within(err, at-start)
		}
		size, values, ok := extent(c, b[at+1:])
		if !ok {
			return b, fmt.Errorf("%w: byte %d begins nothing valid", ErrMalformed, at-start)
		}
		if b, err = fill(r, b, size); err != nil {
			return b, within(err, at-start)
		}
		todo += values
	}
	return b, nil
}

// fromMemory is ReadValue where it is easy: r has its bytes in memory and the value is small. Else it does nothing.
func fromMemory(r *bytes.Reader, b []byte) ([]byte, bool) {
	start, n := len(b), min(r.Len(), lookahead)
	b = slices.Grow(b, n)[:start+n]
	r.ReadAt(b[start:], r.Size()-int64(r.Len()))
	cursor := NewReader(b[start:])
	if cursor.Skip() != nil {
		return b[:start], false
	}
	r.Seek(int64(cursor.Offset()), io.SeekCurrent)
	return b[:start+cursor.Offset()], true
}

// within turns the end of the stream into the error that it is in the middle of a value.
func within(err error, at int) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: the value at byte %d is cut off", ErrMalformed, at)
	}
	return err
}

// fill appends the next n bytes of r to b.
func fill(r io.Reader, b []byte, n uint64) ([]byte, error) {
	for n > 0 {
		step := int(min(n, growth))
		end := len(b)
		b = slices.Grow(b, step)[:end+step]
		got, err := io.ReadFull(r, b[end:])
		if err != nil {
			return b[:end+got], err
		}
		n -= uint64(step)
	}
	return b, nil
}

// oneByte makes an io.ByteReader of a reader that is none.
type oneByte struct {
	r io.Reader
	b [1]byte
}

func (o *oneByte) ReadByte() (byte, error) {
	_, err := io.ReadFull(o.r, o.b[:])
	return o.b[0], err
}
