package wire

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// dumpDepth is how deep Dump prints containers within containers; deeper ones are printed as "...".
const dumpDepth = 64

// Dump prints msgpack as a tree for people, one value a line: the elements of an array with their positions, which are
// those of SPEC.md, the pairs of a map with their keys, strings quoted, binary and extensions in hexadecimal. raw is any
// number of values, one after the other; what cannot be read ends the dump with an error that wraps ErrMalformed.
func Dump(w io.Writer, raw []byte) error {
	d := dumper{r: NewReader(raw), w: bufio.NewWriter(w)}
	for d.r.Len() > 0 {
		if err := d.value(0); err != nil {
			d.w.Flush()
			return err
		}
	}
	return d.w.Flush()
}

type dumper struct {
	r Reader
	w *bufio.Writer
}

// value prints the next value on what is left of the current line, and its elements on lines of their own.
func (d *dumper) value(depth int) error {
	switch kind := d.r.Peek(); kind {
	case Array, Map:
		return d.container(kind, depth)
	case Nil:
		d.r.Nil()
		d.w.WriteString("nil\n")
	case Bool:
		v, _ := d.r.Bool()
		fmt.Fprintln(d.w, v)
	case String:
		v, err := d.r.StringBytes()
		if err != nil {
			return err
		}
		fmt.Fprintf(d.w, "%q\n", v)
	case Int:
		v, negative, err := d.r.integer()
		if err != nil {
			return err
		}
		if negative {
			fmt.Fprintln(d.w, int64(v))
		} else {
			fmt.Fprintln(d.w, v)
		}
	case Float:
		v, err := d.r.Float()
		if err != nil {
			return err
		}
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if v == math.Trunc(v) && !strings.ContainsAny(s, "eIN") {
			s += ".0"
		}
		fmt.Fprintln(d.w, s)
	case Binary:
		v, err := d.r.Bytes()
		if err != nil {
			return err
		}
		fmt.Fprintf(d.w, "binary %x\n", v)
	default:
		v, err := d.r.Raw()
		if err != nil {
			return err
		}
		fmt.Fprintf(d.w, "extension %x\n", v)
	}
	return nil
}

func (d *dumper) container(kind Kind, depth int) error {
	if depth == dumpDepth {
		d.w.WriteString("...\n")
		return d.r.Skip()
	}
	n, err := 0, error(nil)
	if kind == Array {
		n, err = d.r.ArrayLen()
		if err == nil {
			fmt.Fprintf(d.w, "array of %d\n", n)
		}
	} else {
		n, err = d.r.MapLen()
		if err == nil {
			fmt.Fprintf(d.w, "map of %d\n", n)
		}
	}
	if err != nil {
		return err
	}
	for i := range n {
		for range depth + 1 {
			d.w.WriteString("  ")
		}
		if kind == Array {
			fmt.Fprintf(d.w, "%d: ", i)
		} else if err := d.key(); err != nil {
			return err
		}
		if err := d.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// key prints the key of a pair, which is a string in every map of ours; another one is printed by its bytes.
func (d *dumper) key() error {
	if d.r.Peek() == String {
		v, err := d.r.StringBytes()
		if err == nil {
			fmt.Fprintf(d.w, "%q: ", v)
		}
		return err
	}
	v, err := d.r.Raw()
	if err == nil {
		fmt.Fprintf(d.w, "<%x>: ", v)
	}
	return err
}
