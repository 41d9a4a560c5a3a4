package scraper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
)

// jsonReader reads JSON from its beginning to its end. After an error its methods do nothing, so that loops come to an
// end, and err tells of it. null stands for what is not there.
type jsonReader struct {
	b   []byte
	i   int
	err error
	m   *summary // where names and refused numbers go
}

var (
	errJSON     = errors.New("this isn't JSON")
	errJSONKind = errors.New("a value of another kind is wanted here")
	errJSONEnd  = errors.New("the body ends too early")
)

// fail notes the first error, with the place where it is.
func (r *jsonReader) fail(err error) {
	if r.err != nil {
		return
	}
	if r.i >= len(r.b) {
		err = errJSONEnd
	}
	const shown = 60
	near := r.b[min(r.i, len(r.b)):min(r.i+shown, len(r.b))]
	r.err = fmt.Errorf("byte %d: %w: %q", r.i, err, near)
	r.i = len(r.b)
}

// space steps over white space and returns what follows, 0 at the end.
func (r *jsonReader) space() byte {
	if r.i < len(r.b) && r.b[r.i] > ' ' {
		return r.b[r.i]
	}
	return r.spaces()
}

func (r *jsonReader) spaces() byte {
	for ; r.i < len(r.b); r.i++ {
		if c := r.b[r.i]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
	}
	return 0
}

// begin reads the opening bracket of an object or array and tells whether anything is in it; null is an empty one.
func (r *jsonReader) begin(open byte) bool {
	switch r.space() {
	case open:
		r.i++
		if r.space() == open+2 { // as } is to {, and ] to [
			r.i++
			return false
		}
		return r.err == nil
	case 'n':
		r.literal("null")
	default:
		r.wrong()
	}
	return false
}

// next reads what follows an element and tells whether another one comes.
func (r *jsonReader) next(end byte) bool {
	switch r.space() {
	case ',':
		r.i++
		return r.err == nil
	case end:
		r.i++
	default:
		r.fail(errJSON)
	}
	return false
}

// key reads a field's name and the colon. The name is valid until the next call.
func (r *jsonReader) key() []byte {
	if r.space() != '"' {
		r.fail(errJSON)
		return nil
	}
	key := r.text()
	if r.space() != ':' {
		r.fail(errJSON)
		return nil
	}
	r.i++
	return key
}

// text reads a string, at whose quote the reader is.
func (r *jsonReader) text() []byte {
	start := r.i + 1
	for i := start; i < len(r.b); i++ {
		switch c := r.b[i]; {
		case c == '"':
			r.i = i + 1
			return r.b[start:i]
		case c == '\\':
			return r.escapedText()
		case c < ' ':
			r.i = i
			r.fail(errJSON)
			return nil
		}
	}
	r.i = len(r.b)
	r.fail(errJSONEnd)
	return nil
}

// escapedText is text for a string with escapes, which the kubelet has no reason to write.
func (r *jsonReader) escapedText() []byte {
	start := r.i
	r.string()
	var s string
	if r.err != nil {
		return nil
	}
	if err := json.Unmarshal(r.b[start:r.i], &s); err != nil {
		r.i = start
		r.fail(errJSON)
		return nil
	}
	return []byte(s)
}

// string steps over a string, at whose quote the reader is.
func (r *jsonReader) string() {
	for i := r.i + 1; i < len(r.b); {
		end := bytes.IndexByte(r.b[i:], '"')
		if end < 0 {
			break
		}
		escape := bytes.IndexByte(r.b[i:i+end], '\\')
		if escape < 0 {
			r.i = i + end + 1
			return
		}
		i += escape + 2
	}
	r.i = len(r.b)
	r.fail(errJSONEnd)
}

// name reads a string and keeps it.
func (r *jsonReader) name() span {
	from := int32(len(r.m.names))
	switch r.space() {
	case '"':
		r.m.names = append(r.m.names, r.text()...)
	case 'n':
		r.literal("null")
	default:
		r.wrong()
	}
	return span{from, int32(len(r.m.names))}
}

// uint reads a number. One that is no count, or so great that it is a difference gone below zero, is refused.
func (r *jsonReader) uint() schemas.Optional {
	c := r.space()
	start := r.i
	var v uint64
	for ; r.i < len(r.b) && r.b[r.i] >= '0' && r.b[r.i] <= '9'; r.i++ {
		if v > (math.MaxUint64-9)/10 {
			v = math.MaxUint64 // stays too great
			continue
		}
		v = v*10 + uint64(r.b[r.i]-'0')
	}
	switch {
	case r.err != nil:
	case c == 'n':
		r.literal("null")
	case c != '-' && r.i == start:
		r.wrong()
	case c == '-' || r.i < len(r.b) && slices.Contains([]byte(".eE"), r.b[r.i]):
		r.number(start)
		reason := dropOutOfRange
		if c == '-' {
			reason = dropNegative
		}
		r.m.refused[reason]++
	case v > math.MaxInt64:
		r.m.refused[dropOutOfRange]++
	default:
		return schemas.Optional{Value: v, Valid: true}
	}
	return schemas.Optional{}
}

// number steps over a number that begins at start.
func (r *jsonReader) number(start int) {
	for r.i = start; r.i < len(r.b) && bytes.IndexByte([]byte("+-.eE0123456789"), r.b[r.i]) >= 0; r.i++ {
	}
	if !json.Valid(r.b[start:r.i]) {
		r.i = start
		r.fail(errJSON)
	}
}

// bool reads a truth value, as 1 or 0.
func (r *jsonReader) bool() schemas.Optional {
	switch r.space() {
	case 't':
		r.literal("true")
		return schemas.Optional{Value: 1, Valid: true}
	case 'f':
		r.literal("false")
		return schemas.Optional{Valid: true}
	case 'n':
		r.literal("null")
	default:
		r.wrong()
	}
	return schemas.Optional{}
}

// time reads a time in RFC 3339, as Unix nanoseconds; 0 for null.
func (r *jsonReader) time() int64 {
	switch r.space() {
	case 'n':
		r.literal("null")
		return 0
	case '"':
	default:
		r.wrong()
		return 0
	}
	start := r.i
	text := r.text()
	if r.err != nil {
		return 0
	}
	t, ok := parseUTC(text)
	if !ok {
		var err error
		if t, err = time.Parse(time.RFC3339, string(text)); err != nil {
			r.i = start
			r.fail(errors.New("this is no time as of RFC 3339"))
			return 0
		}
	}
	// What int64 can't hold is further away than anything that is believed.
	switch year := t.Year(); {
	case t.IsZero():
		return 0 // as Kubernetes writes a time that isn't set
	case year < 1700:
		return math.MinInt64
	case year > 2200:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// parseUTC reads a time of whole seconds with a Z behind it, which is what the kubelet writes.
func parseUTC(b []byte) (time.Time, bool) {
	const layout = "0000-00-00T00:00:00Z"
	if len(b) != len(layout) {
		return time.Time{}, false
	}
	var numbers [6]int
	field := 0
	for i, c := range b {
		switch {
		case layout[i] != '0':
			if c != layout[i] {
				return time.Time{}, false
			}
			field++
		case c < '0' || c > '9':
			return time.Time{}, false
		default:
			numbers[field] = numbers[field]*10 + int(c-'0')
		}
	}
	year, month, day, hour, minute, second := numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
	if month < 1 || month > 12 || day < 1 || day > 28 && day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC), true
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// literal reads null, true or false.
func (r *jsonReader) literal(want string) {
	if !bytes.HasPrefix(r.b[r.i:], []byte(want)) {
		r.fail(errJSON)
		return
	}
	r.i += len(want)
}

// wrong fails at a value of another kind than is wanted.
func (r *jsonReader) wrong() {
	if c := r.space(); c != 0 && bytes.IndexByte([]byte(`{["-0123456789tfn`), c) < 0 {
		r.fail(errJSON)
		return
	}
	r.fail(errJSONKind)
}

// endsWord tells what ends a number, null, true or false.
var endsWord = func() (t [256]bool) {
	for _, c := range []byte(" \n\t\r,:{}[]\"") {
		t[c] = true
	}
	return t
}()

// skip steps over a value, however deep it is, with a look at its brackets alone.
func (r *jsonReader) skip() {
	for depth := 0; r.err == nil; {
		switch c := r.space(); c {
		case '"':
			r.string()
		case '{', '[':
			depth++
			r.i++
			continue
		case '}', ']':
			if depth == 0 {
				r.fail(errJSON)
				return
			}
			depth--
			r.i++
		case ',', ':':
			if depth == 0 {
				r.fail(errJSON)
				return
			}
			r.i++
			continue
		case 0:
			r.fail(errJSONEnd)
			return
		default: // a number, or a word
			start := r.i
			for r.i < len(r.b) && !endsWord[r.b[r.i]] {
				r.i++
			}
			if r.i == start {
				r.fail(errJSON)
				return
			}
		}
		if depth == 0 {
			return
		}
	}
}
