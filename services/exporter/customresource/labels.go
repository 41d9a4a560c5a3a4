package customresource

import (
	"slices"
	"strings"
)

// label is a label of a series. Its texts may be parts of the object, or of the renderer's scratch.
type label struct{ name, value string }

// labelPaths are the labels that are taken from an object.
type labelPaths struct {
	stars []starPath  // those that copy a map, in the order in which they are applied
	names []namedPath // the others, which come after, in the order of what the configuration calls them
}

type starPath struct {
	prefix string // before each name
	path   path
}

type namedPath struct {
	name string
	path path
}

// compileLabels reads labelsFromPath of the configuration. An error comes with the name that it is of.
func compileLabels(paths map[string][]string) (labels labelPaths, name string, err error) {
	for _, name := range sortedKeys(paths) {
		p, err := compilePath(paths[name])
		if err != nil {
			return labelPaths{}, name, err
		}
		prefix, ends := strings.CutSuffix(name, "*")
		switch {
		case ends:
			labels.stars = append(labels.stars, starPath{prefix, p})
		case strings.HasPrefix(name, "*"):
			labels.stars = append(labels.stars, starPath{"", p})
		default:
			labels.names = append(labels.names, namedPath{string(appendLabelName(nil, name)), p})
		}
	}
	return labels, "", nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// validLabel tells whether a name can be a label's: letters, digits and underscores, no digit first. __name__ is the
// family's own.
func validLabel(name string) bool {
	if name == "" || name[0] >= '0' && name[0] <= '9' || name == "__name__" {
		return false
	}
	for i := range len(name) {
		if !wordCharacter(name[i]) {
			return false
		}
	}
	return true
}

func wordCharacter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// appendLabelName appends a label name made of any text: each character that may not be in one becomes an underscore. Where
// that isn't enough it gets one in front; kube-state-metrics writes what no Prometheus can read there.
func appendLabelName(b []byte, s string) []byte {
	start := len(b)
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		b = append(b, '_')
	}
	for _, c := range s {
		if c < 0x80 && wordCharacter(byte(c)) {
			b = append(b, byte(c))
		} else {
			b = append(b, '_')
		}
	}
	if string(b[start:]) == "__name__" {
		b = append(b[:start], "___name__"...)
	}
	return b
}

// add adds what paths find in n to the labels that are being gathered. A label that is there already is overridden.
func (r *renderer) add(paths *labelPaths, n *node) {
	for i := range paths.stars {
		star := &paths.stars[i]
		found := r.resolve(star.path, n)
		if found == nil || found.kind != mapping {
			continue
		}
		children := r.tree.of(found)
		for j := 0; j < len(children) && r.room >= 0; j++ {
			r.set(r.labelName(star.prefix, children[j].key), r.labelValue(&children[j]))
		}
	}
	for i := range paths.names {
		if found := r.resolve(paths.names[i].path, n); found != nil {
			r.set(paths.names[i].name, r.labelValue(found))
		}
	}
}

// set adds a label, if there is room; of those with one name the last one counts.
func (r *renderer) set(name, value string) {
	if r.take(labelSize) {
		r.labels = append(r.labels, label{name, value})
	}
}

// labelName makes a label name of a prefix and a key.
func (r *renderer) labelName(prefix, key string) string {
	if prefix == "" && validLabel(key) {
		return key
	}
	if !r.take(len(prefix) + len(key) + len("__")) {
		return ""
	}
	start := len(r.scratch)
	r.name = append(append(r.name[:0], prefix...), key...)
	r.scratch = appendLabelName(r.scratch, alias(r.name))
	return alias(r.scratch[start:])
}

// labelValue is the text of a value.
func (r *renderer) labelValue(n *node) string {
	if n.kind == text {
		return n.text
	}
	start := len(r.scratch)
	text, ok := r.tree.appendText(r.scratch, n, start+r.room)
	r.scratch = text
	if !ok {
		r.room = -1
		return ""
	}
	r.take(len(text) - start)
	return alias(text[start:])
}

// settle sorts the labels that were gathered since start by name, and leaves one of each.
func (r *renderer) settle(start int) {
	labels := r.labels[start:]
	if len(labels) < 2 {
		return
	}
	slices.SortStableFunc(labels, func(a, b label) int { return strings.Compare(a.name, b.name) })
	kept := 0
	for i := 1; i < len(labels); i++ {
		if labels[i].name != labels[kept].name {
			kept++
		}
		labels[kept] = labels[i]
	}
	r.labels = r.labels[:start+kept+1]
}

// compareLabels orders series: by their first label that differs, its name first.
func compareLabels(a, b []label) int {
	for i := range min(len(a), len(b)) {
		if c := strings.Compare(a[i].name, b[i].name); c != 0 {
			return c
		}
		if c := strings.Compare(a[i].value, b[i].value); c != 0 {
			return c
		}
	}
	return len(a) - len(b)
}
