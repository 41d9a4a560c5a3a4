package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// steady is a part of /metrics that doesn't change while nothing happens: no usage, no leases.
const steady = "?resources=pods,deployments,replicasets,namespaces,nodes,configmaps,secrets,services,serviceaccounts,clusterroles"

// python reads gzip in every way that it has, and writes the text.
const python = `
import gzip, io, sys, zlib
packed = open(sys.argv[1], "rb").read()
text = gzip.decompress(packed)
whole = zlib.decompressobj(16 + zlib.MAX_WBITS)
assert whole.decompress(packed) + whole.flush() == text, "zlib reads another text"
assert whole.eof and whole.unused_data == b"", "it is not one gzip member"
slow, parts = zlib.decompressobj(16 + zlib.MAX_WBITS), []
for i in range(0, len(packed), 7):
    parts.append(slow.decompress(packed[i:i + 7]))
assert b"".join(parts) == text and slow.eof, "zlib reads another text in small pieces"
raw = zlib.decompressobj(-zlib.MAX_WBITS)
assert raw.decompress(packed[10:-8]) == text and raw.eof, "deflate ends elsewhere"
assert int.from_bytes(packed[-8:-4], "little") == zlib.crc32(text), "another CRC"
assert int.from_bytes(packed[-4:], "little") == len(text) & 0xffffffff, "another size"
with gzip.GzipFile(fileobj=io.BytesIO(packed)) as f:
    assert f.read() == text, "GzipFile reads another text"
sys.stdout.buffer.write(text)
`

// TestEveryoneReadsTheGzipAnswer: the answer is put together of deflated pieces, so other people's readers say whether it is
// gzip: Go's, zlib's (python3), curl's, and Prometheus'.
func TestEveryoneReadsTheGzipAnswer(t *testing.T) {
	w := shared
	for _, tool := range []string{"curl", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v; install it, or let .ci/run do it", err)
		}
	}
	w.apply(t, deployment("gzip", "web", 5))
	w.running(t, "gzip", 5)

	for _, accept := range []string{"text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"} {
		var plain, packed string
		eventually(t, time.Minute, func() error { // until the cluster stands still for as long as the requests take
			before, _, err := ask(w.metrics+steady, accept, "identity")
			if err != nil {
				return err
			}
			var header http.Header
			if packed, header, err = ask(w.metrics+steady, accept, "gzip"); err != nil {
				return err
			}
			if header.Get("Content-Encoding") != "gzip" || header.Get("Content-Length") != fmt.Sprint(len(packed)) {
				t.Fatalf("%d bytes with %v", len(packed), header)
			}
			if plain, _, err = ask(w.metrics+steady, accept, "identity"); err == nil && plain != before {
				err = fmt.Errorf("the objects don't stand still")
			}
			return err
		})
		t.Logf("%s: %d bytes, %d with gzip", accept, len(plain), len(packed))
		if !strings.Contains(plain, `kube_pod_info{namespace="gzip"`) {
			t.Fatalf("the answer lacks the pods: %.300s", plain)
		}

		member := strings.NewReader(packed)
		unpacker, err := gzip.NewReader(member)
		if err != nil {
			t.Fatal(err)
		}
		unpacker.Multistream(false)
		text, err := io.ReadAll(unpacker)
		if err != nil || member.Len() > 0 || string(text) != plain {
			t.Errorf("Go: %v, %d bytes behind the member, the same text: %v", err, member.Len(), string(text) == plain)
		}

		file := filepath.Join(t.TempDir(), "answer.gz")
		if err := os.WriteFile(file, []byte(packed), 0o600); err != nil {
			t.Fatal(err)
		}
		if text, err := output("python3", "-c", python, file); err != nil || text != plain {
			t.Errorf("python3: %v, the same text: %v", err, text == plain)
		}

		headers := filepath.Join(t.TempDir(), "headers")
		eventually(t, time.Minute, func() error {
			before, _, err := ask(w.metrics+steady, accept, "identity")
			if err != nil {
				return err
			}
			text, err := output("curl", "--silent", "--show-error", "--fail", "--compressed", "--dump-header", headers, "--header", "Accept: "+accept, w.metrics+steady)
			if err != nil {
				return err
			}
			if got, err := os.ReadFile(headers); err != nil || !strings.Contains(strings.ToLower(string(got)), "content-encoding: gzip") {
				t.Fatalf("curl got no gzip: %s, %v", got, err)
			}
			if text != before {
				return fmt.Errorf("curl reads another text, or the objects don't stand still")
			}
			return nil
		})
	}
}

// TestPrometheusScrapesWithGzip: what Prometheus reads is all that there is.
func TestPrometheusScrapesWithGzip(t *testing.T) {
	w := shared
	prometheus, err := w.StartPrometheus(t.Context(), cluster.PrometheusConfig{Jobs: []cluster.ScrapeJob{
		{Name: "steady", Targets: []string{host(w.metrics)}, Settings: map[string]any{
			"honor_labels": true, "params": map[string]any{"resources": []string{strings.TrimPrefix(steady, "?resources=")}},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prometheus.Kill)
	plainBefore, packedBefore := w.scrapes(t, "identity"), w.scrapes(t, "gzip")
	eventually(t, 30*time.Second, func() error { return prometheus.AllUp(t.Context()) })
	eventually(t, time.Minute, func() error {
		text, _, err := ask(w.metrics+steady, "text/plain", "gzip")
		if err != nil {
			return err
		}
		unpacker, err := gzip.NewReader(strings.NewReader(text))
		if err != nil {
			return err
		}
		plain, err := io.ReadAll(unpacker)
		if err != nil {
			return err
		}
		want := 0
		for line := range strings.Lines(string(plain)) {
			if !strings.HasPrefix(line, "#") {
				want++
			}
		}
		samples, err := prometheus.Query(t.Context(), `scrape_samples_scraped{job="steady"}`)
		if err != nil {
			return err
		}
		if len(samples) != 1 || int(samples[0].Value) != want || want == 0 {
			return fmt.Errorf("Prometheus read %v, there are %d", samples, want)
		}
		return nil
	})
	if w.scrapes(t, "gzip") <= packedBefore || w.scrapes(t, "identity") != plainBefore {
		t.Errorf("Prometheus did not ask for gzip: %v plain scrapes before, %v after", plainBefore, w.scrapes(t, "identity"))
	}
}

// scrapes tells how many answers the exporter gave in an encoding.
func (w *world) scrapes(t *testing.T, encoding string) (n float64) {
	t.Helper()
	for line := range strings.Lines(fetch(t, w.exporterTelemetry+"/metrics")) {
		if strings.HasPrefix(line, "headwater_exporter_scrapes_total{") && strings.Contains(line, fmt.Sprintf("encoding=%q", encoding)) {
			var v float64
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err != nil {
				t.Fatal(err)
			}
			n += v
		}
	}
	return n
}

// ask gets a page as it is on the wire.
func ask(url, accept, encoding string) (string, http.Header, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", nil, err
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("Accept-Encoding", encoding) // given by hand, so that Go's client unpacks nothing
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %s", url, response.Status, body)
	}
	return string(body), response.Header, err
}

// output runs a program and returns what it prints.
func output(name string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	command := exec.Command(name, args...)
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, errs.String())
	}
	return out.String(), nil
}
