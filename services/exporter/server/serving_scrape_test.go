package server

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestEachOf200ScrapesAtOnceIsOfOneMoment: a writer goes round the pods and gives each a higher number every time, so that
// at any moment of the log the numbers are n up to some pod and n-1 behind it.
func TestEachOf200ScrapesAtOnceIsOfOneMoment(t *testing.T) {
	const pods, scrapes = 40, 200
	w := newWorld(t)
	w.puts(pods, func(i int) *corev1.Pod { return numbered(i, 1) })
	w.start(func(o *Options) { o.Usage = false })
	w.ready()

	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for number := int64(2); ; number++ {
			for i := range pods {
				change := changeOf(t, numbered(i, number), schemas.Applied)
				if _, err := w.log.Append(subjectOf(&change), change.Marshal()); err != nil {
					t.Error(err)
					return
				}
			}
			if err := w.log.Flush(t.Context()); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	scrape := func(f form) ([]int64, error) {
		request, err := f.request(t.Context(), http.MethodGet, w.base+"/metrics")
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		text, err := f.whole(response)
		if err != nil {
			return nil, err
		}
		check := strict.Text
		if f.accept == acceptOpenMetrics {
			check = strict.OpenMetrics
		}
		if _, err := check(text); err != nil {
			return nil, err
		}
		found, err := numbers(text, pods)
		if err != nil {
			return nil, err
		}
		for i, n := range found {
			if n != found[0] && n != found[0]-1 || i > 0 && n > found[i-1] {
				return nil, fmt.Errorf("no moment of the log has the numbers %v", found)
			}
		}
		return found, nil
	}
	var (
		begin = make(chan struct{})
		all   sync.WaitGroup
		moved atomic.Int64 // clients that saw the pods change
	)
	for i := range scrapes {
		all.Go(func() {
			f := forms[i%len(forms)]
			<-begin
			first, err := scrape(f)
			if err != nil {
				t.Errorf("%v: %v", f, err)
				return
			}
			second, err := scrape(f)
			if err != nil {
				t.Errorf("%v: %v", f, err)
				return
			}
			for p := range pods {
				if second[p] < first[p] {
					t.Errorf("%v: pod %d went from %d back to %d", f, p, first[p], second[p])
				}
			}
			if second[0] > first[0] {
				moved.Add(1)
			}
		})
	}
	close(begin)
	all.Wait()
	close(stop)
	writer.Wait()
	if moved.Load() == 0 {
		t.Error("no client saw a change: the test has shown nothing")
	}
	total := 0.0
	for _, labels := range []string{`format="text",encoding="gzip"`, `format="text",encoding="identity"`, `format="openmetrics",encoding="gzip"`, `format="openmetrics",encoding="identity"`} {
		parts := strings.Split(labels, ",")
		n, err := w.selfMetric("headwater_exporter_scrapes_total", parts[1]+","+parts[0])
		if err != nil {
			t.Error(err)
		}
		total += n
	}
	if total != 2*scrapes {
		t.Errorf("%v scrapes were counted, want %d", total, 2*scrapes)
	}
}

func TestHEADSaysWhatGETWould(t *testing.T) {
	w := newWorld(t)
	w.puts(20, specimen.Pod)
	w.start(func(o *Options) { o.Usage = false })
	w.ready()
	ask := func(f form, method string) (*http.Response, []byte) {
		request, err := f.request(t.Context(), method, w.base+"/metrics")
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, body
	}
	for _, f := range forms {
		get, body := ask(f, http.MethodGet)
		head, nothing := ask(f, http.MethodHead)
		if len(body) == 0 || len(nothing) != 0 {
			t.Errorf("%v: GET has %d bytes, HEAD %d", f, len(body), len(nothing))
		}
		for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Length", "Vary"} {
			if g, h := get.Header.Get(name), head.Header.Get(name); g != h {
				t.Errorf("%v: %s is %q for GET, %q for HEAD", f, name, g, h)
			}
		}
		if head.ContentLength != int64(len(body)) {
			t.Errorf("%v: HEAD announces %d bytes, GET has %d", f, head.ContentLength, len(body))
		}
	}
	if response, _ := ask(forms[0], http.MethodPost); response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", response.Status)
	}
}

// TestAScrapeUnderWayOutlivesItsView: a client has read the begin of its answer when the log is replaced by another.
func TestAScrapeUnderWayOutlivesItsView(t *testing.T) {
	const pods = 400
	for _, f := range []form{forms[0], forms[3]} {
		w := newWorld(t)
		w.puts(pods, func(i int) *corev1.Pod { return numbered(i, 1) })
		w.start(func(o *Options) { o.Usage = false })
		w.ready()
		request, err := f.request(t.Context(), http.MethodGet, w.base+"/metrics")
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		begin := make([]byte, 1000)
		if _, err := io.ReadFull(response.Body, begin); err != nil {
			t.Fatal(err)
		}
		w.log.Close()
		if err := stream.Recreate(t.Context(), w.conn, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}); err != nil {
			t.Fatal(err)
		}
		w.openLog()
		w.puts(1, func(int) *corev1.Pod { return pod("after", "1", "") })
		w.eventually(`kube_pod_status_phase{namespace="shop",pod="after",uid="uid-1",phase="Running"} 1`, `!kube_pod_info{namespace="team`)

		response.Body = io.NopCloser(io.MultiReader(bytes.NewReader(begin), response.Body))
		text, err := f.whole(response)
		if err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		found, err := numbers(text, pods)
		if err != nil {
			t.Errorf("%v: %v", f, err)
		}
		if strings.Contains(string(text), `pod="after"`) || len(found) != pods {
			t.Errorf("%v: the answer mixes two views", f)
		}
	}
}

func TestClientsThatHangUpDoNotFloodTheLog(t *testing.T) {
	const clients = 50
	w := newWorld(t)
	w.puts(1200, specimen.Pod)
	p := newPKI(t)
	log := w.startLogged(func(o *Options) { o.Usage = false; o.Web.TLSConfig = p.config })
	address := strings.TrimPrefix(w.base, "http://")
	client := p.client(false)
	testenv.Eventually(t, patience, func() error {
		response, err := client.Get("https://" + address + "/readyz")
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", response.Status)
		}
		return nil
	})
	before := strings.Count(log.text(), "\n")

	// In the middle of an answer that is too long for the sockets' buffers.
	for range clients {
		raw, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c := tls.Client(raw, p.tls1(t))
		if _, err := fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := raw.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		raw.Close()
	}
	w.metric("headwater_exporter_scrapes_broken_total", "", clients)
	if got := log.text(); strings.Count(got, "\n") != before {
		t.Errorf("clients that hang up were logged:\n%s", got)
	}

	// What isn't TLS is worth a line, but not one a client.
	for range clients {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		answer, _ := io.ReadAll(c)
		if bytes.Contains(answer, []byte("kube_")) {
			t.Errorf("plain HTTP was answered: %.200s", answer)
		}
		c.Close()
	}
	if n := strings.Count(log.text(), "TLS handshake error"); n == 0 || n > 15 {
		t.Errorf("%d lines for %d clients without TLS:\n%s", n, clients, log.text())
	}
}

// tls1 is a client's configuration for HTTP/1.1.
func (p *pki) tls1(t testing.TB) *tls.Config {
	t.Helper()
	c := p.tls()
	c.ServerName, c.NextProtos = "127.0.0.1", []string{"http/1.1"}
	return c
}
