package customresource

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// maxDepth is how deep an object may be nested.
const maxDepth = 256

type nodeKind uint8

const (
	null nodeKind = iota
	boolean
	integer
	unsigned
	float
	text
	list
	mapping
	outOfRange // what an index that the list doesn't have resolves to: it is no null, but nothing else either
)

// node is a value of an object. A nil *node stands for what isn't there; where a null is looked up, nil is found.
type node struct {
	kind  nodeKind
	first int32  // of a list or a mapping: the index of its first child, whose siblings follow it
	count int32  // of a list or a mapping: how many children it has
	bits  uint64 // of a boolean 0 or 1, of a number its bits
	key   string // where it is in a mapping
	text  string // of a text, and the index that was out of range
}

// tree is an object. It is used for one after the other; its nodes are valid until the next is read, and so are their texts,
// which are parts of the message.
type tree struct {
	nodes []node
	most  int // how many nodes the message has at most: each takes a byte
}

// read decodes an object.
func (t *tree) read(object []byte) error {
	t.nodes, t.most = append(t.nodes[:0], node{}), len(object)
	r := wire.NewReader(object)
	if r.Peek() != wire.Map {
		return fmt.Errorf("%w: an object is a map, but this is %v", wire.ErrMalformed, r.Peek())
	}
	if err := t.value(&r, 0, 0); err != nil {
		return err
	}
	if r.Len() > 0 {
		return fmt.Errorf("%w: %d bytes follow the object", wire.ErrMalformed, r.Len())
	}
	return nil
}

// value reads the next value into the node at index i, whose key stays.
func (t *tree) value(r *wire.Reader, i, depth int) error {
	n := &t.nodes[i]
	switch r.Peek() {
	case wire.Nil:
		r.Nil()
		return nil
	case wire.Bool:
		v, err := r.Bool()
		n.kind = boolean
		if v {
			n.bits = 1
		}
		return err
	case wire.Int:
		start := *r
		if v, err := r.Int(); err == nil {
			n.kind, n.bits = integer, uint64(v)
			return nil
		}
		*r = start
		v, err := r.Uint()
		n.kind, n.bits = unsigned, v
		return err
	case wire.Float:
		v, err := r.Float()
		n.kind, n.bits = float, math.Float64bits(v)
		return err
	case wire.String:
		b, err := r.StringBytes()
		n.kind, n.text = text, alias(b)
		return err
	case wire.Array:
		count, err := r.ArrayLen()
		if err != nil {
			return err
		}
		return t.children(r, i, count, list, depth)
	case wire.Map:
		count, err := r.MapLen()
		if err != nil {
			return err
		}
		return t.children(r, i, count, mapping, depth)
	default:
		return fmt.Errorf("%w: %v isn't JSON", wire.ErrMalformed, r.Peek())
	}
}

// children reads the children of node i.
func (t *tree) children(r *wire.Reader, i, count int, kind nodeKind, depth int) error {
	if depth == maxDepth {
		return fmt.Errorf("%w: the object is nested deeper than %d", wire.ErrMalformed, maxDepth)
	}
	first := len(t.nodes)
	if count > t.most-first { // lists within lists that all claim the rest of the message
		return fmt.Errorf("%w: %d elements can't be in %d bytes", wire.ErrMalformed, first+count, t.most)
	}
	t.nodes = slices.Grow(t.nodes, count)[:first+count]
	clear(t.nodes[first:])
	n := &t.nodes[i]
	n.kind, n.first, n.count = kind, int32(first), int32(count)
	sorted, last := true, ""
	for child := first; child < first+count; child++ {
		if kind == mapping {
			key, err := r.StringBytes()
			if err != nil {
				return err
			}
			name := alias(key)
			sorted = sorted && last <= name
			last, t.nodes[child].key = name, name
		}
		if err := t.value(r, child, depth+1); err != nil {
			return err
		}
	}
	if !sorted { // somebody else's message
		slices.SortStableFunc(t.nodes[first:first+count], func(a, b node) int { return strings.Compare(a.key, b.key) })
	}
	return nil
}

// alias is b as a string, without a copy. It is valid as long as b is.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (t *tree) root() *node { return &t.nodes[0] }

// of returns the children of a node, none where it is no list and no mapping.
func (t *tree) of(n *node) []node {
	if n == nil {
		return nil
	}
	return t.nodes[n.first : n.first+n.count]
}

// some is the node, or nil where it is null.
func some(n *node) *node {
	if n == nil || n.kind == null {
		return nil
	}
	return n
}

// get returns the value of a key of a mapping, or nil. There may be a null: that is a node.
func (t *tree) get(n *node, key string) *node {
	children := t.of(n)
	if len(children) > 8 {
		i, _ := slices.BinarySearchFunc(children, key, func(c node, key string) int { return strings.Compare(c.key, key) })
		children = children[i:min(i+1, len(children))]
	}
	for i := range children {
		if children[i].key == key {
			return &children[i]
		}
	}
	return nil
}

// appendText appends a value as Go's %v shows it, which is how labels show what isn't a text. It stops, and returns false,
// before b has more than limit bytes.
func (t *tree) appendText(b []byte, n *node, limit int) ([]byte, bool) {
	if len(b)+maxScalar+len(n.text) > limit {
		return b, false
	}
	switch n.kind {
	case boolean:
		b = strconv.AppendBool(b, n.bits != 0)
	case integer:
		b = strconv.AppendInt(b, int64(n.bits), 10)
	case unsigned:
		b = strconv.AppendUint(b, n.bits, 10)
	case float:
		b = appendFloat(b, math.Float64frombits(n.bits))
	case text:
		b = append(b, n.text...)
	case outOfRange:
		b = append(append(b, "list index out of range: "...), n.text...)
	case list:
		return t.appendAll(append(b, '['), n, limit)
	case mapping:
		return t.appendAll(append(b, "map["...), n, limit)
	default:
		b = append(b, "<nil>"...)
	}
	return b, true
}

// maxScalar is more than appendText appends for one node, but for its text and its key.
const maxScalar = 32

func (t *tree) appendAll(b []byte, n *node, limit int) (_ []byte, ok bool) {
	children := t.of(n)
	for i := range children {
		if i > 0 {
			b = append(b, ' ')
		}
		if n.kind == mapping {
			if len(b)+len(children[i].key) > limit {
				return b, false
			}
			b = append(append(b, children[i].key...), ':')
		}
		if b, ok = t.appendText(b, &children[i], limit); !ok {
			return b, false
		}
	}
	return append(b, ']'), true
}

// appendFloat writes a float as %v does.
func appendFloat(b []byte, v float64) []byte {
	if math.IsInf(v, 1) {
		return append(b, "+Inf"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}
