package objects

import (
	"fmt"
	"math"
	"reflect"
	"unsafe"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// read fills the zero value at ptr with the message's next value.
func (p *reader) read(r *wire.Reader, ptr unsafe.Pointer, text *texts, depth int) error {
	if r.Nil() {
		return nil
	}
	switch p.op {
	case readString:
		b, err := r.StringBytes()
		if err != nil {
			return err
		}
		*(*string)(ptr) = p.str(b, text)
		return nil
	case readBool:
		v, err := r.Bool()
		*(*bool)(ptr) = v
		return err
	case readInt:
		return p.readInt(r, ptr)
	case readUint:
		return p.readUint(r, ptr)
	case readFloat32:
		v, err := r.Float()
		*(*float32)(ptr) = float32(v)
		return err
	case readFloat64:
		v, err := r.Float()
		*(*float64)(ptr) = v
		return err
	case readRaw:
		v, err := r.Raw()
		*(*Raw)(ptr) = v
		return err
	case readTime:
		return decodeTime(r, (*Time)(ptr))
	case readQuantity:
		v, err := p.quantity(r, text)
		*(*Quantity)(ptr) = v
		return err
	case readIntOrString:
		return p.intOrString(r, text, (*IntOrString)(ptr))
	case readPairs:
		return p.readPairs(r, ptr, text)
	case readPointer:
		to := reflect.New(p.elem.typ).UnsafePointer()
		*(*unsafe.Pointer)(ptr) = to
		return p.elem.read(r, to, text, depth)
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: it is deeper than %d", wire.ErrMalformed, maxDepth)
	}
	switch p.op {
	case readStruct:
		return p.readStruct(r, ptr, text, depth)
	case readSlice:
		return p.readSlice(r, ptr, text, depth)
	case readStringMap:
		return p.readStringMap(r, ptr, text)
	case readQuantityMap:
		return p.readQuantityMap(r, ptr, text)
	default:
		return p.readMap(r, ptr, text, depth)
	}
}

func (p *reader) str(b []byte, text *texts) string {
	if p.intern {
		return text.shared.get(b)
	}
	return text.plain(b)
}

// readStruct goes through the message's keys and the struct's fields side by side, since both are sorted. Keys in another
// order (a foreign writer's) are found too, only slower.
func (p *reader) readStruct(r *wire.Reader, ptr unsafe.Pointer, text *texts, depth int) error {
	n, err := r.MapLen()
	if err != nil {
		return err
	}
	next := 0
	for range n {
		key, err := r.StringBytes()
		if err != nil {
			return fmt.Errorf("a key: %w", err)
		}
		i := p.field(key, next)
		if i < 0 {
			if err := r.Skip(); err != nil {
				return err
			}
			continue
		}
		next = i + 1
		f := &p.fields[i]
		if err := f.prog.read(r, unsafe.Add(ptr, f.offset), text, depth+1); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// field finds the field of a name, expected at next or later; -1 where there is none.
func (p *reader) field(key []byte, next int) int {
	for i := next; i < len(p.fields); i++ {
		if name := p.fields[i].name; name == string(key) {
			return i
		} else if name > string(key) {
			break
		}
	}
	for i := range min(next, len(p.fields)) {
		if p.fields[i].name == string(key) {
			return i
		}
	}
	return -1
}

// firstElements bounds what is allocated for a list on the word of its length alone.
const firstElements = 8 << 10 // bytes

func (p *reader) readSlice(r *wire.Reader, ptr unsafe.Pointer, text *texts, depth int) error {
	n, err := r.ArrayLen()
	if err != nil {
		return err
	}
	// Short lists, which most are, are arrays of their very length; long ones grow as their elements come.
	room := min(n, max(len(p.arrays)-1, firstElements/int(max(p.elem.size, 1))))
	data := p.alloc(room)
	for i := range n {
		if i == room {
			room = min(n, 2*room)
			larger := p.alloc(room)
			reflect.Copy(p.slice(larger, room), p.slice(data, i))
			data = larger
		}
		if err := p.elem.read(r, unsafe.Add(data, uintptr(i)*p.elem.size), text, depth+1); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	*(*sliceHeader)(ptr) = sliceHeader{data: data, len: n, cap: room}
	return nil
}

// alloc makes room for n zero elements.
func (p *reader) alloc(n int) unsafe.Pointer {
	if n < len(p.arrays) {
		return reflect.New(p.arrays[n]).UnsafePointer()
	}
	return reflect.MakeSlice(p.typ, n, n).UnsafePointer()
}

// slice is the list of n elements at data.
func (p *reader) slice(data unsafe.Pointer, n int) reflect.Value {
	v := reflect.New(p.typ)
	*(*sliceHeader)(v.UnsafePointer()) = sliceHeader{data: data, len: n, cap: n}
	return v.Elem()
}

func (p *reader) readStringMap(r *wire.Reader, ptr unsafe.Pointer, text *texts) error {
	n, err := r.MapLen()
	if err != nil {
		return err
	}
	m := make(map[string]string, min(n, 256))
	for range n {
		key, err := r.StringBytes()
		if err != nil {
			return fmt.Errorf("a key: %w", err)
		}
		k := p.str(key, text)
		if r.Nil() {
			m[k] = ""
			continue
		}
		value, err := r.StringBytes()
		if err != nil {
			return fmt.Errorf("%.60q: %w", key, err)
		}
		m[k] = p.str(value, text)
	}
	*(*map[string]string)(ptr) = m
	return nil
}

func (p *reader) readQuantityMap(r *wire.Reader, ptr unsafe.Pointer, text *texts) error {
	n, err := r.MapLen()
	if err != nil {
		return err
	}
	m := make(map[string]Quantity, min(n, 256))
	for range n {
		key, err := r.StringBytes()
		if err != nil {
			return fmt.Errorf("a key: %w", err)
		}
		k := p.str(key, text)
		if r.Nil() {
			m[k] = ""
			continue
		}
		if m[k], err = p.quantity(r, text); err != nil {
			return fmt.Errorf("%.60q: %w", key, err)
		}
	}
	*(*map[string]Quantity)(ptr) = m
	return nil
}

func (p *reader) readMap(r *wire.Reader, ptr unsafe.Pointer, text *texts, depth int) error {
	n, err := r.MapLen()
	if err != nil {
		return err
	}
	m := reflect.MakeMapWithSize(p.typ, min(n, 256))
	key, value := reflect.New(p.typ.Key()).Elem(), reflect.New(p.elem.typ)
	for range n {
		k, err := r.StringBytes()
		if err != nil {
			return fmt.Errorf("a key: %w", err)
		}
		key.SetString(p.str(k, text))
		value.Elem().SetZero()
		if err := p.elem.read(r, value.UnsafePointer(), text, depth+1); err != nil {
			return fmt.Errorf("%.60q: %w", k, err)
		}
		m.SetMapIndex(key, value.Elem())
	}
	reflect.NewAt(p.typ, ptr).Elem().Set(m)
	return nil
}

func (p *reader) readInt(r *wire.Reader, ptr unsafe.Pointer) error {
	v, err := wholeNumber(r)
	if err != nil {
		return err
	}
	switch p.bits {
	case 64:
		*(*int64)(ptr) = v
		return nil
	case 32:
		if v == int64(int32(v)) {
			*(*int32)(ptr) = int32(v)
			return nil
		}
	case 16:
		if v == int64(int16(v)) {
			*(*int16)(ptr) = int16(v)
			return nil
		}
	case 8:
		if v == int64(int8(v)) {
			*(*int8)(ptr) = int8(v)
			return nil
		}
	}
	return outOfRange(p)
}

func (p *reader) readUint(r *wire.Reader, ptr unsafe.Pointer) error {
	var v uint64
	if r.Peek() == wire.Float {
		whole, err := wholeNumber(r)
		if err != nil {
			return err
		}
		if whole < 0 {
			return outOfRange(p)
		}
		v = uint64(whole)
	} else {
		var err error
		if v, err = r.Uint(); err != nil {
			return err
		}
	}
	switch p.bits {
	case 64:
		*(*uint64)(ptr) = v
		return nil
	case 32:
		if v <= math.MaxUint32 {
			*(*uint32)(ptr) = uint32(v)
			return nil
		}
	case 16:
		if v <= math.MaxUint16 {
			*(*uint16)(ptr) = uint16(v)
			return nil
		}
	case 8:
		if v <= math.MaxUint8 {
			*(*uint8)(ptr) = uint8(v)
			return nil
		}
	}
	return outOfRange(p)
}
