package server

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// puts appends objects to the log without waiting for each.
func (w *world) puts(n int, object func(i int) *corev1.Pod) {
	w.Helper()
	for i := range n {
		change := changeOf(w, object(i), schemas.Applied)
		if _, err := w.log.Append(subjectOf(&change), change.Marshal()); err != nil {
			w.Fatal(err)
		}
	}
	if err := w.log.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// form is one of the four in which /metrics is answered.
type form struct{ accept, encoding string }

var forms = []form{{acceptText, "identity"}, {acceptText, "gzip"}, {acceptOpenMetrics, "identity"}, {acceptOpenMetrics, "gzip"}}

func (f form) request(ctx context.Context, method, url string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", f.accept)
	r.Header.Set("Accept-Encoding", f.encoding)
	return r, nil
}

// whole reads an answer to its end, checks its headers, and returns its text.
func (f form) whole(response *http.Response) ([]byte, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || response.ContentLength != int64(len(body)) {
		return nil, fmt.Errorf("%s: %d bytes came, %d were announced", response.Status, len(body), response.ContentLength)
	}
	if kind := strings.HasPrefix(response.Header.Get("Content-Type"), "application/openmetrics-text"); kind != (f.accept == acceptOpenMetrics) {
		return nil, fmt.Errorf("asked for %s, got %s", f.accept, response.Header.Get("Content-Type"))
	}
	if f.encoding != "gzip" {
		return body, nil
	}
	packed := bytes.NewReader(body)
	z, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	if body, err = io.ReadAll(z); err == nil && packed.Len() > 0 {
		err = fmt.Errorf("%d bytes follow the gzip member", packed.Len())
	}
	return body, err
}

// numbered is a pod that shows one number in three families that are far apart.
func numbered(i int, number int64) *corev1.Pod {
	p := specimen.Pod(i)
	p.CreationTimestamp = metav1.Unix(number, 0)
	p.Status.StartTime = new(metav1.Unix(number, 0))
	for c := range p.Status.ContainerStatuses {
		p.Status.ContainerStatuses[c].RestartCount = int32(number)
	}
	return p
}

// numbers are those of the n numbered pods in an exposition. Families that don't agree are an error.
func numbers(text []byte, n int) ([]int64, error) {
	index := make(map[string]int, n)
	for i := range n {
		index[specimen.Pod(i).Name] = i
	}
	families := []string{"kube_pod_created{", "kube_pod_start_time{", "kube_pod_container_status_restarts_total{"}
	found := make([][]int64, len(families))
	for f := range found {
		found[f] = make([]int64, n)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		for f, family := range families {
			line := lines.Text()
			if !strings.HasPrefix(line, family) {
				continue
			}
			_, pod, _ := strings.Cut(line, `pod="`)
			pod, _, _ = strings.Cut(pod, `"`)
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				return nil, err
			}
			i, ok := index[pod]
			if !ok {
				return nil, fmt.Errorf("nobody wrote the pod of %s", line)
			}
			found[f][i] = int64(value)
		}
	}
	for i := range n {
		if a, b, c := found[0][i], found[1][i], found[2][i]; a == 0 || a != b || a != c {
			return nil, fmt.Errorf("pod %d is shown as of %d, of %d and of %d", i, a, b, c)
		}
	}
	return found[0], nil
}

// lines is a log that tests read.
type lines struct {
	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(line)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// startLogged starts an exporter whose log, as an operator sees it, is returned.
func (w *world) startLogged(configure func(*Options)) *lines {
	w.Helper()
	options, out := NewOptions(), new(lines)
	options.ListenAddress = "127.0.0.1:0"
	if configure != nil {
		configure(options)
	}
	w.registry = prometheus.NewRegistry()
	service, err := New(Config{Options: options, Conn: w.conn, Cluster: cluster, Log: slog.New(slog.NewTextHandler(out, nil)), Registry: w.registry})
	if err != nil {
		w.Fatal(err)
	}
	w.run(service)
	return out
}

// pki is a folder with a server's certificate and a web configuration that names it.
type pki struct {
	testing.TB
	authority *identity.Authority
	dir       string
	config    string
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	authority, err := identity.NewAuthority("tests")
	if err != nil {
		t.Fatal(err)
	}
	p := &pki{TB: t, authority: authority, dir: t.TempDir()}
	p.renew()
	p.config = p.write("web.yaml", []byte("tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n"))
	return p
}

func (p *pki) write(name string, content []byte) string {
	p.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		p.Fatal(err)
	}
	return path
}

// renew writes a new certificate and returns its serial number.
func (p *pki) renew() string {
	p.Helper()
	pair, err := p.authority.Issue(identity.Subject{CommonName: "exporter", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		p.Fatal(err)
	}
	p.write("tls.key", pair.KeyPEM)
	p.write("tls.crt", pair.CertPEM)
	parsed, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		p.Fatal(err)
	}
	return parsed.Leaf.SerialNumber.String()
}

func (p *pki) tls() *tls.Config { return &tls.Config{RootCAs: p.authority.Pool()} }

// client speaks HTTP/2, or HTTP/1.1 with a connection a request.
func (p *pki) client(two bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: p.tls(), ForceAttemptHTTP2: two, DisableKeepAlives: !two}
	p.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
