package objects_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

type meta struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels" objects:"intern"`
}

type inlined struct {
	Kind string `json:"kind"`
}

// all has a field of every type that a decoder supports.
type all struct {
	inlined
	Meta       meta                         `json:"metadata"`
	Bool       bool                         `json:"bool"`
	Int        int                          `json:"int"`
	Int8       int8                         `json:"int8"`
	Int16      int16                        `json:"int16"`
	Int32      *int32                       `json:"int32"`
	Uint       uint                         `json:"uint"`
	Uint8      uint8                        `json:"uint8"`
	Uint16     uint16                       `json:"uint16"`
	Uint32     uint32                       `json:"uint32"`
	Float      float64                      `json:"float"`
	Float32    float32                      `json:"float32"`
	Raw        objects.Raw                  `json:"raw"`
	Time       objects.Time                 `json:"time"`
	Quantity   objects.Quantity             `json:"quantity"`
	Quantities map[string]objects.Quantity  `json:"quantities"`
	Port       objects.IntOrString          `json:"port"`
	List       []meta                       `json:"list"`
	Texts      []string                     `json:"texts"`
	Maps       map[string]map[string]*meta  `json:"maps"`
	Self       *all                         `json:"self"`
	Selves     []all                        `json:"selves"`
	Typed      map[objects.Quantity]float64 `json:"typed"`
	Pairs      objects.Pairs                `json:"pairs" objects:"intern"`
	Own        int                          // not of the message
	Ignored    chan int                     `json:"-"`
}

func pack(t testing.TB, v any) []byte {
	t.Helper()
	b, err := msgpack.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	one := int32(-70000)
	long := strings.Repeat("x", 300)
	message := map[string]any{
		"kind": "Pod", "metadata": map[string]any{"name": "n", "labels": map[string]any{"a": "b", "c": nil, long: long}, "more": []any{1, map[string]any{"x": nil}}},
		"bool": true, "int": -1, "int8": -128, "int16": 32767, "int32": one, "uint": uint64(1 << 63), "uint8": 255, "uint16": 65535.0, "uint32": 7,
		"float": 0.5, "float32": 2, "raw": []any{"x", 1}, "time": "2024-02-29T23:59:58.25Z", "quantity": "100m",
		"quantities": map[string]any{"cpu": "1", "memory": 1024, "x": 1.5, "y": nil}, "port": "http",
		"list": []any{map[string]any{"name": "1"}, nil, map[string]any{"name": "3"}}, "texts": []any{"a", nil, "b"},
		"maps": map[string]any{"m": map[string]any{"n": map[string]any{"name": "deep"}, "o": nil}, "p": nil},
		"self": map[string]any{"int": 5}, "selves": []any{map[string]any{"port": 80}}, "typed": map[string]any{"k": 1},
		"pairs": map[string]any{"b": "2", "a": 1, "c": nil}, "unknown": map[string]any{"a": []any{1, 2}}, "zzz": 1,
	}
	want := all{
		inlined: inlined{"Pod"}, Meta: meta{Name: "n", Labels: map[string]string{"a": "b", "c": "", long: long}},
		Bool: true, Int: -1, Int8: -128, Int16: 32767, Int32: &one, Uint: 1 << 63, Uint8: 255, Uint16: 65535, Uint32: 7,
		Float: 0.5, Float32: 2, Raw: pack(t, []any{"x", 1}), Quantity: "100m",
		Time:       objects.Time{Unix: time.Date(2024, 2, 29, 23, 59, 58, 0, time.UTC).Unix(), Nanos: 250e6, Valid: true},
		Quantities: map[string]objects.Quantity{"cpu": "1", "memory": "1024", "x": "1.5", "y": ""},
		Port:       objects.IntOrString{Text: "http", Valid: true},
		List:       []meta{{Name: "1"}, {}, {Name: "3"}}, Texts: []string{"a", "", "b"},
		Maps:   map[string]map[string]*meta{"m": {"n": {Name: "deep"}, "o": nil}, "p": nil},
		Self:   &all{Int: 5},
		Selves: []all{{Port: objects.IntOrString{Number: 80, IsNumber: true, Valid: true}}},
		Typed:  map[objects.Quantity]float64{"k": 1},
		Pairs:  objects.Pairs{{"a", "1"}, {"b", "2"}, {"c", ""}},
	}
	// The keys come in a random order, since msgpack.Marshal takes them from a map, and then sorted as ours do.
	for i := range 20 {
		b := pack(t, message)
		if i == 0 {
			var buffer bytes.Buffer
			e := msgpack.NewEncoder(&buffer)
			e.SetSortMapKeys(true)
			if err := e.Encode(message); err != nil {
				t.Fatal(err)
			}
			b = buffer.Bytes()
		}
		for _, d := range []*objects.Decoder[all]{objects.NewDecoder[all](), objects.NewDecoder[all](objects.Borrow())} {
			got := all{Own: 1, Texts: []string{"left over"}, Maps: map[string]map[string]*meta{"left": nil}}
			if err := d.Decode(b, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(all{})); diff != "" {
				t.Fatal(diff)
			}
		}
	}
}

func TestPairs(t *testing.T) {
	p := objects.Pairs{{"a", "1"}, {"c", "3"}}
	for key, want := range map[string]string{"a": "1", "b": "", "c": "3", "d": "", "": ""} {
		if got, ok := p.Get(key); got != want || ok != (want != "") {
			t.Errorf("Get(%q) = %q, %v", key, got, ok)
		}
	}
}

func TestDecodeCopies(t *testing.T) {
	b := pack(t, map[string]any{"metadata": map[string]any{"name": "original", "labels": map[string]any{"key": "value"}}})
	var copied, borrowed, again all
	d := objects.NewDecoder[all]()
	if err := d.Decode(b, &copied); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(b, &again); err != nil {
		t.Fatal(err)
	}
	if err := objects.NewDecoder[all](objects.Borrow()).Decode(b, &borrowed); err != nil {
		t.Fatal(err)
	}
	copy(b[bytes.Index(b, []byte("original")):], "anything")
	if copied.Meta.Name != "original" || borrowed.Meta.Name != "anything" {
		t.Errorf("copied %q, borrowed %q", copied.Meta.Name, borrowed.Meta.Name)
	}
	clear(b)
	var keys []string
	for _, m := range []meta{copied.Meta, again.Meta, borrowed.Meta} {
		for k, v := range m.Labels {
			if k != "key" || v != "value" {
				t.Errorf("an interned label reads %q=%q", k, v)
			}
			keys = append(keys, k)
		}
	}
	if unsafe.StringData(keys[0]) != unsafe.StringData(keys[1]) {
		t.Error("interned strings don't share their memory")
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := map[string]any{}
	for range 300 {
		deep = map[string]any{"self": deep}
	}
	for name, message := range map[string]any{
		"a list":                   []any{},
		"a number":                 5,
		"a text for a number":      map[string]any{"int": "5"},
		"a number for a text":      map[string]any{"kind": 5},
		"a fraction":               map[string]any{"int": 1.5},
		"too large":                map[string]any{"int8": 128},
		"too small":                map[string]any{"int16": -32769},
		"too large for uint8":      map[string]any{"uint8": 256},
		"too large for uint16":     map[string]any{"uint16": 65536},
		"too large for uint32":     map[string]any{"uint32": 1 << 32},
		"too large for int32":      map[string]any{"int32": 1 << 31},
		"negative":                 map[string]any{"uint": -1},
		"a negative float":         map[string]any{"uint": -1.0},
		"a time that is none":      map[string]any{"time": "yesterday"},
		"a number as a time":       map[string]any{"time": 5},
		"a list as a quantity":     map[string]any{"quantity": []any{}},
		"a map as a port":          map[string]any{"port": map[string]any{}},
		"a map as a list":          map[string]any{"list": map[string]any{}},
		"a wrong element":          map[string]any{"texts": []any{"a", 1}},
		"a list as a map":          map[string]any{"maps": []any{}},
		"a wrong label":            map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": 1}}},
		"a wrong quantity":         map[string]any{"quantities": map[string]any{"a": true}},
		"a wrong pair":             map[string]any{"pairs": map[string]any{"a": true}},
		"a list as pairs":          map[string]any{"pairs": []any{}},
		"a wrong value in a map":   map[string]any{"maps": map[string]any{"a": 1}},
		"keys that aren't strings": map[int]any{1: 2},
		"deeper than a T may be":   deep,
	} {
		var v all
		if err := objects.NewDecoder[all]().Decode(pack(t, message), &v); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := pack(t, map[string]any{"self": map[string]any{"selves": []any{map[string]any{"kind": "x"}}, "metadata": map[string]any{"labels": map[string]any{"a": "b"}}}})
	for i := range whole {
		var v all
		if err := objects.NewDecoder[all]().Decode(whole[:i], &v); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("cut off at %d of %d: %v", i, len(whole), err)
		}
	}
	var v all
	if err := objects.NewDecoder[all]().Decode(append(whole, 0), &v); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a byte more: %v", err)
	}
	// An array that claims 2^32-1 elements costs nothing.
	claim := append(pack(t, map[string]any{"selves": nil})[:8], 0xdd, 0xff, 0xff, 0xff, 0xff)
	if n := testing.AllocsPerRun(10, func() { _ = objects.NewDecoder[meta]().Decode(claim, new(meta)) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
}

func TestDecoderRefusesTypes(t *testing.T) {
	check := func(name string, err error) {
		if err == nil || errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("any", objects.NewDecoder[struct {
		A any `json:"a"`
	}]().Decode([]byte{0x80}, new(struct {
		A any `json:"a"`
	})))
	check("numbers as keys", objects.NewDecoder[map[int]string]().Decode([]byte{0x80}, new(map[int]string)))
	type twice struct {
		inlined
		Again string `json:"kind"`
	}
	check("two fields of one name", objects.NewDecoder[twice]().Decode([]byte{0x80}, new(twice)))
}

func TestParseTime(t *testing.T) {
	for text, want := range map[string]string{
		"1970-01-01T00:00:00Z": "", "0001-01-01T00:00:00Z": "", "2000-02-28T12:34:56Z": "", "2024-12-31T23:59:59.999999Z": "",
		"2024-02-29T00:00:00Z": "", "2023-02-29T00:00:00Z": "bad", "2024-01-01T00:00:00+02:00": "", "9999-12-31T23:59:59Z": "",
		"2024-13-01T00:00:00Z": "bad", "2024-01-00T00:00:00Z": "bad", "2024-01-01T24:00:00Z": "bad", "2024-01-01T00:00:00": "bad",
		"": "bad", "2024-01-01T00:00:00.Z": "bad", "2024-01-01 00:00:00Z": "bad", "2024-01-01T00:00:00.1234567891Z": "",
	} {
		got, ok := objects.ParseTime(text)
		expected, err := time.Parse(time.RFC3339, text)
		if ok != (err == nil) || (want == "bad") == ok {
			t.Errorf("%q: %v, the time package says %v", text, ok, err)
		} else if ok && (got.Unix != expected.Unix() || int(got.Nanos) != expected.Nanosecond() || !got.Valid) {
			t.Errorf("%q: %v, want %v", text, got, expected)
		}
	}
	for day := range 1000 { // past a leap year or two
		expected := time.Date(1999, 1, 1, 1, 2, 3, 0, time.UTC).AddDate(0, 0, day*7)
		if got, ok := objects.ParseTime(expected.Format(time.RFC3339)); !ok || got.Unix != expected.Unix() {
			t.Errorf("%v: %v", expected, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x80})
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	kind, _ := objects.ByResource("leases") // small ones: the fuzzer minimizes what it finds
	e := encoder(f, kind)
	fill := filler(1)
	for range 3 {
		obj := kind.New()
		fill.Fill(obj)
		b, err := e.Append(nil, obj)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, text := range []string{`{"self":{"selves":[{"kind":"x"}]},"time":"2024-01-01T00:00:00Z","int":1}`, `{"quantities":{"a":"1","b":2},"maps":{"a":{"b":{"name":"c"}}},"list":[null]}`} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			f.Fatal(err)
		}
		f.Add(pack(f, v))
	}
	copying, borrowing, trimmed := objects.NewDecoder[all](), objects.NewDecoder[all](objects.Borrow()), objects.NewDecoder[trimmedPod]()
	f.Fuzz(func(t *testing.T, b []byte) {
		var one, two all
		err, err2 := copying.Decode(b, &one), borrowing.Decode(b, &two)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("copying: %v, borrowing: %v", err, err2)
		}
		if err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("%v isn't ErrMalformed", err)
		}
		_ = trimmed.Decode(b, new(trimmedPod))
	})
}
