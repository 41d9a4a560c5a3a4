package schemas_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
)

func TestVersion(t *testing.T) {
	later := [][]byte{
		{0x91, 2},                              // shorter than any message of ours
		{0x92, 0xcd, 1, 0, 0xa1, 'x'},          // version 256
		{0x91, 0},                              // version 0
		append([]byte{0x96, 2}, "anything"...), // of a shape that we cannot know
	}
	for _, raw := range later {
		for _, m := range []message{&schemas.UsageSample{}, &schemas.ObjectChange{}, &schemas.Availability{}, &schemas.ScrapeReport{}} {
			if err := m.Unmarshal(raw); !errors.Is(err, schemas.ErrVersion) || errors.Is(err, schemas.ErrMalformed) {
				t.Errorf("%T of %x gives %v, want ErrVersion", m, raw, err)
			}
		}
	}
	for _, raw := range [][]byte{nil, {}, {0x90}, {1}, {0xc0}, {0x80}, {0x91, 0xff}, {0x91, 0xa1, '1'}, {0x91, 0xc0}, {0x91, 1}, {0xc1}} {
		for _, m := range []message{&schemas.UsageSample{}, &schemas.ObjectChange{}, &schemas.Availability{}, &schemas.ScrapeReport{}} {
			if err := m.Unmarshal(raw); !errors.Is(err, schemas.ErrMalformed) {
				t.Errorf("%T of %x gives %v, want ErrMalformed", m, raw, err)
			}
		}
	}
}

// TestTruncated cuts every golden message at every byte, and adds one.
func TestTruncated(t *testing.T) {
	for _, g := range goldens() {
		raw := g.bytes()
		for i := range raw {
			if err := g.fresh().Unmarshal(raw[:i]); !errors.Is(err, schemas.ErrMalformed) {
				t.Fatalf("%s: %d of its %d bytes give %v, want ErrMalformed", g.name, i, len(raw), err)
			}
			if err := msgpack.Unmarshal(raw[:i], g.fresh()); i > 0 && !errors.Is(err, schemas.ErrMalformed) || err == nil {
				t.Fatalf("%s: %d of its %d bytes give %v through msgpack, want ErrMalformed", g.name, i, len(raw), err)
			}
		}
		if err := g.fresh().Unmarshal(append(raw[:len(raw):len(raw)], 0xc0)); !errors.Is(err, schemas.ErrMalformed) {
			t.Errorf("%s: bytes after its end give %v, want ErrMalformed", g.name, err)
		}
	}
}

// TestDamaged puts a value of every kind in the place of every byte.
func TestDamaged(t *testing.T) {
	codes := []byte{0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xc4, 0xc6, 0xc9, 0xca, 0xcb, 0xcf, 0xd3, 0xd4, 0xd8, 0xdb, 0xdd, 0xdf, 0xe0, 0xff}
	for _, g := range goldens() {
		raw := bytes.Clone(g.bytes())
		m := g.fresh() // one for all: the remains of a failed message must not matter either
		for i, was := range raw[:min(len(raw), 700)] {
			for _, c := range codes {
				raw[i] = c
				if err := m.Unmarshal(raw); err != nil && !errors.Is(err, schemas.ErrMalformed) && !errors.Is(err, schemas.ErrVersion) {
					t.Fatalf("%s with %#x at byte %d gives %v", g.name, c, i, err)
				}
			}
			raw[i] = was
		}
		if err := m.Unmarshal(raw); err != nil {
			t.Errorf("%s cannot be read after damaged ones: %v", g.name, err)
		}
	}
}

// TestDecoderStream reads messages one after the other from one Decoder, from memory and from a plain stream.
func TestDecoderStream(t *testing.T) {
	var all []byte
	for range 3 {
		for _, g := range goldens() {
			all = append(all, g.bytes()...)
		}
	}
	for name, r := range map[string]io.Reader{"memory": bytes.NewReader(all), "stream": io.MultiReader(bytes.NewReader(all))} {
		d := msgpack.NewDecoder(r)
		for range 3 {
			for _, g := range goldens() {
				got := g.fresh()
				if err := d.Decode(got); err != nil {
					t.Fatalf("%s, %s: %v", name, g.name, err)
				}
				if !bytes.Equal(got.Marshal(), g.value.Marshal()) {
					t.Errorf("%s: %s was decoded as\n%s", name, g.name, show(got))
				}
			}
		}
		if err := d.Decode(&schemas.UsageSample{}); err != io.EOF {
			t.Errorf("%s: after the last message: %v, want io.EOF", name, err)
		}
	}
	// Inside other types they encode and decode themselves too.
	type envelope struct {
		Before string
		Sample *schemas.UsageSample
		Change schemas.ObjectChange
		After  int
	}
	in := envelope{"x", goldens()[0].value.(*schemas.UsageSample), *goldens()[6].value.(*schemas.ObjectChange), 7}
	raw, err := msgpack.Marshal(&in)
	if err != nil {
		t.Fatal(err)
	}
	var out envelope
	if err := msgpack.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	if out.After != 7 || show(out.Sample) != show(in.Sample) || show(&out.Change) != show(&in.Change) {
		t.Errorf("within another type they come back as %+v, want %+v", out, in)
	}
}

// hugeClaims are messages that say of some part that it is of 2^32-1 elements or bytes.
func hugeClaims() map[string]func() (message, []byte) {
	usage := func(b ...byte) func() (message, []byte) {
		return func() (message, []byte) { return &schemas.UsageSample{}, b }
	}
	object := func(b ...byte) func() (message, []byte) {
		return func() (message, []byte) { return &schemas.ObjectChange{}, b }
	}
	availability := func(b ...byte) func() (message, []byte) {
		return func() (message, []byte) { return &schemas.Availability{}, b }
	}
	scrape := func(b ...byte) func() (message, []byte) {
		return func() (message, []byte) { return &schemas.ScrapeReport{}, b }
	}
	report := []byte{0x9d, 1, 0xa0, 0xa0, 0, 0, 0xa0, 0xa0, 0xa0, 0, 0, 0}
	envelope := []byte{0x9d, 1, 1, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0}
	return map[string]func() (message, []byte){
		"message":       usage(0xdd, 0xff, 0xff, 0xff, 0xff, 1),
		"version":       usage(0x96, 0xdb, 0xff, 0xff, 0xff, 0xff),
		"node name":     usage(0x96, 1, 0xdb, 0xff, 0xff, 0xff, 0xff, 'a'),
		"node point":    usage(0x96, 1, 0xa0, 0, 0, 0xdd, 0xff, 0xff, 0xff, 0xff, 0),
		"pods":          usage(0x96, 1, 0xa0, 0, 0, 0xc0, 0xdd, 0xff, 0xff, 0xff, 0xff),
		"pod":           usage(0x96, 1, 0xa0, 0, 0, 0xc0, 0x91, 0xdd, 0xff, 0xff, 0xff, 0xff),
		"pod name":      usage(0x96, 1, 0xa0, 0, 0, 0xc0, 0x91, 0x95, 0xa0, 0xdb, 0xff, 0xff, 0xff, 0xff, 0xa0),
		"containers":    usage(0x96, 1, 0xa0, 0, 0, 0xc0, 0x91, 0x95, 0xa0, 0xa0, 0xa0, 0xdd, 0xff, 0xff, 0xff, 0xff),
		"interfaces":    usage(0x97, 1, 0xa0, 0, 0, 0xc0, 0x90, 0x92, 0, 0xdd, 0xff, 0xff, 0xff, 0xff),
		"filesystem":    usage(0x98, 1, 0xa0, 0, 0, 0xc0, 0x90, 0xc0, 0xdd, 0xff, 0xff, 0xff, 0xff, 0),
		"pressure":      usage(0x96, 1, 0xa0, 0, 0, 0x9f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xdd, 0xff, 0xff, 0xff, 0xff, 0),
		"volumes":       usage(0x96, 1, 0xa0, 0, 0, 0xc0, 0x91, 0x97, 0xa0, 0xa0, 0xa0, 0x90, 0xc0, 0xc0, 0xdd, 0xff, 0xff, 0xff, 0xff),
		"trailing":      usage(0x9b, 1, 0xa0, 0, 0, 0xc0, 0x90, 0xc0, 0xc0, 0xc0, 0xc0, 0xdf, 0xff, 0xff, 0xff, 0xff),
		"trailing blob": usage(0x9b, 1, 0xa0, 0, 0, 0xc0, 0x90, 0xc0, 0xc0, 0xc0, 0xc0, 0xc6, 0xff, 0xff, 0xff, 0xff),
		"trailing ext":  usage(0x9b, 1, 0xa0, 0, 0, 0xc0, 0x90, 0xc0, 0xc0, 0xc0, 0xc0, 0xc9, 0xff, 0xff, 0xff, 0xff, 1),
		"change":        object(0xdd, 0xff, 0xff, 0xff, 0xff, 1),
		"object":        object(append(envelope[:12:12], 0xdf, 0xff, 0xff, 0xff, 0xff)...),
		"in an object":  object(append(envelope[:12:12], 0x81, 0xa0, 0xdd, 0xff, 0xff, 0xff, 0xff)...),
		"dropped":       object(append(envelope[:12:12], 0x80, 0xdd, 0xff, 0xff, 0xff, 0xff)...),
		"kinds":         availability(0x93, 1, 0, 0xdd, 0xff, 0xff, 0xff, 0xff),
		"kind":          availability(0x93, 1, 0, 0x91, 0xdd, 0xff, 0xff, 0xff, 0xff, 0),
		"a reason":      availability(0x93, 1, 0, 0x91, 0x94, 0xa0, 0xa0, 0xdb, 0xff, 0xff, 0xff, 0xff, 'a', 0),
		"an error":      scrape(append(report[:6:6], 0xa0, 0xdb, 0xff, 0xff, 0xff, 0xff, 'a')...),
		"dropped usage": scrape(append(report[:12:12], 0xdd, 0xff, 0xff, 0xff, 0xff)...),
		"one of them":   scrape(append(report[:12:12], 0x91, 0xdd, 0xff, 0xff, 0xff, 0xff, 0xa0)...),
		"dropped name":  object(append(envelope[:12:12], 0x80, 0x91, 0xdb, 0xff, 0xff, 0xff, 0xff)...),
	}
}

// allocated is how many bytes f takes from the heap.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestHugeClaims(t *testing.T) {
	for name, claim := range hugeClaims() {
		t.Run(name, func(t *testing.T) {
			m, raw := claim()
			var err error
			if n := allocated(func() { err = m.Unmarshal(raw) }); n > 16<<10 {
				t.Errorf("Unmarshal took %d bytes for a message of %d", n, len(raw))
			}
			if !errors.Is(err, schemas.ErrMalformed) {
				t.Errorf("Unmarshal gives %v, want ErrMalformed", err)
			}
			if n := allocated(func() { err = msgpack.Unmarshal(raw, m) }); n > 256<<10 {
				t.Errorf("DecodeMsgpack took %d bytes for a message of %d", n, len(raw))
			}
			if !errors.Is(err, schemas.ErrMalformed) {
				t.Errorf("DecodeMsgpack gives %v, want ErrMalformed", err)
			}
		})
	}
}

// TestMemoryInProportion holds what the smallest elements, as many as fit into a megabyte, take of memory.
func TestMemoryInProportion(t *testing.T) {
	const size = 1 << 20
	head := []byte{0x96, 1, 0xa0, 0, 0, 0xc0}
	pods := wire.AppendArrayLen(bytes.Clone(head), size/5)
	pods = append(pods, bytes.Repeat([]byte{0x94, 0xa0, 0xa0, 0xa0, 0xc0}, size/5)...)
	containers := append(bytes.Clone(head), 0x91, 0x94, 0xa0, 0xa0, 0xa0)
	containers = wire.AppendArrayLen(containers, size/11)
	containers = append(containers, bytes.Repeat([]byte{0x92, 0xa0, 0x98, 0, 0, 0, 0, 0, 0, 0, 0}, size/11)...)
	kinds := wire.AppendArrayLen([]byte{0x93, 1, 0}, size/5)
	kinds = append(kinds, bytes.Repeat([]byte{0x94, 0xa0, 0xa0, 0xa0, 0}, size/5)...)
	var a schemas.Availability
	var failed error
	if n := allocated(func() { failed = a.Unmarshal(kinds) }); n > 20*size || failed != nil {
		t.Errorf("kinds: %d bytes for a message of %d, %v", n, len(kinds), failed)
	}
	dropped := wire.AppendArrayLen([]byte{0x9d, 1, 0xa0, 0xa0, 0, 0, 0xa0, 0xa0, 0xa0, 0, 0, 0}, size/5)
	dropped = append(dropped, bytes.Repeat([]byte{0x94, 0xa0, 0xa0, 0xa0, 0xa0}, size/5)...)
	dropped = append(dropped, 0)
	var r schemas.ScrapeReport
	if n := allocated(func() { failed = r.Unmarshal(dropped) }); n > 20*size || failed != nil {
		t.Errorf("dropped: %d bytes for a message of %d, %v", n, len(dropped), failed)
	}
	interfaces := wire.AppendArrayLen([]byte{0x97, 1, 0xa0, 0, 0, 0xc0, 0x90, 0x92, 0}, size/6)
	interfaces = append(interfaces, bytes.Repeat([]byte{0x95, 0xa0, 0xc0, 0xc0, 0xc0, 0xc0}, size/6)...)
	volumes := wire.AppendArrayLen(append(bytes.Clone(head), 0x91, 0x97, 0xa0, 0xa0, 0xa0, 0x90, 0xc0, 0xc0), size/6)
	volumes = append(volumes, bytes.Repeat([]byte{0x95, 0xa0, 0xa0, 0xa0, 0xc0, 0xc0}, size/6)...)
	disks := wire.AppendArrayLen(append(bytes.Clone(head), 0x91, 0x94, 0xa0, 0xa0, 0xa0), size/19)
	disks = append(disks, bytes.Repeat([]byte{0x93, 0xa0, 0x98, 0, 0, 0, 0, 0, 0, 0, 0, 0x97, 0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0}, size/19)...)
	pressed := wire.AppendArrayLen(append(bytes.Clone(head), 0x91, 0x94, 0xa0, 0xa0, 0xa0), size/25)
	pressed = append(pressed, bytes.Repeat([]byte{0x92, 0xa0, 0x9f, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0x96, 0, 0, 0, 0, 0, 0}, size/25)...)
	nested := append([]byte{0x9b, 1, 0xa0, 0, 0, 0xc0, 0x90, 0xc0, 0xc0, 0xc0, 0xc0}, bytes.Repeat([]byte{0x91}, size)...)
	nested = append(nested, 0xc0)
	for name, raw := range map[string][]byte{"pods": pods, "containers": containers, "interfaces": interfaces, "volumes": volumes,
		"filesystems": disks, "pressures": pressed, "a million arrays in one another": nested} {
		var s schemas.UsageSample
		var err error
		if n := allocated(func() { err = s.Unmarshal(raw) }); n > 20*size {
			t.Errorf("%s: %d bytes for a message of %d", name, n, len(raw))
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	sample, change := benchSample(), benchChange()
	rawSample, rawChange := sample.Marshal(), change.Marshal()
	var s schemas.UsageSample
	var c schemas.ObjectChange
	buf := make([]byte, 0, 2*len(rawSample))
	for _, test := range []struct {
		name string
		most float64
		f    func() error
	}{
		{"append a sample", 0, func() error { sample.AppendMsgpack(buf); return nil }},
		{"append a change", 0, func() error { change.AppendMsgpack(buf); return nil }},
		{"read a node's next sample", 0, func() error { return s.Unmarshal(rawSample) }},
		{"read a sample", 6, func() error { var s schemas.UsageSample; return s.Unmarshal(rawSample) }},
		{"read an object's next change", 0, func() error { return c.Unmarshal(rawChange) }},
		{"read a change", 1, func() error { var c schemas.ObjectChange; return c.Unmarshal(rawChange) }},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := test.f(); err != nil {
				t.Fatal(err)
			}
		}); n > test.most {
			t.Errorf("to %s takes %v allocations, at most %v are meant", test.name, n, test.most)
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	bad := "caf\xe9-\xff"
	s := schemas.UsageSample{Node: bad, Pods: []schemas.PodUsage{{Namespace: "a", Name: strings.Repeat("long-", 10) + bad, UID: "\xc3",
		Containers: []schemas.ContainerUsage{{Name: "日本\xe6\x97"}}}}}
	var got schemas.UsageSample
	if err := got.Unmarshal(s.Marshal()); err != nil {
		t.Fatal(err)
	}
	if got.Node != "caf\uFFFD-\uFFFD" || got.Pods[0].UID != "\uFFFD" || got.Pods[0].Containers[0].Name != "日本\uFFFD\uFFFD" || !strings.HasSuffix(got.Pods[0].Name, "-caf\uFFFD-\uFFFD") {
		t.Errorf("invalid UTF-8 was written as %s", show(&got))
	}
	for _, name := range []string{bad, "\xff", "1234567\xff", "\xff2345678", "123456789\xff", strings.Repeat("a", 40) + "\x80"} {
		raw := wire.AppendString([]byte{0x96, 1}, name)
		raw = append(raw, 0, 0, 0xc0, 0x90)
		if err := got.Unmarshal(raw); !errors.Is(err, schemas.ErrMalformed) {
			t.Errorf("the node %q gives %v, want ErrMalformed", name, err)
		}
		var c schemas.ObjectChange
		raw = wire.AppendString([]byte{0x9c, 1, 2, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0}, name)
		raw = append(raw, 0xa0, 0xa0, 0, 0xc0)
		if err := c.Unmarshal(raw); !errors.Is(err, schemas.ErrMalformed) {
			t.Errorf("the object %q gives %v, want ErrMalformed", name, err)
		}
	}
}

func TestObjectRules(t *testing.T) {
	envelope := func(operation byte, rest ...byte) []byte {
		b := []byte{0x9d, 1, operation, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0}
		return append(b, rest...)
	}
	for _, test := range []struct {
		what string
		raw  []byte
		ok   bool
	}{
		{"an object", envelope(1, 0x80, 0xc0), true},
		{"no fields dropped, as a list", envelope(1, 0x80, 0x90), true},
		{"a deletion", envelope(2, 0xc0, 0xc0), true},
		{"a deletion with the last state", envelope(2, 0x80, 0xc0), true},
		{"no object", envelope(1, 0xc0, 0xc0), false},
		{"an array as object", envelope(1, 0x90, 0xc0), false},
		{"a string as object", envelope(1, 0xa0, 0xc0), false},
		{"operation 0", envelope(0, 0x80, 0xc0), false},
		{"operation 3", envelope(3, 0x80, 0xc0), false},
		{"a number as dropped field", envelope(1, 0x80, 0x91, 1), false},
		{"a map of one and a half pairs", envelope(1, 0x82, 1, 2, 3), false},
	} {
		var c schemas.ObjectChange
		if err := c.Unmarshal(test.raw); (err == nil) != test.ok || err != nil && !errors.Is(err, schemas.ErrMalformed) {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

func TestHasRate(t *testing.T) {
	for _, test := range []struct {
		p    schemas.Point
		want bool
	}{
		{schemas.Point{Rate: 5, Window: 1}, true},
		{schemas.Point{Rate: 0, Window: 1}, true},
		{schemas.Point{Rate: 5}, false},
		{schemas.Point{Rate: schemas.NoRate, Window: 1}, false},
	} {
		if got := test.p.HasRate(); got != test.want {
			t.Errorf("HasRate of %+v is %v", test.p, got)
		}
	}
}
