package objects

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// Raw is a field's own msgpack, undecoded. It aliases the bytes given to Decode: keep a copy, or nothing.
type Raw []byte

// Time is an API timestamp, of metav1.Time or metav1.MicroTime.
type Time struct {
	Unix  int64 // seconds; rounded down
	Nanos int32 // the rest, 0 for metav1.Time
	Valid bool  // false where the object has none
}

// Quantity is a resource quantity as the API writes it: "100m", "1Gi"; "" where the object has none.
type Quantity string

// Pairs are the entries of a map of strings or quantities, such as labels or requests, sorted by key. They are read faster
// than a map, take less memory, and come in the order in which most consumers want them.
type Pairs []Pair

// Pair is one of them.
type Pair struct{ Key, Value string }

// Get returns the value of a key.
func (p Pairs) Get(key string) (value string, ok bool) {
	i, ok := slices.BinarySearchFunc(p, key, func(pair Pair, key string) int { return strings.Compare(pair.Key, key) })
	if !ok {
		return "", false
	}
	return p[i].Value, true
}

// IntOrString is a number or a text such as "25%".
type IntOrString struct {
	Text     string
	Number   int64
	IsNumber bool
	Valid    bool // false where the object has none
}

func decodeTime(r *wire.Reader, into *Time) error {
	text, err := r.StringBytes()
	if err != nil {
		return err
	}
	t, ok := parseTime(text)
	if !ok {
		return fmt.Errorf("%w: %.40q isn't an RFC 3339 time", wire.ErrMalformed, text)
	}
	*into = t
	return nil
}

// parseTime parses RFC 3339, the usual UTC form without the time package.
func parseTime(text []byte) (Time, bool) {
	const form = "2006-01-02T15:04:05"
	if len(text) > len(form) && text[len(text)-1] == 'Z' &&
		text[4] == '-' && text[7] == '-' && text[10] == 'T' && text[13] == ':' && text[16] == ':' {
		year, ok0 := digits(text[0:4])
		month, ok1 := digits(text[5:7])
		day, ok2 := digits(text[8:10])
		hour, ok3 := digits(text[11:13])
		minute, ok4 := digits(text[14:16])
		second, ok5 := digits(text[17:19])
		nanos, ok6 := fraction(text[19 : len(text)-1])
		if ok0 && ok1 && ok2 && ok3 && ok4 && ok5 && ok6 && month >= 1 && month <= 12 && day >= 1 && day <= 28 &&
			hour < 24 && minute < 60 && second < 60 {
			return Time{Unix: daysBefore(year, month, day)*86400 + int64(hour*3600+minute*60+second), Nanos: int32(nanos), Valid: true}, true
		}
	}
	t, err := time.Parse(time.RFC3339, string(text)) // offsets, the last days of months, and all errors
	if err != nil {
		return Time{}, false
	}
	return Time{Unix: t.Unix(), Nanos: int32(t.Nanosecond()), Valid: true}, true
}

func digits(text []byte) (n int, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// fraction parses "" or "." and one to nine digits, into nanoseconds.
func fraction(text []byte) (nanos int, ok bool) {
	if len(text) == 0 {
		return 0, true
	}
	if text[0] != '.' || len(text) < 2 || len(text) > 10 {
		return 0, false
	}
	nanos, ok = digits(text[1:])
	for range 10 - len(text) {
		nanos *= 10
	}
	return nanos, ok
}

// daysBefore counts the days from 1970-01-01 to a day of the proleptic Gregorian calendar. Years are counted from March,
// so that the leap day is a year's last.
func daysBefore(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	yearDay := (153*(month-3)+2)/5 + day - 1
	return int64(365*year+year/4-year/100+year/400+yearDay) - 719468
}

func (p *reader) quantity(r *wire.Reader, texts *texts) (Quantity, error) {
	switch r.Peek() {
	case wire.Int:
		v, err := r.Int()
		return Quantity(strconv.FormatInt(v, 10)), err
	case wire.Float: // a custom resource may write a quantity as a number
		v, err := r.Float()
		return Quantity(strconv.FormatFloat(v, 'f', -1, 64)), err
	}
	text, err := r.StringBytes()
	if err != nil {
		return "", err
	}
	return Quantity(p.str(text, texts)), nil
}

func (p *reader) intOrString(r *wire.Reader, texts *texts, into *IntOrString) error {
	if r.Peek() == wire.Int {
		v, err := r.Int()
		*into = IntOrString{Number: v, IsNumber: true, Valid: err == nil}
		return err
	}
	text, err := r.StringBytes()
	if err != nil {
		return err
	}
	*into = IntOrString{Text: p.str(text, texts), Valid: true}
	return nil
}

func (p *reader) readPairs(r *wire.Reader, ptr unsafe.Pointer, texts *texts) error {
	n, err := r.MapLen() // at most half the bytes that are left
	if err != nil {
		return err
	}
	pairs := make(Pairs, 0, min(n, 256))
	sorted := true
	for range n {
		key, err := r.StringBytes()
		if err != nil {
			return fmt.Errorf("a key: %w", err)
		}
		pair := Pair{Key: p.str(key, texts)}
		if !r.Nil() {
			value, err := p.quantity(r, texts) // a text, or a number as one
			if err != nil {
				return fmt.Errorf("%.60q: %w", key, err)
			}
			pair.Value = string(value)
		}
		sorted = sorted && (len(pairs) == 0 || pairs[len(pairs)-1].Key < pair.Key)
		pairs = append(pairs, pair)
	}
	if !sorted { // of another writer
		slices.SortStableFunc(pairs, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	}
	*(*Pairs)(ptr) = pairs
	return nil
}
