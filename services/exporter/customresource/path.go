package customresource

import (
	"fmt"
	"strconv"
	"strings"
)

// path leads from a value to one within it.
type path []step

// step is one part of a path. What it means depends on the value that it is applied to: of a mapping it is a key, or a key
// and the text that has to be there (key=value); of a list it is an index, from the end where negative. In brackets,
// [key=value], it is the first element of a list, a mapping, where that key has that value.
type step struct {
	part string // as the configuration has it

	bracketed  bool
	key, value string // of key=value, in brackets or not
	pair       bool   // whether there are these
	index      int
	indexed    bool // whether part is an index
	beyond     node // what it leads to where the list has no such index
	number     float64
	numeric    bool // whether value, in brackets, is a number in one of the forms of toFloat
	truth      bool
	logical    bool // whether value, in brackets, is a boolean
}

// compilePath reads a path of the configuration.
func compilePath(parts []string) (path, error) {
	var p path
	for _, part := range parts {
		s := step{part: part}
		if len(part) > 1 && part[0] == '[' && part[len(part)-1] == ']' {
			s.bracketed = true
			s.key, s.value, s.pair = strings.Cut(part[1:len(part)-1], "=")
			if !s.pair {
				return nil, fmt.Errorf("%q looks up an element of a list by nothing; it must have the form [key=value]", part)
			}
			number, err := floatOfText(s.value)
			s.number, s.numeric = number, err == nil
			truth, err := strconv.ParseBool(s.value)
			s.truth, s.logical = truth, err == nil
		} else {
			if strings.Count(part, "=") == 1 {
				s.key, s.value, s.pair = strings.Cut(part, "=")
			}
			index, err := strconv.Atoi(part)
			s.index, s.indexed, s.beyond = index, err == nil, node{kind: outOfRange, text: part}
		}
		p = append(p, s)
	}
	return p, nil
}

// resolve follows a path from n. It returns nil where that leads to nothing, or to a null.
func (r *renderer) resolve(p path, n *node) *node {
	n = some(n)
	for i := range p {
		if n == nil {
			return nil
		}
		n = some(r.step(&p[i], n))
	}
	return n
}

func (r *renderer) step(s *step, n *node) *node {
	switch {
	case s.bracketed:
		if n.kind == list {
			return r.lookUp(s, n)
		}
		return nil
	case n.kind == mapping:
		if s.pair {
			if found := r.tree.get(n, s.key); found != nil && found.kind == text && found.text == s.value {
				return found
			}
		}
		return r.tree.get(n, s.part)
	case n.kind == list && s.indexed:
		index := s.index
		if index < 0 {
			index += int(n.count)
		}
		if index < 0 || index >= int(n.count) {
			return &s.beyond
		}
		return &r.tree.of(n)[index]
	}
	return nil
}

// lookUp finds the first element of a list that is a mapping with the wanted value. Texts are compared with the value as
// they are; what stands for a number is compared with a value that does, and booleans with one.
func (r *renderer) lookUp(s *step, n *node) *node {
	elements := r.tree.of(n)
	for i := range elements {
		if elements[i].kind != mapping {
			continue
		}
		found := r.tree.get(&elements[i], s.key)
		if found == nil {
			continue
		}
		if found.kind == text && found.text == s.value || s.logical && found.kind == boolean && (found.bits != 0) == s.truth {
			return &elements[i]
		}
		if s.numeric {
			if v, err := toFloat(found); err == nil && v == s.number {
				return &elements[i]
			}
		}
	}
	return nil
}
