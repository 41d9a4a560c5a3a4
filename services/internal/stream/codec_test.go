package stream

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

func TestParseDelivery(t *testing.T) {
	for subject, want := range map[string]delivery{
		"$JS.ACK.S.C.1.22.3.1700000000000000000.44":               {22, 3, 1700000000000000000, 44},
		"$JS.ACK._.hash.S.C.1.22.3.1700000000000000000.44":        {22, 3, 1700000000000000000, 44},
		"$JS.ACK.hub.hash.S.C.1.22.3.1700000000000000000.44.rand": {22, 3, 1700000000000000000, 44},
		"$JS.ACK.hub.hash.S.C.1.22.3.1.44.rand.more":              {22, 3, 1, 44},
	} {
		if got, ok := parseDelivery(subject); !ok || got != want {
			t.Errorf("%s: got %v, %v, want %v", subject, got, ok, want)
		}
	}
	for _, subject := range []string{"", "$JS.ACK.", "$JS.ACK.S.C.1.22.3.17", "$JS.ACK.S.C.1.x.3.17.4", "$JS.ACK.S.C.1..3.17.4",
		"$JS.ACK.S.C.1.2.3.99999999999999999999.4", "$JS.ACK.a.S.C.1.2.3.4.5", "INBOX.S.C.1.22.3.17.4"} {
		if got, ok := parseDelivery(subject); ok {
			t.Errorf("%s: got %v, want an error", subject, got)
		}
	}
}

func FuzzParseDelivery(f *testing.F) {
	f.Add("$JS.ACK.S.C.1.22.3.1700000000000000000.44")
	f.Add("$JS.ACK.hub.hash.S.C.1.22.3.1700000000000000000.44.rand")
	f.Fuzz(func(t *testing.T, subject string) {
		d, ok := parseDelivery(subject)
		if !ok {
			return
		}
		again, ok := parseDelivery(fmt.Sprintf("$JS.ACK.S.C.1.%d.%d.%d.%d", d.stream, d.consumer, uint64(d.time), d.pending))
		if !ok || again != d {
			t.Errorf("%q is %v, but again %v", subject, d, again)
		}
	})
}

func FuzzParsePubAck(f *testing.F) {
	f.Add([]byte(`{"stream":"S","seq":7}`))
	f.Add([]byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 5"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if sequence, err := parsePubAck(data); (sequence == 0) == (err == nil) {
			t.Errorf("%q: got %d, %v", data, sequence, err)
		}
	})
}

func exampleManifest() manifest {
	return manifest{log: 1700000000123456789, position: 70_000, time: 1700000001123456789, chunks: []chunkRef{{0, 1}, {5, 900}, {1<<32 - 1, 1 << 40}}}
}

func TestManifest(t *testing.T) {
	for _, want := range []manifest{exampleManifest(), {log: 1, chunks: []chunkRef{}}} {
		got, err := parseManifest(want.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(manifest{}, chunkRef{})); diff != "" {
			t.Error(diff)
		}
	}
}

func exampleChunk(entries ...Entry) chunk {
	var raw []byte
	for _, e := range entries {
		raw = appendEntry(raw, e)
	}
	return chunk{log: 1700000000123456789, position: 7, objects: len(entries), size: len(raw), packed: s2.Encode(nil, raw)}
}

func exampleEntries() []Entry {
	return []Entry{{1, "k8s.v1.test.object.core.pods.a.b", []byte("data")}, {1 << 40, "x", nil}, {3, "", bytes.Repeat([]byte("long "), 1000)}}
}

func TestChunk(t *testing.T) {
	want := exampleEntries()
	message := exampleChunk(want...)
	c, err := parseChunk(message.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if c.log != message.log || c.position != 7 || c.objects != 3 {
		t.Errorf("got %+v", c)
	}
	var got []Entry
	if _, err := c.entries(nil, func(sequence uint64, subject, data []byte) {
		got = append(got, Entry{sequence, string(subject), append([]byte(nil), data...)})
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A reader takes what a newer writer has added, and refuses what it can't know.
func TestSnapshotVersions(t *testing.T) {
	added := wire.AppendArrayLen(nil, 6)
	added = wire.AppendUint(added, snapshotVersion)
	added = wire.AppendInt(added, 1)
	added = wire.AppendUint(added, 2)
	added = wire.AppendInt(added, 3)
	added = wire.AppendArrayLen(added, 1)
	added = wire.AppendArrayLen(added, 3)
	added = wire.AppendUint(added, 4)
	added = wire.AppendUint(added, 5)
	added = wire.AppendString(added, "new")
	added = wire.AppendString(added, "new")
	m, err := parseManifest(added)
	want := manifest{log: 1, position: 2, time: 3, chunks: []chunkRef{{4, 5}}}
	if diff := cmp.Diff(want, m, cmp.AllowUnexported(manifest{}, chunkRef{})); diff != "" || err != nil {
		t.Error(err, diff)
	}
	added[1] = snapshotVersion + 1
	if _, err := parseManifest(added); !errors.Is(err, errSnapshotVersion) {
		t.Errorf("got %v, want errSnapshotVersion", err)
	}
	if _, err := parseChunk(added); !errors.Is(err, errSnapshotVersion) {
		t.Errorf("got %v, want errSnapshotVersion", err)
	}
}

func FuzzManifest(f *testing.F) {
	m := exampleManifest()
	f.Add(m.append(nil))
	f.Add([]byte("\x95\x01\x00\x00\x00\xdd\xff\xff\xff\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			if !errors.Is(err, errSnapshotDamaged) && !errors.Is(err, errSnapshotVersion) {
				t.Errorf("the error is of no known kind: %v", err)
			}
			return
		}
		again, err := parseManifest(m.append(nil))
		if diff := cmp.Diff(m, again, cmp.AllowUnexported(manifest{}, chunkRef{})); diff != "" || err != nil {
			t.Error(err, diff)
		}
	})
}

func FuzzChunk(f *testing.F) {
	c := exampleChunk(exampleEntries()...)
	f.Add(c.append(nil))
	c = exampleChunk()
	f.Add(c.append(nil))
	c.objects = 1 << 40
	f.Add(c.append(nil))
	c = chunk{size: maxChunkSize, packed: []byte{0x80, 0x80, 0x80, 0x08, 0}}
	f.Add(c.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseChunk(data)
		n := 0
		if err == nil {
			_, err = c.entries(nil, func(uint64, []byte, []byte) { n++ })
		}
		if err != nil {
			if !errors.Is(err, errSnapshotDamaged) && !errors.Is(err, errSnapshotVersion) {
				t.Errorf("the error is of no known kind: %v", err)
			}
			return
		}
		if n != c.objects {
			t.Errorf("%d objects of %d", n, c.objects)
		}
	})
}
