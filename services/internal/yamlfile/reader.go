package yamlfile

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// What a file may hold. maxDepth is how deep values may be nested. maxSize is how many bytes the paths of its values may have
// together, with aliases followed: an alias may stand for itself, or for a million values. maxErrors are told one by one.
const (
	maxDepth  = 100
	maxSize   = 64 << 20
	maxErrors = 20
)

// reader fills values from nodes, and gathers what is wrong.
type reader struct {
	document *Document
	errs     []error
	more     int // errors beyond maxErrors
	left     int // of maxSize
}

func (r *reader) fail(line int, path, format string, args ...any) {
	if len(r.errs) == maxErrors {
		r.more++
		return
	}
	r.errs = append(r.errs, r.document.at(line, path, fmt.Errorf(format, args...)))
}

// err is all that is wrong.
func (r *reader) err() error {
	if r.more > 0 {
		r.errs = append(r.errs, fmt.Errorf("%s: %d more errors", r.document.name, r.more))
	}
	return errors.Join(r.errs...)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// resolve follows aliases, and counts.
func (r *reader) resolve(n *yaml.Node, path string, depth int) (*yaml.Node, bool) {
	line := n.Line
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if r.left < 0 {
		return nil, false // and said so
	}
	if r.left -= 64 + len(path); r.left < 0 {
		r.fail(line, path, "the file holds too many values, counted with aliases followed")
		return nil, false
	}
	if depth > maxDepth {
		r.fail(line, path, "values are nested deeper than %d", maxDepth)
		return nil, false
	}
	return n, true
}

var (
	unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()
	duration    = reflect.TypeFor[time.Duration]()
)

// value fills one value. Where it can't, it notes why and leaves the value alone.
func (r *reader) value(n *yaml.Node, into reflect.Value, path string, depth int) {
	line := n.Line
	n, ok := r.resolve(n, path, depth)
	if !ok {
		return
	}
	r.document.note(path, line)
	if isNull(n) {
		return
	}
	if reflect.PointerTo(into.Type()).Implements(unmarshaler) && into.CanAddr() {
		if err := into.Addr().Interface().(yaml.Unmarshaler).UnmarshalYAML(n); err != nil {
			r.fail(line, path, "%w", err)
		}
		return
	}
	if into.Kind() == reflect.Pointer {
		if into.IsNil() {
			into.Set(reflect.New(into.Type().Elem()))
		}
		r.value(n, into.Elem(), path, depth+1)
		return
	}
	if into.Kind() == reflect.Interface {
		if tree := r.tree(n, path, depth); tree != nil && into.NumMethod() == 0 {
			into.Set(reflect.ValueOf(tree))
		}
		return
	}
	want := wanted(into.Type())
	if want != n.Kind {
		r.fail(line, path, "couldn't read %s as %s", describe(n), words(into.Type()))
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		r.structure(n, into, path, depth)
	case reflect.Map:
		r.mapping(n, into, path, depth)
	case reflect.Slice:
		r.list(n, into, path, depth)
	default:
		r.scalar(n, line, into, path)
	}
}

// wanted is the kind of node that a type is read from.
func wanted(t reflect.Type) yaml.Kind {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return yaml.MappingNode
	case reflect.Slice:
		return yaml.SequenceNode
	default:
		return yaml.ScalarNode
	}
}

// words says what a type is read from.
func words(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	if t == duration {
		return `a duration such as "30s"`
	}
	return "a whole number"
}

// describe says what stands in the file.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		text := n.Value
		if len(text) > 60 {
			text = text[:60] + "..."
		}
		return fmt.Sprintf("%q", text)
	}
}

func (r *reader) scalar(n *yaml.Node, line int, into reflect.Value, path string) {
	if into.Kind() == reflect.String && n.ShortTag() != "!!binary" {
		into.SetString(n.Value)
		return
	}
	fresh := reflect.New(into.Type())
	cut := n.ShortTag() == "!!float" && !fresh.Elem().CanFloat() // which Decode would do
	if err := n.Decode(fresh.Interface()); err != nil || cut {
		r.fail(line, path, "couldn't read %s as %s", describe(n), words(into.Type()))
		return
	}
	into.Set(fresh.Elem())
}

func (r *reader) list(n *yaml.Node, into reflect.Value, path string, depth int) {
	list := reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		if r.left < 0 {
			return
		}
		r.value(item, list.Index(i), element(path, i), depth+1)
	}
	into.Set(list)
}

func (r *reader) mapping(n *yaml.Node, into reflect.Value, path string, depth int) {
	if into.Type().Key().Kind() != reflect.String {
		r.fail(n.Line, path, "couldn't read it into a %s", into.Type())
		return
	}
	if into.IsNil() {
		into.Set(reflect.MakeMapWithSize(into.Type(), len(n.Content)/2))
	}
	r.pairs(n, path, depth, func(key *yaml.Node, value *yaml.Node) {
		item := reflect.New(into.Type().Elem()).Elem()
		r.value(value, item, member(path, key.Value), depth+1)
		into.SetMapIndex(reflect.ValueOf(key.Value).Convert(into.Type().Key()), item)
	})
}

func (r *reader) structure(n *yaml.Node, into reflect.Value, path string, depth int) {
	fields := map[string][]int{}
	fieldsOf(into.Type(), nil, fields)
	r.pairs(n, path, depth, func(key *yaml.Node, value *yaml.Node) {
		index, known := fields[key.Value]
		if !known {
			r.fail(key.Line, member(path, key.Value), "there is no such field; there are %s", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
			return
		}
		r.document.note(member(path, key.Value), key.Line)
		field := into
		for _, i := range index {
			field = field.Field(i)
		}
		r.value(value, field, member(path, key.Value), depth+1)
	})
}

// fieldsOf gathers the fields of a struct, with those that are inlined, by name.
func fieldsOf(t reflect.Type, index []int, into map[string][]int) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		at := append(slices.Clone(index), i)
		switch {
		case !f.IsExported() && !f.Anonymous, name == "-":
		case slices.Contains(strings.Split(options, ","), "inline") && f.Type.Kind() == reflect.Struct:
			fieldsOf(f.Type, at, into)
		case f.IsExported():
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			into[name] = at
		}
	}
}

// pairs calls do for each key of a mapping and for those that are merged into it, in this order; each once.
func (r *reader) pairs(n *yaml.Node, path string, depth int, do func(key, value *yaml.Node)) {
	seen := map[string]int{} // key -> line
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content) && r.left >= 0; i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		key, ok := r.resolve(key, path, depth)
		if !ok {
			return
		}
		if key.Kind != yaml.ScalarNode {
			r.fail(key.Line, path, "couldn't read %s as the name of a field", describe(key))
			continue
		}
		if line, again := seen[key.Value]; again {
			r.fail(n.Content[i].Line, member(path, key.Value), "it is given twice, on line %d already", line)
			continue
		}
		seen[key.Value] = n.Content[i].Line
		do(at(key, n.Content[i].Line), value)
	}
	for _, value := range merged {
		r.merge(value, path, depth+1, seen, do)
	}
}

// at is a node on another line: an alias stands where it is used.
func at(n *yaml.Node, line int) *yaml.Node {
	if n.Line == line {
		return n
	}
	moved := *n
	moved.Line = line
	return &moved
}

// merge calls do for the keys of what stands behind <<, a mapping or a list of them, that were not seen yet.
func (r *reader) merge(n *yaml.Node, path string, depth int, seen map[string]int, do func(key, value *yaml.Node)) {
	n, ok := r.resolve(n, path, depth)
	switch {
	case !ok:
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			r.merge(item, path, depth+1, seen, do)
		}
	case n.Kind == yaml.MappingNode:
		r.pairs(n, path, depth, func(key, value *yaml.Node) {
			if _, again := seen[key.Value]; !again {
				seen[key.Value] = key.Line
				do(key, value)
			}
		})
	default:
		r.fail(n.Line, path, "couldn't merge %s; << takes a mapping, or a list of them", describe(n))
	}
}

// tree reads a value of no certain type: nil, string, bool, int64, uint64, float64, []any or map[string]any.
func (r *reader) tree(n *yaml.Node, path string, depth int) any {
	n, ok := r.resolve(n, path, depth)
	if !ok || isNull(n) {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		r.pairs(n, path, depth, func(key, value *yaml.Node) {
			r.document.note(member(path, key.Value), key.Line)
			m[key.Value] = r.tree(value, member(path, key.Value), depth+1)
		})
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			if r.left < 0 {
				break
			}
			r.document.note(element(path, i), item.Line)
			list[i] = r.tree(item, element(path, i), depth+1)
		}
		return list
	}
	var v any
	if err := n.Decode(&v); err != nil {
		r.fail(n.Line, path, "couldn't read %s as the %s that it says it is", describe(n), strings.TrimPrefix(n.ShortTag(), "!!"))
		return nil
	}
	switch v := v.(type) {
	case int:
		return int64(v)
	case nil, string, bool, int64, uint64, float64:
		return v
	default:
		return n.Value // a date, for one
	}
}
