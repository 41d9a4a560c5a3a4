package collector

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// Series collects the lines that families write for one object. A family adds a series with Add, AddBool, AddLabels or
// AddMap; the object's identity labels are put in front of its own. Label names are written as they are given, label
// values are escaped. Of series of a family with the same labels the first stays. A Series belongs to one renderer and is used by one goroutine at a time.
type Series struct {
	text     []byte // the lines of all families so far
	family   string // the name of the family that is being written
	identity []byte // the object's identity labels, rendered: namespace="a",pod="b"
	lines    Lines  // of the family that is being written

	allowLabels, allowAnnotations *allowlist

	names   []string   // of AddLabels
	labels  labelNames // of AddLabels: keys that were seen before
	entries []entry    // of a map that is being read
	skipped int        // series that could not be told, or were told before
	err     error      // the first field that could not be read
}

// begin starts an object: what follows belongs to it.
func (s *Series) begin() {
	s.text, s.identity, s.skipped, s.err = s.text[:0], s.identity[:0], 0, nil
	s.lines.Clear()
}

// finish ends the family that is being written: none of its lines repeats another one's labels then.
func (s *Series) finish() {
	var dropped int
	s.text, dropped = s.lines.DropRepeated(s.text, len(s.family)+len("{")+len(s.identity))
	s.skipped += dropped
	s.lines.Clear()
}

// Identify adds an identity label, which every series of the object carries.
func (s *Series) Identify(name, value string) {
	if len(s.identity) > 0 {
		s.identity = append(s.identity, ',')
	}
	s.identity = append(s.identity, name...)
	s.identity = append(s.identity, '=', '"')
	s.identity = appendEscaped(s.identity, value)
	s.identity = append(s.identity, '"')
}

// Add adds a series with value and, behind the identity, the labels given as name, value, name, value...
func (s *Series) Add(value float64, labels ...string) {
	b := s.open()
	for i := 0; i+1 < len(labels); i += 2 {
		b = appendLabel(b, labels[i], labels[i+1])
	}
	s.close(b, value)
}

// AddBool adds a series with value 1 or 0.
func (s *Series) AddBool(value bool, labels ...string) {
	v := 0.0
	if value {
		v = 1
	}
	s.Add(v, labels...)
}

// AddInt adds a series where the field is set.
func (s *Series) AddInt(value *int64, labels ...string) {
	if value != nil {
		s.Add(float64(*value), labels...)
	}
}

// AddOneOf adds a series for each of the options: 1 for the one that value is, 0 for the others.
func (s *Series) AddOneOf(value, label string, options ...string) {
	for i, option := range options {
		b := appendLabel(s.open(), label, option)
		v := 0.0
		if value == option {
			v = 1
		}
		if i == 0 {
			s.close(b, v)
		} else {
			s.closeDistinct(b, v)
		}
	}
}

// AddCondition adds three series for a condition's status, with the labels given and behind them the status in lower
// case under the name of statusLabel: 1 for the status it has, 0 for the others.
func (s *Series) AddCondition(status, statusLabel string, labels ...string) {
	for i, option := range conditionStatuses {
		b := s.open()
		for j := 0; j+1 < len(labels); j += 2 {
			b = appendLabel(b, labels[j], labels[j+1])
		}
		b = appendLabel(b, statusLabel, option.label)
		v := 0.0
		if status == option.status {
			v = 1
		}
		if i == 0 {
			s.close(b, v)
		} else {
			s.closeDistinct(b, v)
		}
	}
}

var conditionStatuses = [...]struct{ status, label string }{{"True", "true"}, {"False", "false"}, {"Unknown", "unknown"}}

// AddTime adds a series with the time in Unix seconds, if there is one.
func (s *Series) AddTime(t objects.Time, labels ...string) {
	if t.Valid {
		s.Add(float64(t.Unix), labels...)
	}
}

// AddZeroTime adds a series with the time in Unix seconds, even if there is none: then it is that of Go's zero time,
// a large negative number, as in kube-state-metrics.
func (s *Series) AddZeroTime(t objects.Time, labels ...string) {
	s.Add(unix(t), labels...)
}

// Skip counts a series that cannot be told from what the object says. kube-state-metrics panics where this is called.
func (s *Series) Skip() { s.skipped++ }

// fail notes that a field could not be read; the object's lines are dropped.
func (s *Series) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *Series) open() []byte {
	b := append(s.text, s.family...)
	b = append(b, '{')
	return append(b, s.identity...)
}

// close ends a line that may have the labels of one before it.
func (s *Series) close(b []byte, value float64) {
	s.lines.Add(len(s.text), len(b))
	s.closeDistinct(b, value)
}

// closeDistinct ends a line that goes with the last one that was closed: it repeats another one just where that does.
func (s *Series) closeDistinct(b []byte, value float64) {
	switch value {
	case 0:
		s.text = append(b, "} 0\n"...)
	case 1:
		s.text = append(b, "} 1\n"...)
	default:
		b = AppendFloat(append(b, "} "...), value)
		s.text = append(b, '\n')
	}
}

func appendLabel(b []byte, name, value string) []byte {
	b = append(b, ',')
	b = append(b, name...)
	b = append(b, '=', '"')
	b = appendEscaped(b, value)
	return append(b, '"')
}

// AppendFloat appends a sample value in the exposition formats' shortest form.
func AppendFloat(b []byte, v float64) []byte {
	switch {
	case v == 0:
		return append(b, '0')
	case v == 1:
		return append(b, '1')
	case math.IsNaN(v):
		return append(b, "NaN"...)
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	case v == math.Trunc(v) && v > -1e6 && v < 1e6:
		return strconv.AppendInt(b, int64(v), 10) // the same digits, faster
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// AppendEscaped appends a label value as it stands between quotes: backslash, quote and newline escaped, and bytes that
// are not UTF-8 replaced by U+FFFD, because one such byte makes Prometheus refuse the whole scrape.
func AppendEscaped(b []byte, value string) []byte { return appendEscaped(b, value) }

func appendEscaped[T string | []byte](b []byte, value T) []byte {
	plain := 0
	for plain < len(value) && value[plain] < utf8.RuneSelf && value[plain] != '\\' && value[plain] != '"' && value[plain] != '\n' {
		plain++
	}
	b = append(b, value[:plain]...)
	for rest := string(value[plain:]); len(rest) > 0; {
		switch c := rest[0]; {
		case c == '\\' || c == '"':
			b, rest = append(b, '\\', c), rest[1:]
		case c == '\n':
			b, rest = append(b, '\\', 'n'), rest[1:]
		case c < utf8.RuneSelf:
			b, rest = append(b, c), rest[1:]
		default:
			r, size := utf8.DecodeRuneInString(rest)
			b, rest = utf8.AppendRune(b, r), rest[size:] // an invalid byte decodes to U+FFFD
		}
	}
	return b
}
