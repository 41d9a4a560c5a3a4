package api

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

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
