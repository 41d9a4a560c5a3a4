package objects

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/headwater-metrics/headwater/schemas/wire"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// program says how one Go type is written, with everything that reflection could tell worked out beforehand: offsets
// instead of field numbers, names already encoded, pruned fields gone.
type program struct {
	op     op
	typ    reflect.Type
	elem   *program       // of a pointer, list or map: what it holds
	size   uintptr        // of a list: the distance between elements
	count  int            // of an array: its length
	fields []fieldProgram // of a struct, in the order of their names
	konst  []byte         // of opConst: the encoded value
	drop   map[string]bool
}

type fieldProgram struct {
	name   string
	key    []byte // the name, encoded
	offset uintptr
	empty  *emptiness // nil: written always
	prog   *program
}

type op uint8

const (
	opString op = iota
	opBool
	opInt
	opInt8
	opInt16
	opInt32
	opInt64
	opUint
	opUint8
	opUint16
	opUint32
	opUint64
	opFloat64
	opPointer
	opStruct
	opSlice
	opArray
	opBytes       // []byte: base64
	opStringMap   // map[string]string
	opQuantityMap // map[string]resource.Quantity
	opMap         // any other map with string keys
	opTime        // metav1.Time
	opMicroTime   // metav1.MicroTime
	opDuration    // metav1.Duration
	opQuantity    // resource.Quantity
	opIntOrString // intstr.IntOrString
	opJSON        // whatever encoding/json makes of it
	opConst       // a value that doesn't depend on the object
)

// compiler compiles the types of one kind.
type compiler struct {
	known map[compiled]*program
	konst map[string][]byte // for the root's fields of these names: the value to write, whatever the object says
}

// compiled identifies a program: the same type with another part pruned is another program.
type compiled struct {
	typ  reflect.Type
	tree *prune
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()
	zeroer        = reflect.TypeFor[interface{ IsZero() bool }]()
)

func (c *compiler) compile(t reflect.Type, tree *prune) (*program, error) {
	if tree != nil && len(tree.fields) == 0 {
		tree = nil
	}
	key := compiled{t, tree}
	if p, ok := c.known[key]; ok {
		return p, nil
	}
	p := &program{typ: t}
	c.known[key] = p // before its parts: types may be recursive
	if special, ok := specials[t]; ok {
		p.op = special
		return p, notPruned(t, tree)
	}
	if reflect.PointerTo(t).Implements(marshaler) || reflect.PointerTo(t).Implements(textMarshaler) {
		p.op = opJSON
		return p, notPruned(t, tree)
	}
	var err error
	switch t.Kind() {
	case reflect.Pointer:
		p.op = opPointer
		p.elem, err = c.compile(t.Elem(), tree)
		return p, err
	case reflect.Struct:
		p.op = opStruct
		return p, c.compileStruct(p, tree)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			p.op = opBytes
			return p, notPruned(t, tree)
		}
		p.op = opSlice
	case reflect.Array:
		p.op, p.count = opArray, t.Len()
	case reflect.Map:
		return p, c.compileMap(p, tree)
	default:
		scalar, ok := scalars[t.Kind()]
		if !ok {
			scalar = opJSON
		}
		p.op = scalar
		return p, notPruned(t, tree)
	}
	// A list: only its elements can be pruned.
	p.size = t.Elem().Size()
	if tree != nil && (len(tree.fields) != 1 || tree.at(elements) == nil || tree.drops(elements)) {
		return nil, fmt.Errorf("a prune path doesn't go on with %q at a list of %v", elements, t.Elem())
	}
	p.elem, err = c.compile(t.Elem(), tree.at(elements))
	return p, err
}

// notPruned refuses a prune path that goes on below a value that has no parts: it is a typing error in the table.
func notPruned(t reflect.Type, tree *prune) error {
	if tree == nil {
		return nil
	}
	return fmt.Errorf("a prune path goes on below %v, which is written as one value", t)
}

var specials = map[reflect.Type]op{
	reflect.TypeFor[metav1.Time]():        opTime,
	reflect.TypeFor[metav1.MicroTime]():   opMicroTime,
	reflect.TypeFor[metav1.Duration]():    opDuration,
	reflect.TypeFor[resource.Quantity]():  opQuantity,
	reflect.TypeFor[intstr.IntOrString](): opIntOrString,
}

var scalars = map[reflect.Kind]op{
	reflect.String: opString, reflect.Bool: opBool,
	reflect.Int: opInt, reflect.Int8: opInt8, reflect.Int16: opInt16, reflect.Int32: opInt32, reflect.Int64: opInt64,
	reflect.Uint: opUint, reflect.Uint8: opUint8, reflect.Uint16: opUint16, reflect.Uint32: opUint32, reflect.Uint64: opUint64,
	reflect.Float64: opFloat64, // float32 as JSON rounds it: opJSON
}

func (c *compiler) compileMap(p *program, tree *prune) error {
	t := p.typ
	if t.Key().Kind() != reflect.String || reflect.PointerTo(t.Key()).Implements(textMarshaler) {
		p.op = opJSON
		return notPruned(t, tree)
	}
	if tree != nil {
		p.drop = map[string]bool{}
		for key, child := range tree.fields {
			if !child.drop || !tree.keyed {
				return fmt.Errorf("a prune path reaches %q of %v other than by a last [\"key\"]", key, t)
			}
			p.drop[key] = true
		}
	}
	var err error
	p.elem, err = c.compile(t.Elem(), nil)
	switch {
	case t.Elem() == reflect.TypeFor[string]():
		p.op = opStringMap
	case t.Elem() == reflect.TypeFor[resource.Quantity]():
		p.op = opQuantityMap
	default:
		p.op = opMap
	}
	return err
}

func (c *compiler) compileStruct(p *program, tree *prune) error {
	konst := c.konst
	c.konst = nil // for the root only
	used := map[string]bool{}
	if err := c.addFields(p, p.typ, 0, tree, konst, used); err != nil {
		return err
	}
	if tree != nil {
		for name := range tree.fields {
			if !used[name] {
				return fmt.Errorf("a prune path names %q, which %v doesn't have", name, p.typ)
			}
		}
	}
	slices.SortFunc(p.fields, func(a, b fieldProgram) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(p.fields); i++ {
		if p.fields[i].name == p.fields[i-1].name {
			return fmt.Errorf("%v has two fields named %q", p.typ, p.fields[i].name)
		}
	}
	return nil
}

// addFields adds the fields of struct t, which lies at offset within p's type. used collects all field names, those of
// pruned ones too.
func (c *compiler) addFields(p *program, t reflect.Type, offset uintptr, tree *prune, konst map[string][]byte, used map[string]bool) error {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if tag == "-" || (!f.IsExported() && !f.Anonymous) {
			continue
		}
		if f.Anonymous && name == "" {
			if f.Type.Kind() != reflect.Struct {
				return fmt.Errorf("%v embeds %v, which isn't a struct", t, f.Type)
			}
			if err := c.addFields(p, f.Type, offset+f.Offset, tree, konst, used); err != nil {
				return err
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		used[name] = true
		if tree.drops(name) {
			continue
		}
		field := fieldProgram{name: name, key: wire.AppendString(nil, name), offset: offset + f.Offset}
		if value, ok := konst[name]; ok {
			field.prog = &program{op: opConst, typ: f.Type, konst: value}
			p.fields = append(p.fields, field)
			continue
		}
		var err error
		if field.prog, err = c.compile(f.Type, tree.at(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "omitempty":
				field.empty = field.empty.orEmpty(f.Type)
			case "omitzero":
				field.empty = field.empty.orZero(f.Type)
			case "string":
				return fmt.Errorf("%s: the JSON option \"string\" isn't supported", name)
			}
		}
		// What pruning empties is left out, whether it may be empty or not: the other fields don't tell of it.
		if field.prog.drop != nil {
			field.empty = field.empty.orDropped(field.prog)
		}
		p.fields = append(p.fields, field)
	}
	return nil
}

// emptiness says when a field is left out.
type emptiness struct {
	size   uintptr // >0: when these many bytes are zero (numbers, booleans, pointers)
	length bool    // when the length in the second word is zero (strings, lists)
	mapped bool    // when the map has no entries
	zero   func(unsafe.Pointer) bool
	drop   map[string]bool // when a map has no entries but these
	value  *program
}

func (e *emptiness) orEmpty(t reflect.Type) *emptiness {
	if e == nil {
		e = &emptiness{}
	}
	switch t.Kind() {
	case reflect.String, reflect.Slice:
		e.length = true
	case reflect.Map:
		e.mapped = true
	case reflect.Array:
		if t.Len() == 0 {
			e.zero = func(unsafe.Pointer) bool { return true }
		}
	case reflect.Struct:
		// encoding/json never takes a struct as empty.
	default:
		e.size = t.Size()
	}
	return e
}

func (e *emptiness) orZero(t reflect.Type) *emptiness {
	if e == nil {
		e = &emptiness{}
	}
	switch {
	case t == reflect.TypeFor[metav1.Time](), t == reflect.TypeFor[metav1.MicroTime]():
		e.zero = func(p unsafe.Pointer) bool { return (*time.Time)(p).IsZero() }
	case reflect.PointerTo(t).Implements(zeroer):
		e.zero = func(p unsafe.Pointer) bool {
			v := reflect.NewAt(t, p)
			if t.Kind() == reflect.Pointer && v.Elem().IsNil() {
				return true
			}
			return v.Interface().(interface{ IsZero() bool }).IsZero()
		}
	default:
		e.zero = func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().IsZero() }
	}
	return e
}

func (e *emptiness) orDropped(value *program) *emptiness {
	if e == nil {
		e = &emptiness{}
	}
	e.drop, e.value = value.drop, value
	return e
}

// holds tells whether the field at p is to be left out.
func (e *emptiness) holds(p unsafe.Pointer) bool {
	switch e.size {
	case 0:
	case 1:
		return *(*uint8)(p) == 0
	case 2:
		return *(*uint16)(p) == 0
	case 4:
		return *(*uint32)(p) == 0
	case 8:
		return *(*uint64)(p) == 0
	default: // an interface
		return *(*uintptr)(p) == 0
	}
	if e.length && (*[2]uintptr)(p)[1] == 0 {
		return true
	}
	if e.mapped && len(*(*map[string]struct{})(p)) == 0 {
		return true
	}
	if e.zero != nil && e.zero(p) {
		return true
	}
	if e.drop != nil {
		return onlyDropped(e.value, p)
	}
	return false
}

// onlyDropped tells whether the map at p has entries and all of them are pruned.
func onlyDropped(value *program, p unsafe.Pointer) bool {
	if value.op == opStringMap {
		texts := *(*map[string]string)(p)
		if len(texts) == 0 || len(texts) > len(value.drop) {
			return false
		}
		for key := range texts {
			if !value.drop[key] {
				return false
			}
		}
		return true
	}
	m := reflect.NewAt(value.typ, p).Elem()
	if m.Len() == 0 || m.Len() > len(value.drop) {
		return false
	}
	for _, key := range m.MapKeys() {
		if !value.drop[key.String()] {
			return false
		}
	}
	return true
}
