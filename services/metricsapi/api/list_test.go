package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// odd are names and values as Kubernetes has them, and as it doesn't.
var odd = []string{"web", "", "a-b.c", "x<y>&z", `q"u\o`, "tab\there", "ümläut", "line\u2028", "bad\xff", "\x00", "\x7f", strings.Repeat("long", 100)}

// dice makes random readings.
type dice struct {
	*rand.Rand
	labels view.Interner
}

func (d *dice) text() string {
	if d.IntN(3) == 0 {
		return odd[d.IntN(len(odd))]
	}
	return fmt.Sprintf("name-%d", d.IntN(1000))
}

func (d *dice) labelSet(t testing.TB) *view.Labels {
	t.Helper()
	n := d.IntN(4)
	labels, err := d.labels.Intern([]byte{byte(n), byte(d.IntN(50))}, func([]byte) (map[string]string, error) {
		set := map[string]string{}
		for range n {
			set[d.text()] = d.text()
		}
		return set, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return labels
}

func (d *dice) number() uint64 {
	switch v := d.Uint64() >> d.IntN(64); d.IntN(4) {
	case 0:
		return v / 1000 * 1000
	case 1:
		return v &^ 1023
	case 2:
		return uint64(d.IntN(3000))
	default:
		return v
	}
}

func (d *dice) point() schemas.Point {
	p := schemas.Point{Time: d.Int64() - d.Int64(), Rate: d.number(), Memory: d.number(), Window: 1 + d.Int64()>>d.IntN(60)}
	if d.IntN(5) == 0 {
		p.Time = -d.Int64N(3e9) // around 1970, where rounding shows
	}
	if d.IntN(8) == 0 {
		p.Rate = schemas.NoRate
	}
	if d.IntN(2) == 0 {
		p.Extra = &schemas.Extra{SwapUsage: schemas.Optional{Value: d.number(), Valid: d.IntN(3) > 0}}
	}
	return p
}

// pods makes n readings of pods, in parts of which the last one isn't full.
func (d *dice) pods(t testing.TB, n int) podItems {
	var all podItems
	for i := range n {
		if i%partItems == 0 {
			all = append(all, nil)
		}
		sample := schemas.UsageSample{Node: "n", Time: at(0), Pods: []schemas.PodUsage{{}}}
		for c := range 1 + d.IntN(3) {
			sample.Pods[0].Containers = append(sample.Pods[0].Containers, container(fmt.Sprint(d.text(), c), d.point()))
		}
		entry := &view.Entry[pod]{Namespace: d.text(), Name: d.text(), Value: pod{labels: d.labelSet(t), mirror: true}}
		reading, ok := readPod(entry, view.PodUsage{Sample: &sample, Pod: &sample.Pods[0]}, epoch1, time.Minute)
		if !ok {
			t.Fatalf("%+v has no metrics", sample)
		}
		all[len(all)-1] = append(all[len(all)-1], reading)
	}
	return all
}

func (d *dice) nodes(t testing.TB, n int) nodeItems {
	var all nodeItems
	for i := range n {
		if i%partItems == 0 {
			all = append(all, nil)
		}
		p := d.point()
		p.Rate /= 2
		reading, ok := readNode(&view.Entry[node]{Name: d.text(), Value: node{labels: d.labelSet(t)}}, &schemas.UsageSample{Time: at(0), Point: &p}, epoch1, time.Minute)
		if !ok {
			t.Fatalf("%+v has no metrics", p)
		}
		all[len(all)-1] = append(all[len(all)-1], reading)
	}
	return all
}

// terse are n pods of which as little is said as can be.
func terse(n int) podItems {
	all := make([]podReading, n)
	for i := range all {
		all[i].entry = &view.Entry[pod]{Namespace: "n", Name: "p", Value: pod{labels: &view.Labels{}}}
	}
	return slices.Collect(slices.Chunk(all, partItems))
}

var epoch1 = time.Unix(0, at(time.Second))

// TestListsAreWhatTheLibraryWrites encodes random lists with and without the library, in all versions and formats.
func TestListsAreWhatTheLibraryWrites(t *testing.T) {
	scheme, codecs, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	formats := newFormats(scheme, codecs)
	d := &dice{Rand: rand.New(rand.NewPCG(4, 2))}
	for _, n := range []int{0, 1, 2, 40, partItems, partItems + 1, 4*partItems + 7} {
		for _, items := range []items{d.pods(t, n), d.nodes(t, n), terse(n)} {
			for _, variant := range []struct {
				version        uint64
				extended, gzip bool
			}{{0, false, false}, {0, false, true}, {math.MaxUint64 - 1, true, false}, {7, true, true}} {
				header := http.Header{}
				l := &list{items: items, now: epoch1, version: variant.version, extended: variant.extended, formats: formats, makers: new(makers), response: &response{header, variant.gzip}}
				known := 0
				for _, encoder := range encoders(scheme, codecs) {
					if _, ok := formats[encoder.Identifier()]; !ok && n > 40 {
						continue // the library's own ones are slow
					}
					var want, got bytes.Buffer
					if err := encoder.Encode(l.GetObject(), &want); err != nil {
						if !strings.Contains(err.Error(), "yaml") { // which admits no control characters
							t.Fatal(err)
						}
						continue
					}
					clear(header)
					byLibrary := false
					err := l.CacheEncode(encoder.Identifier(), func(o runtime.Object, w io.Writer) error {
						byLibrary = true
						return encoder.Encode(o, w)
					}, &got)
					if err != nil {
						t.Fatal(err)
					}
					if !byLibrary {
						known++
					}
					body := got.Bytes()
					packed := !byLibrary && variant.gzip && want.Len() > gzipFrom
					if coding := header.Get("Content-Encoding"); (coding == "gzip") != packed || (header.Get("Vary") == "Accept-Encoding") != packed {
						t.Errorf("%d items, %d bytes, %s: the header is %v", n, want.Len(), encoder.Identifier(), header)
					}
					if packed {
						body = gunzip(t, body)
					}
					if !bytes.Equal(body, want.Bytes()) {
						t.Fatalf("%s of %d, %+v:\n%s", encoder.Identifier(), n, variant, firstDifference(want.Bytes(), body))
					}
				}
				if known != 4 {
					t.Errorf("%d encoders were done without the library, want 4: JSON and protobuf in two versions", known)
				}
			}
		}
	}
}

// encoders are all of the library's.
func encoders(scheme *runtime.Scheme, codecs serializer.CodecFactory) (all []runtime.Encoder) {
	for _, version := range scheme.PrioritizedVersionsForGroup(metrics.GroupName) {
		for _, info := range codecs.SupportedMediaTypes() {
			all = append(all, codecs.EncoderForVersion(info.Serializer, version))
			if info.PrettySerializer != nil {
				all = append(all, codecs.EncoderForVersion(info.PrettySerializer, version))
			}
		}
	}
	return all
}

func gunzip(t *testing.T, b []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Error(err)
		return nil
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		t.Error(err)
	}
	return body
}

// firstDifference shows where two answers part.
func firstDifference(want, got []byte) string {
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	cut := func(b []byte) []byte { return b[max(0, i-100):min(len(b), i+100)] }
	return fmt.Sprintf("at %d of %d and %d\nwant %q\ngot  %q", i, len(want), len(got), cut(want), cut(got))
}

// nobody is a source that only counts.
type nobody struct {
	source
	sync.Mutex
	ages
}

func (n *nobody) observe(a *ages) {
	n.Lock()
	defer n.Unlock()
	n.count += a.count
}

// TestPartsWithoutMetrics reads a list of which whole parts have nothing to say.
func TestPartsWithoutMetrics(t *testing.T) {
	scheme, codecs, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	d := &dice{Rand: rand.New(rand.NewPCG(5, 5))}
	entries := make([]*view.Entry[pod], 6*partItems-3)
	for i := range entries {
		entries[i] = &view.Entry[pod]{Namespace: "shop", Name: fmt.Sprint(i), Value: pod{labels: d.labelSet(t)}}
	}
	for talking := range 1 << 6 { // a bit for each part
		var source nobody
		items := podItems(readParts(&source, entries, epoch1, func(part []*view.Entry[pod], readings []podReading) []podReading {
			i := slices.Index(entries, part[0])
			if talking>>(i/partItems)&1 != 0 {
				for _, entry := range part[:2] {
					readings = append(readings, podReading{entry: entry})
				}
			}
			return readings
		}))
		l := &list{items: items, now: epoch1, formats: newFormats(scheme, codecs), makers: new(makers), response: &response{}}
		object := l.GetObject()
		if n := len(object.(*metrics.PodMetricsList).Items); n != 2*bits.OnesCount(uint(talking)) || source.count != uint64(n) {
			t.Errorf("%06b: %d pods, %d observed", talking, n, source.count)
		}
		for _, encoder := range encoders(scheme, codecs) {
			var want, got bytes.Buffer
			if err := errors.Join(encoder.Encode(object, &want), encoder.Encode(l, &got)); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Fatalf("%06b: %v, %s", talking, err, firstDifference(want.Bytes(), got.Bytes()))
			}
		}
	}
}

// TestSelectorsFindWhatMatches selects among many label sets, which are found by their labels, and compares with asking
// each object.
func TestSelectorsFindWhatMatches(t *testing.T) {
	d := &dice{Rand: rand.New(rand.NewPCG(6, 6))}
	catalog := newCatalog()
	for i := range 2000 {
		labels, err := d.labels.Intern(fmt.Append(nil, i%400), func([]byte) (map[string]string, error) {
			n := i % 400
			return map[string]string{"app": fmt.Sprint(n / 4), "tier": fmt.Sprint(n % 3), "unique": fmt.Sprint(n)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		catalog.pods.Apply([]string{"shop", "bank"}[i%2], fmt.Sprint("pod-", i), pod{labels: labels})
	}
	for text, least := range map[string]int{
		"app=7": 20, "app==7,tier=1": 1, "app in (7)": 20, "app in (7,8)": 40, "unique in (1,2,3),tier=1": 1, "app=none": 0, "none=": 0,
		"app=7,app=8": 0, "app!=7": 1900, "app": 2000, "!app": 0, "app notin (7,8),unique=3": 5, "unique>397": 5, "unique=3,unique>1": 5,
	} {
		selector, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, namespace := range []string{"", "shop", "bank", "nowhere"} {
			var want []*view.Entry[pod]
			for _, entry := range catalog.pods.All() {
				if (namespace == "" || entry.Namespace == namespace) && selector.Matches(labels.Set(entry.Value.labels.Map())) {
					want = append(want, entry)
				}
			}
			got := selectEntries(catalog.pods, namespace, &metainternalversion.ListOptions{LabelSelector: selector}, nil)
			if !slices.Equal(got, want) || namespace == "" && len(got) < least {
				t.Errorf("%s in %q: %d pods, want %d, of those at least %d", text, namespace, len(got), len(want), least)
			}
		}
	}
}

// TestAnswersAreWhatTheLibraryWrites asks the server over HTTPS for everything in all formats, once as the lists encode
// themselves and once as the library does: who also takes a type that looks like a transformation gets that.
func TestAnswersAreWhatTheLibraryWrites(t *testing.T) {
	for _, watch := range []bool{false, true} {
		s := start(t, func(s *served) {
			m := s.generate(300, 5, 3)
			apply(t, s.catalog, m.objects)
			apply(t, s.samples, m.samples)
		}, func(c *Config) { c.Options.EnableWatch, c.Options.Authentication.CacheTTL = watch, time.Minute })
		compareAnswers(t, s)
		code, body := s.get(group+"/pods", header{"Accept", jsonType})
		if versioned := strings.Contains(body, `"resourceVersion"`); code != http.StatusOK || versioned != watch {
			t.Errorf("watch is %v: code %d, resource versions are there: %v", watch, code, versioned)
		}
	}
}

func compareAnswers(t *testing.T, s *served) {
	t.Helper()
	client := s.client(nil)
	transport := client.Transport.(*http.Transport)
	transport.DisableCompression = true
	packed := 0
	ask := func(path, accept, encoding string) (http.Header, []byte) {
		request := s.request(http.MethodGet, path)
		request.Header.Set("Accept", accept)
		if encoding != "" {
			request.Header.Set("Accept-Encoding", encoding)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response.Status, err)
		}
		if response.Header.Get("Content-Encoding") == "gzip" {
			packed++
			body = gunzip(t, body)
		}
		for _, ours := range []string{"Audit-Id", "Date"} {
			response.Header.Del(ours)
		}
		if response.Header.Get("Content-Encoding") == "gzip" {
			response.Header.Del("Content-Length")
		}
		return response.Header, body
	}
	const other = ", text/classes"
	for _, version := range []string{"v1beta1", "v1"} {
		paths := []string{"/nodes", "/pods", "/namespaces/namespace-1/pods"}
		if version == "v1" {
			paths = append(paths, "/nodes?labelSelector=none", "/pods?labelSelector=tier%3Dbackend", "/namespaces/nowhere/pods", "/pods?pretty=true",
				"/pods?fieldSelector=metadata.namespace%3Dnamespace-2", "/namespaces/namespace-0/pods?fieldSelector=metadata.name%3Ddeployment-0-5d8f7b9c6-00007")
		}
		for _, path := range paths {
			path = "/apis/metrics.k8s.io/" + version + path
			for _, accept := range []string{jsonType, protobuf, "application/yaml", "application/cbor, application/json", "*/*",
				"application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"} {
				encodings := []string{"gzip"}
				if accept == jsonType || accept == protobuf {
					encodings = append(encodings, "", "deflate, gzip;q=1.0")
				}
				for _, encoding := range encodings {
					header, body := ask(path, accept, encoding)
					wantHeader, wantBody := ask(path, accept+other, encoding)
					if !bytes.Equal(body, wantBody) {
						t.Errorf("%s as %s, %q: %s", path, accept, encoding, firstDifference(wantBody, body))
					}
					if got, want := fmt.Sprint(header), fmt.Sprint(wantHeader); got != want {
						t.Errorf("%s as %s, %q: header\n%v, want\n%v", path, accept, encoding, got, want)
					}
				}
			}
		}
	}
	if packed == 0 {
		t.Error("nothing was packed")
	}
}

// TestListsForTheAuditLog has all answers written to the audit log, too, which must not take them for those to the client.
func TestListsForTheAuditLog(t *testing.T) {
	directory := t.TempDir()
	policy, log := filepath.Join(directory, "policy.yaml"), filepath.Join(directory, "log")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]\nomitManagedFields: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(s *served) {
		m := s.generate(50, 30, 3)
		apply(t, s.catalog, m.objects)
		apply(t, s.samples, m.samples)
	}, func(c *Config) {
		c.Options.Audit.PolicyFile, c.Options.Audit.LogOptions.Path = policy, log
	})
	want := s.service.now().UTC().Format(time.RFC3339)
	code, body := s.get(group+"/pods", header{"Accept", jsonType})
	if code != http.StatusOK || strings.Count(body, want) != 1500 {
		t.Fatalf("code %d, %d pods", code, strings.Count(body, want))
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		text, err := os.ReadFile(log)
		if n := strings.Count(string(text), want); err != nil || n != 1500 {
			return fmt.Errorf("%d pods in the log, want 1500; %w", n, err)
		}
		return nil
	})
}

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

// TestPagesAreUsedInOrder fills pages by several goroutines, with everything that may fail.
func TestPagesAreUsedInOrder(t *testing.T) {
	var m makers
	items := func() *itemWriter { return newItemWriter(epoch, 0, false) }
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 2, 7, 100} {
		for failFill := -1; failFill < min(n, 9); failFill++ {
			for failUse := -1; failUse < min(n, 9); failUse++ {
				var used []byte
				err := m.inOrder(n, items, func(part int, by *maker, p *page) error {
					p.content = append(p.content[:0], byte(part))
					if part == failFill {
						return broken
					}
					return nil
				}, func(p *page) error {
					if len(used) == failUse {
						return broken
					}
					used = append(used, p.content...)
					return nil
				})
				fails, want := failFill >= 0 || failUse >= 0, n
				for _, f := range []int{failFill, failUse} {
					if f >= 0 {
						want = min(want, f)
					}
				}
				if errors.Is(err, broken) != fails || len(used) != want || !slices.IsSorted(used) {
					t.Fatalf("%d parts, %d and %d fail: %v, used %v", n, failFill, failUse, err, used)
				}
			}
		}
	}
}

// TestListsConcurrently sends lists side by side, some to clients that go away in the middle.
func TestListsConcurrently(t *testing.T) {
	scheme, codecs, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	d := &dice{Rand: rand.New(rand.NewPCG(3, 3))}
	pods, formats, makers := d.pods(t, 3*partItems), newFormats(scheme, codecs), new(makers)
	wants := map[runtime.Identifier][]byte{}
	for id := range formats {
		var b bytes.Buffer
		l := &list{items: pods, now: epoch1, formats: formats, makers: makers, response: &response{http.Header{}, false}}
		if err := l.CacheEncode(id, nil, &b); err != nil {
			t.Fatal(err)
		}
		wants[id] = b.Bytes()
	}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for id, want := range wants {
				l := &list{items: pods, now: epoch1, formats: formats, makers: makers, response: &response{http.Header{}, i%2 == 0}}
				w := &limited{left: math.MaxInt}
				if i%3 == 0 {
					w.left = len(want) / 2 / (1 + i%2*20)
				}
				err := l.CacheEncode(id, nil, w)
				if i%3 == 0 {
					if i%2 != 0 && !errors.Is(err, io.ErrClosedPipe) {
						t.Errorf("a client that went away: %v", err)
					}
					continue
				}
				body := w.Bytes()
				if i%2 == 0 {
					body = gunzip(t, body)
				}
				if err != nil || !bytes.Equal(body, want) {
					t.Errorf("%v: %s", err, firstDifference(want, body))
				}
			}
		})
	}
	wait.Wait()
}

// limited is a connection that breaks.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return l.Buffer.Write(b)
}
