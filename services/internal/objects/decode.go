package objects

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// Decoder reads objects into a T: a struct that declares, with `json:"..."` tags, just the fields that its consumer wants.
// The keys that T doesn't name are stepped over undecoded.
//
// T's fields may be: string, bool, integers, floats; [Raw], [Time], [Quantity], [IntOrString], [Pairs]; structs, pointers, slices
// and maps with string keys of all of these; and `any` is not among them. The API's null, and an absent field, leave the zero value.
// A tag `objects:"intern"` beside the name makes equal strings (of a string, a slice or a map, its keys too) share
// their memory: worth it for what is kept and repeats, such as labels, phases and namespaces.
//
// A Decoder may be used by several goroutines at once.
type Decoder[T any] struct {
	prog *reader
	text texts
	err  error
}

// Option changes how a Decoder treats strings.
type Option func(*texts)

// Borrow makes all strings (but interned ones) part of the bytes given to Decode, instead of copies: nothing of the
// T may be kept beyond these bytes. For a consumer that renders an object at once and forgets it.
func Borrow() Option { return func(t *texts) { t.borrow = true } }

// NewDecoder compiles T. A T that can't be decoded into is reported by the first Decode.
func NewDecoder[T any](options ...Option) *Decoder[T] {
	d := &Decoder[T]{}
	for _, o := range options {
		o(&d.text)
	}
	c := readerCompiler{known: map[readerKey]*reader{}}
	d.prog, d.err = c.compile(reflect.TypeFor[T](), false)
	if c.interns {
		d.text.shared = newInterns()
	}
	return d
}

// Decode reads raw, one msgpack map, into *into, whose previous content is lost. An error (raw is cut off, or has another
// type somewhere than T declares) leaves *into partly filled. It wraps wire.ErrMalformed where the message is to blame.
func (d *Decoder[T]) Decode(raw []byte, into *T) error {
	if d.err != nil {
		return d.err
	}
	var zero T
	*into = zero
	r := wire.NewReader(raw)
	if err := d.prog.read(&r, unsafe.Pointer(into), &d.text, 0); err != nil {
		return fmt.Errorf("couldn't decode a %T: %w", zero, err)
	}
	if r.Len() > 0 {
		return fmt.Errorf("couldn't decode a %T: %w: %d bytes follow after it", zero, wire.ErrMalformed, r.Len())
	}
	return nil
}

// texts makes strings of the message's bytes.
type texts struct {
	borrow bool
	shared *interns // nil where T interns nothing
}

func (t *texts) plain(b []byte) string {
	if t.borrow {
		return alias(b)
	}
	return string(b)
}

// reader says how one Go type is filled.
type reader struct {
	op     readOp
	typ    reflect.Type
	elem   *reader
	size   uintptr
	fields []readerField  // of a struct, in the order of their names
	bits   int            // of a number
	arrays []reflect.Type // of a list: arrays of 0, 1, 2... of its elements
	intern bool
}

type readerField struct {
	name   string
	offset uintptr
	prog   *reader
}

type readOp uint8

const (
	readString readOp = iota
	readBool
	readInt
	readUint
	readFloat32
	readFloat64
	readRaw
	readTime
	readQuantity
	readIntOrString
	readPointer
	readStruct
	readSlice
	readStringMap   // map[string]string
	readQuantityMap // map[string]Quantity
	readPairs
	readMap
)

// maxDepth bounds the recursion of a T that contains itself.
const maxDepth = 256

type readerKey struct {
	typ    reflect.Type
	intern bool
}

type readerCompiler struct {
	known   map[readerKey]*reader
	interns bool // some field interns
}

var readSpecials = map[reflect.Type]readOp{
	reflect.TypeFor[Raw]():         readRaw,
	reflect.TypeFor[Time]():        readTime,
	reflect.TypeFor[Quantity]():    readQuantity,
	reflect.TypeFor[Pairs]():       readPairs,
	reflect.TypeFor[IntOrString](): readIntOrString,
}

func (c *readerCompiler) compile(t reflect.Type, intern bool) (*reader, error) {
	key := readerKey{t, intern}
	if p, ok := c.known[key]; ok {
		return p, nil
	}
	p := &reader{typ: t, intern: intern, size: t.Size()}
	c.known[key] = p
	c.interns = c.interns || intern
	if special, ok := readSpecials[t]; ok {
		p.op = special
		return p, nil
	}
	var err error
	switch t.Kind() {
	case reflect.String:
		p.op = readString
	case reflect.Bool:
		p.op = readBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.op, p.bits = readInt, t.Bits()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.op, p.bits = readUint, t.Bits()
	case reflect.Float32:
		p.op = readFloat32
	case reflect.Float64:
		p.op = readFloat64
	case reflect.Pointer:
		p.op = readPointer
		p.elem, err = c.compile(t.Elem(), intern)
	case reflect.Slice:
		p.op = readSlice
		for n := range 9 {
			p.arrays = append(p.arrays, reflect.ArrayOf(n, t.Elem()))
		}
		p.elem, err = c.compile(t.Elem(), intern)
	case reflect.Map:
		p.op = readMap
		if t.Key().Kind() != reflect.String {
			return nil, fmt.Errorf("couldn't make a decoder: the keys of %v aren't strings", t)
		}
		switch {
		case t.Elem() == reflect.TypeFor[Quantity]():
			p.op = readQuantityMap
		case t.Elem().Kind() == reflect.String:
			p.op = readStringMap
		}
		p.elem, err = c.compile(t.Elem(), intern)
	case reflect.Struct:
		p.op = readStruct
		if err = c.addFields(p, t, 0); err != nil {
			break
		}
		slices.SortFunc(p.fields, func(a, b readerField) int { return strings.Compare(a.name, b.name) })
		for i := 1; i < len(p.fields); i++ {
			if p.fields[i-1].name == p.fields[i].name {
				return nil, fmt.Errorf("couldn't make a decoder: %v has two fields named %q", t, p.fields[i].name)
			}
		}
	default:
		return nil, fmt.Errorf("couldn't make a decoder: a field of type %v isn't supported", t)
	}
	return p, err
}

func (c *readerCompiler) addFields(p *reader, t reflect.Type, offset uintptr) error {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct && readSpecials[f.Type] == 0 {
			if err := c.addFields(p, f.Type, offset+f.Offset); err != nil {
				return err
			}
			continue
		}
		if tag == "-" || name == "" || !f.IsExported() {
			continue // T may have fields of its own
		}
		prog, err := c.compile(f.Type, f.Tag.Get("objects") == "intern")
		if err != nil {
			return err
		}
		p.fields = append(p.fields, readerField{name: name, offset: offset + f.Offset, prog: prog})
	}
	return nil
}

func outOfRange(p *reader) error {
	return fmt.Errorf("%w: a number is out of the range of %v", wire.ErrMalformed, p.typ)
}

// wholeNumber reads an integer, also where it was written as a float.
func wholeNumber(r *wire.Reader) (int64, error) {
	if r.Peek() != wire.Float {
		return r.Int()
	}
	v, err := r.Float()
	if err == nil && (v != math.Trunc(v) || math.Abs(v) >= 1<<53) {
		return 0, fmt.Errorf("%w: %v isn't a whole number", wire.ErrMalformed, v)
	}
	return int64(v), err
}
