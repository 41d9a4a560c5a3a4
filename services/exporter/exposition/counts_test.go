package exposition

import (
	"slices"
	"testing"
)

func FuzzLineCounts(f *testing.F) {
	f.Add([]byte{1, 1, 1, 1})
	f.Add([]byte{0, 0, 7, 200, 200, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, want []byte) {
		var packed []byte
		var c lineCounts
		for _, n := range want {
			packed = c.append(packed, int(n)*1000)
		}
		if len(want) > 0 {
			packed = c.flush(packed)
		}
		if runs := len(slices.Compact(slices.Clone(want))); len(packed) > 6*runs {
			t.Errorf("%d runs take %d bytes", runs, len(packed))
		}
		c = lineCounts{packed: packed}
		for i, n := range append(want, 0, 0) {
			if got := c.next(); got != int(n)*1000 {
				t.Errorf("row %d has %d lines, want %d", i, got, int(n)*1000)
			}
		}
	})
}

func FuzzDamagedLineCounts(f *testing.F) {
	f.Add([]byte{3, 0, 255}, []byte("a\nb"))
	f.Fuzz(func(t *testing.T, packed, text []byte) {
		c := lineCounts{packed: packed}
		rest := text
		for range 100 {
			rest = rest[lengthOf(rest, c.next()):]
		}
	})
}
