package api

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// TestQuantitiesAreWhatTheLibraryWrites compares how quantities are written with the library's way.
func TestQuantitiesAreWhatTheLibraryWrites(t *testing.T) {
	d := &dice{Rand: rand.New(rand.NewPCG(1, 2))}
	values := []uint64{0, 1, 999, 1000, 1001, 1023, 1024, 1025, 1e9, 1e18, 9e18, 1 << 62, 1 << 60, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64, math.MaxUint64 - 1}
	for range 100_000 {
		values = append(values, d.number())
	}
	for _, v := range values {
		checkQuantities(t, v)
	}
}

func FuzzQuantities(f *testing.F) {
	for _, v := range []uint64{0, 1000, 1 << 20, math.MaxInt64, math.MaxUint64} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v uint64) { checkQuantities(t, v) })
}

func checkQuantities(t *testing.T, v uint64) {
	t.Helper()
	cpu, memory := quantity(v, -9, resource.DecimalSI), quantity(v, 0, resource.BinarySI)
	if got, want := string(appendCPU(nil, v)), cpu.String(); got != want {
		t.Errorf("%d nanocores are %s, want %s", v, got, want)
	}
	if got, want := string(appendBytes(nil, v)), memory.String(); got != want {
		t.Errorf("%d bytes are %s, want %s", v, got, want)
	}
}

func FuzzJSONStrings(f *testing.F) {
	for _, s := range odd {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if got := appendJSONString(nil, s); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
	})
}
