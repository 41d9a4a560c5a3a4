package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document is a file that was read. It knows on which line each of its fields stands.
type Document struct {
	name  string
	lines map[string]int // of the fields that the file gives, by their dotted path
}

// Parse reads a file strictly into a struct. name is for errors only. A file without content leaves the struct as it is.
// All errors are returned, joined; the struct is filled as far as it goes, and the document is there in any case.
//
// Fields are named by their yaml tags, or in lower case where they have none; the option inline is understood. They may be
// strings (which take any scalar), booleans, numbers, durations ("30s"), any, pointers, slices, maps with string keys,
// structs, and types that read themselves (yaml.Unmarshaler). null is as good as a field that isn't given.
func Parse(name string, data []byte, into any) (*Document, error) {
	d := &Document{name: name, lines: map[string]int{}}
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return d, fmt.Errorf("%s: couldn't read it into a %T, which is not a pointer", name, into)
	}
	root, err := single(data)
	if err != nil {
		return d, d.located(err)
	}
	if root == nil {
		return d, nil
	}
	r := reader{document: d, left: maxSize}
	r.value(root, target.Elem(), "", 0)
	return d, r.err()
}

// errLine is an error that knows its line.
type errLine struct {
	line int
	text string
}

func (e *errLine) Error() string { return e.text }

// single returns the content of the one document that isn't empty, or nil if there is none.
func single(data []byte) (*yaml.Node, error) {
	var root *yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var document yaml.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return root, nil
		} else if err != nil {
			return nil, err
		}
		if len(document.Content) == 0 || isNull(document.Content[0]) {
			continue
		}
		if root != nil {
			return nil, &errLine{document.Content[0].Line, "a second document begins here; a file holds one"}
		}
		root = document.Content[0]
	}
}

// syntaxError is how the parser words its errors.
var syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// located puts the file and the line before an error of the parser.
func (d *Document) located(err error) error {
	var at *errLine
	if errors.As(err, &at) {
		return fmt.Errorf("%s:%d: %w", d.name, at.line, err)
	}
	text := err.Error()
	match := syntaxError.FindStringSubmatch(text)
	if match == nil {
		return fmt.Errorf("%s: couldn't parse it: %w", d.name, err)
	}
	text = text[len(match[0]):]
	if match[1] == "" {
		return fmt.Errorf("%s: couldn't parse it: %s", d.name, text)
	}
	return fmt.Errorf("%s:%s: couldn't parse it: %s", d.name, match[1], text)
}

// Has tells whether the file gives a field: "spec.resources[0].metrics".
func (d *Document) Has(field string) bool {
	_, ok := d.lines[field]
	return ok
}

// Error puts the file, the line and the field before an error. A field that the file doesn't give stands on the line of the
// innermost one around it that is given.
func (d *Document) Error(field string, err error) error {
	line, at := 0, field
	for line == 0 && at != "" {
		if line = d.lines[at]; line == 0 {
			at = parent(at)
		}
	}
	if line == 0 {
		line = max(d.lines[""], 1)
	}
	return d.at(line, field, err)
}

// note keeps the line of a field: the one where it first stands.
func (d *Document) note(field string, line int) {
	if _, known := d.lines[field]; !known {
		d.lines[field] = line
	}
}

func (d *Document) at(line int, field string, err error) error {
	if field == "" {
		return fmt.Errorf("%s:%d: %w", d.name, line, err)
	}
	return fmt.Errorf("%s:%d: %s: %w", d.name, line, field, err)
}

// Name is the name that was given to Parse.
func (d *Document) Name() string { return d.name }

// parent is the path of what holds a field. The keys of maps may hold dots: what is returned then is no field, and has a
// parent in its turn.
func parent(field string) string {
	return field[:max(strings.LastIndexAny(field, ".["), 0)]
}

// member is the path of a field, or of a map's key.
func member(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// element is the path of an element of a list.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
