package wire_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// theirs is what msgpack's own Encoder writes.
func theirs(t *testing.T, write func(*msgpack.Encoder) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(msgpack.NewEncoder(&b)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func same(t *testing.T, what any, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%v is written as %x, want %x", what, got, want)
	}
}

// edges are the numbers around every width.
func edges() []uint64 {
	var v []uint64
	for shift := range 64 {
		v = append(v, 1<<shift-1, 1<<shift, 1<<shift+1)
	}
	return append(v, math.MaxUint64)
}

func TestIntegers(t *testing.T) {
	for _, v := range edges() {
		b := wire.AppendUint(nil, v)
		same(t, v, b, theirs(t, func(e *msgpack.Encoder) error { return e.EncodeUint(v) }))
		r := wire.NewReader(b)
		if got, err := r.Uint(); err != nil || got != v || r.Len() != 0 {
			t.Errorf("%x is read as %d, %v, want %d", b, got, err, v)
		}
		r = wire.NewReader(b)
		if got, err := r.Int(); v <= math.MaxInt64 && (err != nil || got != int64(v)) || v > math.MaxInt64 && !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%x is read as the signed %d, %v, want %d", b, got, err, v)
		}
		for _, s := range []int64{int64(v), -int64(v)} {
			b := wire.AppendInt(nil, s)
			same(t, s, b, theirs(t, func(e *msgpack.Encoder) error { return e.EncodeInt(s) }))
			r := wire.NewReader(b)
			if got, err := r.Int(); err != nil || got != s || r.Len() != 0 {
				t.Errorf("%x is read as %d, %v, want %d", b, got, err, s)
			}
			r = wire.NewReader(b)
			if got, err := r.Uint(); s >= 0 && (err != nil || got != uint64(s)) || s < 0 && !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%x is read as the unsigned %d, %v, want %d", b, got, err, s)
			}
			r = wire.NewReader(b)
			if got, err := r.Float(); err != nil || got != float64(s) {
				t.Errorf("%x is read as the float %g, %v, want %d", b, got, err, s)
			}
		}
	}
	// Every width is read, needed or not, of either sign.
	for raw, want := range map[string]int64{
		"\xcc\x05": 5, "\xcd\x00\x05": 5, "\xce\x00\x00\x00\x05": 5, "\xcf\x00\x00\x00\x00\x00\x00\x00\x05": 5,
		"\xd0\x05": 5, "\xd1\x00\x05": 5, "\xd2\x00\x00\x00\x05": 5, "\xd3\x00\x00\x00\x00\x00\x00\x00\x05": 5,
		"\xd0\xfb": -5, "\xd1\xff\xfb": -5, "\xd2\xff\xff\xff\xfb": -5, "\xd3\xff\xff\xff\xff\xff\xff\xff\xfb": -5, "\xfb": -5,
	} {
		r := wire.NewReader([]byte(raw))
		if got, err := r.Int(); err != nil || got != want {
			t.Errorf("%x is read as %d, %v, want %d", raw, got, err, want)
		}
	}
}

func TestLengths(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536, 70000} {
		s := strings.Repeat("x", n)
		b := wire.AppendString(nil, s)
		same(t, n, b, theirs(t, func(e *msgpack.Encoder) error { return e.EncodeString(s) }))
		r := wire.NewReader(b)
		if got, err := r.String(); err != nil || got != s || r.Len() != 0 {
			t.Errorf("a string of %d is read as one of %d, %v", n, len(got), err)
		}

		b = wire.AppendBytes(nil, []byte(s))
		same(t, n, b, theirs(t, func(e *msgpack.Encoder) error { return e.EncodeBytes([]byte(s)) }))
		r = wire.NewReader(b)
		if got, err := r.Bytes(); err != nil || string(got) != s || r.Len() != 0 {
			t.Errorf("binary of %d is read as some of %d, %v", n, len(got), err)
		}

		b = wire.AppendArrayLen(nil, n)
		same(t, n, b, theirs(t, func(e *msgpack.Encoder) error { return e.EncodeArrayLen(n) }))
		r = wire.NewReader(append(b, make([]byte, n)...))
		if got, err := r.ArrayLen(); err != nil || got != n || r.Len() != n {
			t.Errorf("an array of %d is read as one of %d, %v", n, got, err)
		}
		if n > 0 {
			r = wire.NewReader(append(wire.AppendArrayLen(nil, n), make([]byte, n-1)...))
			if _, err := r.ArrayLen(); !errors.Is(err, wire.ErrMalformed) || r.Offset() != 0 {
				t.Errorf("an array of %d in %d bytes gives %v at byte %d", n, n-1, err, r.Offset())
			}
		}

		b = wire.AppendMapLen(nil, n)
		same(t, n, b, theirs(t, func(e *msgpack.Encoder) error { return e.EncodeMapLen(n) }))
		r = wire.NewReader(append(b, make([]byte, 2*n)...))
		if got, err := r.MapLen(); err != nil || got != n || r.Len() != 2*n {
			t.Errorf("a map of %d is read as one of %d, %v", n, got, err)
		}
		if n > 0 {
			r = wire.NewReader(append(wire.AppendMapLen(nil, n), make([]byte, 2*n-1)...))
			if _, err := r.MapLen(); !errors.Is(err, wire.ErrMalformed) || r.Offset() != 0 {
				t.Errorf("a map of %d in %d bytes gives %v at byte %d", n, 2*n-1, err, r.Offset())
			}
		}
	}
}

func TestOthers(t *testing.T) {
	for _, v := range []float64{0, 1, -1.5, math.Pi, math.MaxFloat64, math.Inf(-1)} {
		b := wire.AppendFloat(nil, v)
		same(t, v, b, theirs(t, func(e *msgpack.Encoder) error { return e.EncodeFloat64(v) }))
		r := wire.NewReader(b)
		if got, err := r.Float(); err != nil || got != v || r.Len() != 0 {
			t.Errorf("%x is read as %g, %v, want %g", b, got, err, v)
		}
	}
	r := wire.NewReader([]byte{0xca, 0x3f, 0xc0, 0, 0})
	if got, err := r.Float(); err != nil || got != 1.5 {
		t.Errorf("a 32-bit 1.5 is read as %g, %v", got, err)
	}
	r = wire.NewReader(wire.AppendUint(nil, math.MaxUint64))
	if got, err := r.Float(); err != nil || got != math.MaxUint64 {
		t.Errorf("2^64-1 is read as the float %g, %v", got, err)
	}

	b := wire.AppendNil(wire.AppendBool(wire.AppendBool(nil, true), false))
	same(t, "true, false, nil", b, []byte{0xc3, 0xc2, 0xc0})
	r = wire.NewReader(b)
	if v, err := r.Bool(); !v || err != nil {
		t.Errorf("true is read as %v, %v", v, err)
	}
	if r.Nil() {
		t.Error("false was taken for nil")
	}
	if v, err := r.Bool(); v || err != nil {
		t.Errorf("false is read as %v, %v", v, err)
	}
	if _, err := r.Bool(); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("nil as boolean gives %v", err)
	}
	if !r.Nil() || r.Nil() || r.Len() != 0 || r.Peek() != wire.None {
		t.Error("nil was not read as such, once")
	}
}

// TestWrongType asks for every type of every kind of value: an error that names both, and the value unread.
func TestWrongType(t *testing.T) {
	values := map[wire.Kind][]byte{
		wire.Nil: {0xc0}, wire.Bool: {0xc2}, wire.Int: {0xcd, 1, 2}, wire.Float: wire.AppendFloat(nil, 1), wire.String: {0xa1, 'x'},
		wire.Binary: {0xc4, 1, 0}, wire.Array: {0x91, 0}, wire.Map: {0x81, 0, 0}, wire.Extension: {0xd5, 1, 2, 3}, wire.None: {0xc1},
	}
	reads := map[wire.Kind]func(*wire.Reader) error{
		wire.Bool:   func(r *wire.Reader) error { _, err := r.Bool(); return err },
		wire.Int:    func(r *wire.Reader) error { _, err := r.Int(); return err },
		wire.Float:  func(r *wire.Reader) error { _, err := r.Float(); return err },
		wire.String: func(r *wire.Reader) error { _, err := r.String(); return err },
		wire.Binary: func(r *wire.Reader) error { _, err := r.Bytes(); return err },
		wire.Array:  func(r *wire.Reader) error { _, err := r.ArrayLen(); return err },
		wire.Map:    func(r *wire.Reader) error { _, err := r.MapLen(); return err },
	}
	for kind, raw := range values {
		r := wire.NewReader(raw)
		if got := r.Peek(); got != kind {
			t.Errorf("%x is %v, want %v", raw, got, kind)
		}
		for asked, read := range reads {
			r := wire.NewReader(raw)
			err := read(&r)
			if asked == kind || asked == wire.Float && kind == wire.Int {
				if err != nil {
					t.Errorf("%x as %v gives %v", raw, asked, err)
				}
				continue
			}
			if !errors.Is(err, wire.ErrMalformed) || !strings.Contains(err.Error(), asked.String()) || !strings.Contains(err.Error(), kind.String()) || r.Offset() != 0 {
				t.Errorf("%x as %v gives %v at byte %d, want an error that names both", raw, asked, err, r.Offset())
			}
		}
		// Cut off, no value can be read as anything.
		for n := range len(raw) {
			for asked, read := range reads {
				r := wire.NewReader(raw[:n])
				if err := read(&r); !errors.Is(err, wire.ErrMalformed) {
					t.Errorf("%x as %v gives %v", raw[:n], asked, err)
				}
			}
		}
	}
}

// tree has a value of every form.
func tree() []byte {
	b := wire.AppendArrayLen(nil, 18)
	b = wire.AppendNil(b)
	b = wire.AppendBool(b, true)
	b = wire.AppendInt(b, -1)
	b = wire.AppendInt(b, math.MinInt64)
	b = wire.AppendUint(b, math.MaxUint64)
	b = wire.AppendFloat(b, 1)
	b = wire.AppendFloat(b, 0.1)
	b = wire.AppendFloat(b, math.NaN())
	b = wire.AppendString(b, "a \"quoted\"\nlïne")
	b = wire.AppendString(b, strings.Repeat("s", 32))
	b = wire.AppendBytes(b, []byte{0, 0xff})
	b = append(b, 0xd8, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) // an extension of 16 bytes
	b = append(b, 0xc7, 2, 9, 0xaa, 0xbb)                                        // one of 2 bytes
	b = append(b, 0xca, 0x3f, 0xc0, 0, 0)                                        // a 32-bit float
	b = wire.AppendArrayLen(b, 0)
	b = wire.AppendMapLen(b, 2)
	b = wire.AppendArrayLen(wire.AppendString(b, "list"), 1)
	b = wire.AppendMapLen(b, 1)
	b = wire.AppendUint(wire.AppendUint(b, 5), 6) // a key that is no string
	b = wire.AppendMapLen(wire.AppendString(b, ""), 0)
	b = append(b, bytes.Repeat([]byte{0x91}, 70)...) // arrays deeper than anyone prints
	b = append(b, 0xc0)
	b = wire.AppendArrayLen(b, 20)
	for range 20 {
		b = wire.AppendUint(b, 7)
	}
	return b
}

func TestDump(t *testing.T) {
	var got bytes.Buffer
	if err := wire.Dump(&got, tree()); err != nil {
		t.Fatal(err)
	}
	const name = "testdata/dump.txt"
	if *update {
		if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("couldn't read the golden file: %v (run the tests with -update to write it)", err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s differs (want, got):\n%s\n%s", name, want, got.Bytes())
	}
	raw := tree()
	for n := 1; n < len(raw); n++ {
		if err := wire.Dump(io.Discard, raw[:n]); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%d of %d bytes give %v, want ErrMalformed", n, len(raw), err)
		}
	}
	if err := wire.Dump(failing{}, raw); err == nil {
		t.Error("a writer that fails was not noticed")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestSkip(t *testing.T) {
	raw := tree()
	for n := range len(raw) {
		r := wire.NewReader(raw[:n])
		if err := r.Skip(); !errors.Is(err, wire.ErrMalformed) || r.Offset() != 0 {
			t.Fatalf("%d of %d bytes give %v at byte %d, want ErrMalformed", n, len(raw), err, r.Offset())
		}
	}
	r := wire.NewReader(append(bytes.Clone(raw), 1, 2))
	got, err := r.Raw()
	if err != nil || !bytes.Equal(got, raw) || r.Len() != 2 || cap(got) != len(got) {
		t.Errorf("Raw gives %d bytes, %v, want %d", len(got), err, len(raw))
	}
	// Ten million arrays in one another take no stack and no memory.
	deep := append(bytes.Repeat([]byte{0x91}, 10_000_000), 0xc0)
	if n := testing.AllocsPerRun(1, func() {
		r := wire.NewReader(deep)
		if err := r.Skip(); err != nil || r.Len() != 0 {
			t.Errorf("%v with %d bytes left", err, r.Len())
		}
	}); n > 0 {
		t.Errorf("skipping takes %v allocations", n)
	}
}

func TestReadValue(t *testing.T) {
	raw := tree()
	big := wire.AppendBytes(nil, make([]byte, 200_000))
	stream := append(append(append(bytes.Clone(raw), big...), raw...), 0x05)
	readers := map[string]io.Reader{
		"memory":       bytes.NewReader(stream),
		"a buffer":     bytes.NewBuffer(bytes.Clone(stream)),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"plain":        io.MultiReader(bytes.NewReader(stream)),
	}
	for name, r := range readers {
		b := []byte("before")
		for i, want := range [][]byte{raw, big, raw, {5}} {
			got, err := wire.ReadValue(r, b)
			if err != nil || string(got) != "before"+string(want) {
				t.Fatalf("%s: value %d gives %d bytes, %v, want %d", name, i, len(got), err, len(want))
			}
		}
		if got, err := wire.ReadValue(r, b); err != io.EOF || string(got) != "before" {
			t.Errorf("%s: after the last value: %x, %v, want io.EOF", name, got, err)
		}
	}
	for n := 1; n < len(raw); n++ {
		for name, r := range map[string]io.Reader{"memory": bytes.NewReader(raw[:n]), "plain": io.MultiReader(bytes.NewReader(raw[:n]))} {
			if _, err := wire.ReadValue(r, nil); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%s: %d of %d bytes give %v, want ErrMalformed", name, n, len(raw), err)
			}
		}
	}
	if _, err := wire.ReadValue(strings.NewReader("\x92\x01\xc1"), nil); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a code that is none gives %v", err)
	}
	if _, err := wire.ReadValue(iotest.ErrReader(io.ErrClosedPipe), nil); err != io.ErrClosedPipe {
		t.Errorf("a reader that fails gives %v", err)
	}
}

func FuzzWireSkip(f *testing.F) {
	f.Add(tree())
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xdf, 0x80, 0, 0, 0, 1})
	f.Add([]byte{0xc9, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0xdb, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xc1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := wire.NewReader(raw)
		err := r.Skip()
		if err != nil && (!errors.Is(err, wire.ErrMalformed) || r.Offset() != 0) {
			t.Fatalf("%x gives %v at byte %d", raw, err, r.Offset())
		}
		used := r.Offset()

		// What arrives byte by byte is of the same length.
		for name, stream := range map[string]io.Reader{"memory": bytes.NewReader(raw), "plain": io.MultiReader(bytes.NewReader(raw))} {
			got, streamErr := wire.ReadValue(stream, nil)
			if (err == nil) != (streamErr == nil) || err == nil && !bytes.Equal(got, raw[:used]) {
				t.Fatalf("%s: %x is read as %x, %v, but %d bytes are skipped, %v", name, raw, got, streamErr, used, err)
			}
		}
		if dumpErr := wire.Dump(io.Discard, raw[:used]); err == nil && dumpErr != nil {
			t.Fatalf("%x is skipped but not dumped: %v", raw[:used], dumpErr)
		}
		// Dump reads with the typed methods: it accepts nothing that Skip does not.
		if err != nil && len(raw) > 0 && wire.Dump(io.Discard, raw) == nil {
			t.Fatalf("%x is dumped but not skipped: %v", raw, err)
		}

		// What another library reads is of the same length.
		if len(raw) > 10_000 {
			return // it recurses
		}
		in := bytes.NewReader(raw)
		d := msgpack.NewDecoder(in)
		if d.Skip() == nil && (err != nil || len(raw)-in.Len() != used) {
			t.Fatalf("%x: msgpack skips %d bytes, we %d, %v", raw, len(raw)-in.Len(), used, err)
		}
		if err != nil {
			return
		}
		in.Reset(raw)
		d.Reset(in)
		if v, theirErr := d.DecodeInterface(); theirErr == nil && len(raw)-in.Len() != used {
			t.Fatalf("%x: msgpack reads %d bytes as %v, we skip %d", raw, len(raw)-in.Len(), v, used)
		}
	})
}
