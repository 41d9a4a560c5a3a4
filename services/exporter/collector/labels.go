package collector

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// entry is one key and value of a map with string values. Both are parts of the object's bytes.
type entry struct{ key, value []byte }

// entriesOf reads a map with string values, in the order of its keys. The result is valid until the next call.
func (s *Series) entriesOf(raw objects.Raw) []entry {
	s.entries = s.entries[:0]
	if len(raw) == 0 {
		return nil
	}
	r := wire.NewReader(raw)
	if r.Nil() {
		return nil
	}
	n, err := r.MapLen()
	if err != nil {
		s.fail(err)
		return nil
	}
	sorted := true
	for range n {
		var e entry
		if e.key, err = r.StringBytes(); err == nil {
			e.value, err = scalar(&r)
		}
		if err != nil {
			s.fail(err)
			return nil
		}
		sorted = sorted && (len(s.entries) == 0 || bytes.Compare(s.entries[len(s.entries)-1].key, e.key) < 0)
		s.entries = append(s.entries, e)
	}
	if !sorted {
		slices.SortStableFunc(s.entries, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
		s.entries = slices.CompactFunc(s.entries, func(a, b entry) bool { return bytes.Equal(a.key, b.key) })
	}
	return s.entries
}

// valueOf finds an entry of a map with string values.
func (s *Series) valueOf(raw objects.Raw, key string) (string, bool) {
	for _, e := range s.entriesOf(raw) {
		if string(e.key) == key {
			return string(e.value), true
		}
	}
	return "", false
}

// scalar reads a text, or a number as its text: a quantity may be either.
func scalar(r *wire.Reader) ([]byte, error) {
	if r.Nil() {
		return nil, nil
	}
	switch r.Peek() {
	case wire.Int:
		v, err := r.Int()
		return strconv.AppendInt(nil, v, 10), err
	case wire.Float:
		v, err := r.Float()
		return strconv.AppendFloat(nil, v, 'f', -1, 64), err
	}
	return r.StringBytes()
}

// AddMap adds one series whose labels are all entries of a Kubernetes map, as prefix_key="value".
func (s *Series) AddMap(prefix string, raw objects.Raw, labels ...string) {
	s.addEntries(prefix, s.entriesOf(raw), labels)
}

// AddAllowed adds one series whose labels are the entries of a Kubernetes map that the list allows; none where no list
// was given for the resource.
func (s *Series) AddAllowed(prefix string, raw objects.Raw, list *allowlist) {
	if list == nil {
		return
	}
	entries := s.entriesOf(raw)
	kept := entries[:0]
	for _, e := range entries {
		if list.allows(e.key) {
			kept = append(kept, e)
		}
	}
	s.addEntries(prefix, kept, nil)
}

func (s *Series) addEntries(prefix string, entries []entry, labels []string) {
	s.names = s.names[:0]
	for _, e := range entries {
		s.names = append(s.names, s.labels.name(prefix, e.key))
	}
	resolveConflicts(s.names)
	b := s.open()
	for i := 0; i+1 < len(labels); i += 2 {
		b = appendLabel(b, labels[i], labels[i+1])
	}
	for i, e := range entries {
		b = append(b, ',')
		b = append(b, s.names[i]...)
		b = append(b, '=', '"')
		b = appendEscaped(b, e.value)
		b = append(b, '"')
	}
	s.close(b, 1)
}

// labelNames remembers the label names that keys became: a cluster's objects share a few hundred keys.
type labelNames map[string]map[string]string

// maxLabelNames bounds what is remembered per prefix; beyond it names are worked out each time.
const maxLabelNames = 4096

func (n *labelNames) name(prefix string, key []byte) string {
	if name, ok := (*n)[prefix][string(key)]; ok {
		return name
	}
	name := labelName(prefix, string(key))
	if *n == nil {
		*n = labelNames{}
	}
	if (*n)[prefix] == nil {
		(*n)[prefix] = map[string]string{}
	}
	if len((*n)[prefix]) < maxLabelNames {
		(*n)[prefix][string(key)] = name
	}
	return name
}

// labelName makes a Prometheus label name of a Kubernetes key: what is not a letter, digit or underscore becomes an
// underscore, camelCase becomes camel_case, letters become small, and the prefix comes in front.
func labelName(prefix, key string) string {
	b := make([]byte, 0, len(prefix)+1+len(key)+4)
	b = append(append(b, prefix...), '_')
	var last byte
	for _, r := range key {
		c := byte('_')
		if isWord(r) {
			c = byte(r)
		}
		if 'A' <= c && c <= 'Z' {
			if 'a' <= last && last <= 'z' || '0' <= last && last <= '9' {
				b = append(b, '_')
			}
			last, c = c, c+'a'-'A'
		} else {
			last = c
		}
		b = append(b, c)
	}
	return string(b)
}

// sanitize makes a label value of a resource name as kube-state-metrics shows it: what is not a letter, digit or
// underscore becomes an underscore.
func sanitize(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return !isWord(r) }) {
		return name
	}
	return strings.Map(func(r rune) rune {
		if isWord(r) {
			return r
		}
		return '_'
	}, name)
}

func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
}

// resolveConflicts makes the names of one series, which are in the order of the keys they come from, distinct. The
// first name that appears again takes the suffix _conflict1 and its follower _conflict2, and so on; a suffix that
// would make a name that is in use already is passed over.
func resolveConflicts(names []string) {
	if !repeats(names) {
		return
	}
	used := make(map[string]int, len(names)) // name -> its index
	suffixes := map[string]int{}             // the name before its suffix -> the last suffix it got
	next := func(base string) string {
		for {
			suffixes[base]++
			name := base + "_conflict" + strconv.Itoa(suffixes[base])
			if _, taken := used[name]; !taken {
				return name
			}
		}
	}
	for i, base := range names {
		name := base
		if _, repeated := suffixes[base]; repeated {
			name = next(base)
		} else if first, taken := used[base]; taken {
			names[first] = next(base)
			delete(used, base)
			used[names[first]] = first
			name = next(base)
		}
		names[i] = name
		used[name] = i
	}
}

// repeats tells whether a name appears twice.
func repeats(names []string) bool {
	if len(names) > 32 {
		seen := make(map[string]struct{}, len(names))
		for _, name := range names {
			seen[name] = struct{}{}
		}
		return len(seen) < len(names)
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return true
		}
	}
	return false
}

// allowlist says which keys of labels or annotations become labels of a series. A nil list allows nothing and gives no
// series at all.
type allowlist struct {
	all      bool
	keys     map[string]struct{}
	patterns []*regexp.Regexp
}

// newAllowlist compiles the entries of one resource: exact keys, keys with one *, and a lone * (everything), which
// counts in the first place only.
func newAllowlist(entries []string) (*allowlist, error) {
	l := &allowlist{keys: map[string]struct{}{}}
	for i, entry := range entries {
		switch strings.Count(entry, "*") {
		case 0:
			l.keys[entry] = struct{}{}
		case 1:
			if entry == "*" {
				l.all = l.all || i == 0
				continue
			}
			before, after, _ := strings.Cut(entry, "*")
			l.patterns = append(l.patterns, regexp.MustCompile("(?s)^"+regexp.QuoteMeta(before)+".*"+regexp.QuoteMeta(after)+"$"))
		default:
			return nil, fmt.Errorf("%q has more than one *; an entry may have one", entry)
		}
	}
	return l, nil
}

func (l *allowlist) allows(key []byte) bool {
	if l.all {
		return true
	}
	if _, ok := l.keys[string(key)]; ok {
		return true
	}
	return slices.ContainsFunc(l.patterns, func(p *regexp.Regexp) bool { return p.Match(key) })
}
