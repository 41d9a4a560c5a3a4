package schemas_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas"
)

// The seeds are the golden messages of all kinds, and those that claim too much.
func seeds(f *testing.F) {
	for _, g := range goldens() {
		f.Add(g.bytes())
	}
	for _, claim := range hugeClaims() {
		_, raw := claim()
		f.Add(raw)
	}
}

// check is what holds for any bytes read as a message: an error of two, or a value that is written and read as itself,
// whatever the value it is read into said before.
func check(t *testing.T, raw []byte, a, b, used message) {
	err := a.Unmarshal(raw)
	through := msgpack.Unmarshal(raw, b)
	if err != nil {
		if !errors.Is(err, schemas.ErrMalformed) && !errors.Is(err, schemas.ErrVersion) {
			t.Fatalf("%x gives %v", raw, err)
		}
		if used.Unmarshal(raw) == nil {
			t.Fatalf("%x gives %v, but nothing when read into a value that was in use", raw, err)
		}
		return
	}
	if through != nil {
		t.Fatalf("%x is read by Unmarshal, but not through msgpack: %v", raw, through)
	}
	if err := used.Unmarshal(raw); err != nil {
		t.Fatalf("%x is read into a new value, but not into a used one: %v", raw, err)
	}
	canonical := a.Marshal()
	for _, m := range []message{b, used} {
		if got := m.Marshal(); !bytes.Equal(got, canonical) {
			t.Fatalf("%x is read in two ways:\n%s\n%s", raw, dumpOrError(canonical), dumpOrError(got))
		}
	}
	if err := b.Unmarshal(canonical); err != nil {
		t.Fatalf("%x is written as %x, which gives %v", raw, canonical, err)
	}
	if got := b.Marshal(); !bytes.Equal(got, canonical) {
		t.Fatalf("%x is written as\n%s\nwhich is written as\n%s", raw, dumpOrError(canonical), dumpOrError(got))
	}
}

func FuzzUsageDecode(f *testing.F) {
	seeds(f)
	used := benchSample()
	f.Fuzz(func(t *testing.T, raw []byte) {
		check(t, raw, &schemas.UsageSample{}, &schemas.UsageSample{}, &used)
	})
}

func FuzzObjectDecode(f *testing.F) {
	seeds(f)
	used := benchChange()
	f.Fuzz(func(t *testing.T, raw []byte) {
		check(t, raw, &schemas.ObjectChange{}, &schemas.ObjectChange{}, &used)
	})
}

func FuzzScrapeDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		used := &schemas.ScrapeReport{Node: "n", Ingester: "i", Time: 1, Duration: 2, Result: "timeout", Error: "e", URL: "u", Failures: 3,
			LastSuccess: 4, Next: 5, Dropped: []schemas.DroppedUsage{{Namespace: "s", Pod: "p", Container: "c", Reason: "r"}}, More: 6}
		check(t, raw, &schemas.ScrapeReport{}, &schemas.ScrapeReport{}, used)
	})
}

func FuzzAvailabilityDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		used := &schemas.Availability{Time: 1, Kinds: []schemas.KindAvailability{{Group: "g", Resource: "foos", Reason: "error", Since: 9}}}
		check(t, raw, &schemas.Availability{}, &schemas.Availability{}, used)
	})
}
