package schemas_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas"
)

// A second codec for the same messages, as anyone would write it from SPEC.md with an ordinary msgpack library: one call
// a value. It shows that the format needs nothing of ours, and our bytes are held to its bytes.

type referenceWriter struct {
	*msgpack.Encoder
	t testing.TB
}

func (w referenceWriter) ok(err error) {
	if err != nil {
		w.t.Fatal(err)
	}
}

func referenceUsage(t testing.TB, s *schemas.UsageSample) []byte {
	var b bytes.Buffer
	w := referenceWriter{msgpack.NewEncoder(&b), t}
	var e schemas.NodeExtra
	if s.Extra != nil {
		e = *s.Extra
	}
	trailing := w.trailing(e.Network, e.Rootfs, e.Images, e.Containers)
	w.ok(w.EncodeArrayLen(6 + len(trailing)))
	w.ok(w.EncodeUint(1))
	w.ok(w.EncodeString(s.Node))
	w.ok(w.EncodeInt(s.Time))
	w.ok(w.EncodeInt(s.Duration))
	w.point(s.Point)
	w.ok(w.EncodeArrayLen(len(s.Pods)))
	for _, p := range s.Pods {
		var e schemas.PodExtra
		if p.Extra != nil {
			e = *p.Extra
		}
		trailing := w.trailing(e.Network, e.Volumes, e.Ephemeral, e.Processes)
		w.ok(w.EncodeArrayLen(5 + len(trailing)))
		w.ok(w.EncodeString(p.Namespace))
		w.ok(w.EncodeString(p.Name))
		w.ok(w.EncodeString(p.UID))
		w.ok(w.EncodeArrayLen(len(p.Containers)))
		for _, c := range p.Containers {
			var e schemas.ContainerExtra
			if c.Extra != nil {
				e = *c.Extra
			}
			trailing := w.trailing(e.Rootfs, e.Logs)
			w.ok(w.EncodeArrayLen(2 + len(trailing)))
			w.ok(w.EncodeString(c.Name))
			w.point(&c.Point)
			w.all(trailing)
		}
		w.point(p.Point)
		w.all(trailing)
	}
	w.all(trailing)
	return b.Bytes()
}

// trailing cuts the values that are not there off the end.
func (w referenceWriter) trailing(values ...any) []any {
	for len(values) > 0 {
		last := reflect.ValueOf(values[len(values)-1])
		if !last.IsZero() && (last.Kind() != reflect.Slice || last.Len() > 0) {
			break
		}
		values = values[:len(values)-1]
	}
	return values
}

// all writes values of the types that richer sources add.
func (w referenceWriter) all(values []any) {
	for _, v := range values {
		switch v := v.(type) {
		case schemas.Optional:
			w.optional(v)
			continue
		case *schemas.Network:
			if v != nil {
				w.ok(w.EncodeArrayLen(2))
				w.ok(w.EncodeInt(v.Time))
				w.ok(w.EncodeArrayLen(len(v.Interfaces)))
				for _, i := range v.Interfaces {
					w.ok(w.EncodeArrayLen(5))
					w.ok(w.EncodeString(i.Name))
					w.all([]any{i.ReceivedBytes, i.ReceiveErrors, i.TransmittedBytes, i.TransmitErrors})
				}
				continue
			}
		case *schemas.Filesystem:
			if v != nil {
				w.ok(w.EncodeArrayLen(7))
				w.ok(w.EncodeInt(v.Time))
				w.all([]any{v.Used, v.Capacity, v.Available, v.Inodes, v.InodesUsed, v.InodesFree})
				continue
			}
		case []schemas.VolumeUsage:
			if len(v) > 0 {
				w.ok(w.EncodeArrayLen(len(v)))
				for _, volume := range v {
					w.ok(w.EncodeArrayLen(5))
					w.ok(w.EncodeString(volume.Name))
					w.ok(w.EncodeString(volume.ClaimNamespace))
					w.ok(w.EncodeString(volume.Claim))
					w.all([]any{volume.Filesystem, volume.Abnormal})
				}
				continue
			}
		}
		w.ok(w.EncodeNil())
	}
}

func (w referenceWriter) point(p *schemas.Point) {
	if p == nil {
		w.ok(w.EncodeNil())
		return
	}
	var extra []schemas.Optional
	var pressure *schemas.Pressure
	if e := p.Extra; e != nil && e.Pressure != nil {
		extra = []schemas.Optional{e.SwapUsage, e.SwapLimit, e.RSS, e.Usage, e.PageFaults, e.MajorPageFaults, {}}
		pressure = e.Pressure
	} else if e != nil {
		extra = []schemas.Optional{e.SwapUsage, e.SwapLimit, e.RSS, e.Usage, e.PageFaults, e.MajorPageFaults}
		for len(extra) > 0 && !extra[len(extra)-1].Valid {
			extra = extra[:len(extra)-1]
		}
	}
	w.ok(w.EncodeArrayLen(8 + len(extra)))
	w.ok(w.EncodeInt(p.Time))
	w.ok(w.EncodeInt(p.CPUTime - p.Time))
	w.ok(w.EncodeInt(p.MemoryTime - p.Time))
	w.ok(w.EncodeInt(p.Start))
	w.ok(w.EncodeUint(p.CPU))
	w.ok(w.EncodeUint(p.Memory))
	w.optional(schemas.Optional{Value: p.Rate, Valid: p.Rate != schemas.NoRate})
	w.ok(w.EncodeInt(p.Window))
	if pressure == nil {
		for _, o := range extra {
			w.optional(o)
		}
		return
	}
	for _, o := range extra[:6] {
		w.optional(o)
	}
	w.ok(w.EncodeArrayLen(6))
	w.all([]any{pressure.CPUWaiting, pressure.CPUStalled, pressure.MemoryWaiting, pressure.MemoryStalled, pressure.IOWaiting, pressure.IOStalled})
}

func (w referenceWriter) optional(o schemas.Optional) {
	if !o.Valid {
		w.ok(w.EncodeNil())
		return
	}
	w.ok(w.EncodeUint(o.Value))
}

func referenceObject(t testing.TB, c *schemas.ObjectChange) []byte {
	var b bytes.Buffer
	w := referenceWriter{msgpack.NewEncoder(&b), t}
	w.ok(w.EncodeArrayLen(13))
	w.ok(w.EncodeUint(1))
	w.ok(w.EncodeUint(uint64(c.Operation)))
	for _, s := range []string{c.Group, c.APIVersion, c.Kind, c.Resource, c.Namespace, c.Name, c.UID, c.ResourceVersion} {
		w.ok(w.EncodeString(s))
	}
	w.ok(w.EncodeInt(c.Time))
	if c.Object == nil {
		w.ok(w.EncodeNil())
	} else {
		w.ok(w.Encode(msgpack.RawMessage(c.Object)))
	}
	if len(c.Dropped) == 0 {
		w.ok(w.EncodeNil())
		return b.Bytes()
	}
	w.ok(w.EncodeArrayLen(len(c.Dropped)))
	for _, s := range c.Dropped {
		w.ok(w.EncodeString(s))
	}
	return b.Bytes()
}

func referenceAvailability(t testing.TB, a *schemas.Availability) []byte {
	var b bytes.Buffer
	w := referenceWriter{msgpack.NewEncoder(&b), t}
	w.ok(w.EncodeArrayLen(3))
	w.ok(w.EncodeUint(1))
	w.ok(w.EncodeInt(a.Time))
	w.ok(w.EncodeArrayLen(len(a.Kinds)))
	for _, k := range a.Kinds {
		w.ok(w.EncodeArrayLen(4))
		w.ok(w.EncodeString(k.Group))
		w.ok(w.EncodeString(k.Resource))
		w.ok(w.EncodeString(k.Reason))
		w.ok(w.EncodeInt(k.Since))
	}
	return b.Bytes()
}

func referenceScrape(t testing.TB, s *schemas.ScrapeReport) []byte {
	var b bytes.Buffer
	w := referenceWriter{msgpack.NewEncoder(&b), t}
	w.ok(w.EncodeArrayLen(13))
	w.ok(w.EncodeUint(1))
	w.ok(w.EncodeString(s.Node))
	w.ok(w.EncodeString(s.Ingester))
	w.ok(w.EncodeInt(s.Time))
	w.ok(w.EncodeInt(s.Duration))
	w.ok(w.EncodeString(s.Result))
	w.ok(w.EncodeString(s.Error))
	w.ok(w.EncodeString(s.URL))
	w.ok(w.EncodeUint(s.Failures))
	w.ok(w.EncodeInt(s.LastSuccess))
	w.ok(w.EncodeInt(s.Next))
	w.ok(w.EncodeArrayLen(len(s.Dropped)))
	for _, d := range s.Dropped {
		w.ok(w.EncodeArrayLen(4))
		w.ok(w.EncodeString(d.Namespace))
		w.ok(w.EncodeString(d.Pod))
		w.ok(w.EncodeString(d.Container))
		w.ok(w.EncodeString(d.Reason))
	}
	w.ok(w.EncodeUint(s.More))
	return b.Bytes()
}

func TestReferenceWriter(t *testing.T) {
	check := func(m message) {
		t.Helper()
		var want []byte
		switch m := m.(type) {
		case *schemas.UsageSample:
			want = referenceUsage(t, m)
		case *schemas.ObjectChange:
			want = referenceObject(t, m)
		case *schemas.Availability:
			want = referenceAvailability(t, m)
		case *schemas.ScrapeReport:
			want = referenceScrape(t, m)
		}
		raw := m.Marshal()
		if !bytes.Equal(raw, want) {
			t.Fatalf("Marshal gives\n%s\nthe reference writes\n%s", dumpOrError(raw), dumpOrError(want))
		}
		got := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
		if err := got.Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("Unmarshal gives\n%+v\nwant\n%+v", got, m)
		}
	}
	for _, g := range goldens() {
		check(g.value)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		s, c, a, r := randomSample(random), randomChange(random), randomAvailability(random), randomScrape(random)
		check(&s)
		check(&c)
		check(&a)
		check(&r)
	}
}

// TestReuse decodes messages of all shapes into one value each: what the former said must never show.
func TestReuse(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var s schemas.UsageSample
	var c schemas.ObjectChange
	var a schemas.Availability
	var r schemas.ScrapeReport
	for i := range 500 {
		wantSample, wantChange, wantAvailability := randomSample(random), randomChange(random), randomAvailability(random)
		wantScrape := randomScrape(random)
		if err := r.Unmarshal(wantScrape.Marshal()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(r, wantScrape) {
			t.Fatalf("report %d was decoded as\n%s\nwant\n%s", i, show(&r), show(&wantScrape))
		}
		if err := a.Unmarshal(wantAvailability.Marshal()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, wantAvailability) {
			t.Fatalf("availability %d was decoded as\n%s\nwant\n%s", i, show(&a), show(&wantAvailability))
		}
		if err := s.Unmarshal(wantSample.Marshal()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Marshal(), wantSample.Marshal()) {
			t.Fatalf("sample %d was decoded as\n%s\nwant\n%s", i, show(&s), show(&wantSample))
		}
		if err := c.Unmarshal(wantChange.Marshal()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.Marshal(), wantChange.Marshal()) {
			t.Fatalf("change %d was decoded as\n%s\nwant\n%s", i, show(&c), show(&wantChange))
		}
		if i%10 == 0 { // an error in between must not matter
			raw := wantSample.Marshal()
			if err := s.Unmarshal(raw[:len(raw)/2]); err == nil {
				t.Fatal("half a message was accepted")
			}
		}
	}
}

// TestNothingAliased changes the message after it was decoded: only an object may change with it.
func TestNothingAliased(t *testing.T) {
	for _, g := range goldens() {
		raw := bytes.Clone(g.bytes())
		got := g.fresh()
		if err := got.Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		if c, ok := got.(*schemas.ObjectChange); ok {
			if len(c.Object) > 0 && &c.Object[0] != &raw[bytes.Index(raw, c.Object)] {
				t.Errorf("%s: the object was copied", g.name)
			}
			c.Object = bytes.Clone(c.Object)
		}
		for i := range raw {
			raw[i] = 0xff
		}
		if !reflect.DeepEqual(got, g.value) {
			t.Errorf("%s: the decoded message changed with the bytes it came from", g.name)
		}
	}
}

func randomInt(r *rand.Rand) int64   { return int64(r.Uint64()) >> r.IntN(64) }
func randomUint(r *rand.Rand) uint64 { return r.Uint64() >> r.IntN(64) }

func randomName(r *rand.Rand) string {
	names := []string{"", "a", "web-0", "kube-system", "ünïcödé", "日本", fmt.Sprintf("pod-%d", r.IntN(1000)), fmt.Sprintf("%0*d", r.IntN(300), 1)}
	return names[r.IntN(len(names))]
}

func randomPoint(r *rand.Rand) *schemas.Point {
	p := &schemas.Point{Time: randomInt(r), CPUTime: randomInt(r), MemoryTime: randomInt(r), Start: randomInt(r),
		CPU: randomUint(r), Memory: randomUint(r), Rate: randomUint(r), Window: randomInt(r)}
	if r.IntN(5) == 0 {
		p.Rate = schemas.NoRate
	}
	if r.IntN(3) == 0 {
		p.Extra = &schemas.Extra{}
		for _, o := range []*schemas.Optional{&p.Extra.SwapUsage, &p.Extra.SwapLimit, &p.Extra.RSS, &p.Extra.Usage, &p.Extra.PageFaults, &p.Extra.MajorPageFaults} {
			if r.IntN(2) == 0 {
				*o = optional(randomUint(r))
			}
		}
		if r.IntN(2) == 0 {
			p.Extra.Pressure = &schemas.Pressure{CPUWaiting: randomOptional(r), CPUStalled: randomOptional(r), MemoryWaiting: randomOptional(r),
				MemoryStalled: randomOptional(r), IOWaiting: randomOptional(r), IOStalled: optional(randomUint(r))}
		}
		if *p.Extra == (schemas.Extra{}) {
			p.Extra = nil // nothing set is the same as nothing there
		}
	}
	return p
}

func randomSample(r *rand.Rand) schemas.UsageSample {
	s := schemas.UsageSample{Node: randomName(r), Time: randomInt(r), Duration: randomInt(r)}
	if r.IntN(2) == 0 {
		s.Point = randomPoint(r)
	}
	for range r.IntN(40) {
		p := schemas.PodUsage{Namespace: randomName(r), Name: randomName(r), UID: randomName(r)}
		for range r.IntN(4) {
			c := schemas.ContainerUsage{Name: randomName(r), Point: *randomPoint(r)}
			if e := (schemas.ContainerExtra{Rootfs: randomFilesystem(r), Logs: randomFilesystem(r)}); e != (schemas.ContainerExtra{}) {
				c.Extra = &e
			}
			p.Containers = append(p.Containers, c)
		}
		if r.IntN(3) == 0 {
			p.Extra = &schemas.PodExtra{Network: randomNetwork(r), Ephemeral: randomFilesystem(r), Processes: optional(randomUint(r))}
			if r.IntN(3) == 0 {
				p.Extra.Processes = schemas.Optional{}
				p.Extra.Volumes = append(p.Extra.Volumes, schemas.VolumeUsage{Name: randomName(r)}) // so that it isn't empty
			}
			for range r.IntN(3) {
				p.Extra.Volumes = append(p.Extra.Volumes, schemas.VolumeUsage{Name: randomName(r), ClaimNamespace: randomName(r), Claim: randomName(r),
					Filesystem: randomFilesystem(r), Abnormal: randomOptional(r)})
			}
		}
		if r.IntN(2) == 0 {
			p.Point = randomPoint(r)
		}
		s.Pods = append(s.Pods, p)
	}
	e := schemas.NodeExtra{Network: randomNetwork(r), Rootfs: randomFilesystem(r), Images: randomFilesystem(r), Containers: randomFilesystem(r)}
	if e != (schemas.NodeExtra{}) {
		s.Extra = &e
	}
	return s
}

func randomOptional(r *rand.Rand) schemas.Optional {
	if r.IntN(2) == 0 {
		return schemas.Optional{}
	}
	return optional(randomUint(r))
}

func randomFilesystem(r *rand.Rand) *schemas.Filesystem {
	if r.IntN(3) > 0 {
		return nil
	}
	return &schemas.Filesystem{Time: randomInt(r), Used: randomOptional(r), Capacity: randomOptional(r), Available: randomOptional(r),
		Inodes: randomOptional(r), InodesUsed: randomOptional(r), InodesFree: randomOptional(r)}
}

func randomNetwork(r *rand.Rand) *schemas.Network {
	if r.IntN(3) > 0 {
		return nil
	}
	n := &schemas.Network{Time: randomInt(r)}
	for range r.IntN(4) {
		n.Interfaces = append(n.Interfaces, schemas.InterfaceUsage{Name: randomName(r), ReceivedBytes: randomOptional(r), ReceiveErrors: randomOptional(r),
			TransmittedBytes: randomOptional(r), TransmitErrors: randomOptional(r)})
	}
	return n
}

func randomChange(r *rand.Rand) schemas.ObjectChange {
	c := schemas.ObjectChange{
		Operation: schemas.Deleted, Group: randomName(r), APIVersion: randomName(r), Kind: randomName(r), Resource: randomName(r),
		Namespace: randomName(r), Name: randomName(r), UID: randomName(r), ResourceVersion: randomName(r), Time: randomInt(r),
	}
	if r.IntN(4) > 0 {
		c.Operation, c.Object = schemas.Applied, podObject()
	}
	for range r.IntN(6) / 3 {
		c.Dropped = append(c.Dropped, randomName(r))
	}
	return c
}

func randomAvailability(r *rand.Rand) schemas.Availability {
	a := schemas.Availability{Time: randomInt(r)}
	for range r.IntN(20) {
		a.Kinds = append(a.Kinds, schemas.KindAvailability{Group: randomName(r), Resource: randomName(r), Reason: randomName(r), Since: randomInt(r)})
	}
	return a
}

func randomScrape(r *rand.Rand) schemas.ScrapeReport {
	s := schemas.ScrapeReport{
		Node: randomName(r), Ingester: randomName(r), Time: randomInt(r), Duration: randomInt(r), Result: randomName(r), Error: randomName(r),
		URL: randomName(r), Failures: randomUint(r), LastSuccess: randomInt(r), Next: randomInt(r), More: randomUint(r),
	}
	for range r.IntN(20) {
		s.Dropped = append(s.Dropped, schemas.DroppedUsage{Namespace: randomName(r), Pod: randomName(r), Container: randomName(r), Reason: randomName(r)})
	}
	return s
}
