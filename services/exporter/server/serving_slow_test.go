package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// writeTimeout is longer than a busy machine takes for the answer to another client.
const writeTimeout = 10 * time.Second

// slowWorld has an answer that is longer than what sockets and HTTP/2 buffer.
func slowWorld(t *testing.T, tls bool) (*world, *pki, string) {
	t.Helper()
	w, p := newWorld(t), newPKI(t)
	w.puts(1200, specimen.Pod)
	w.start(func(o *Options) {
		o.Usage, o.WriteTimeout = false, writeTimeout
		if tls {
			o.Web.TLSConfig = p.config
		}
	})
	address := strings.TrimPrefix(w.base, "http://")
	if tls {
		w.base = "https://" + address
	}
	client := p.client(false)
	testenv.Eventually(t, patience, func() error {
		response, err := client.Get(w.base + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
	return w, p, address
}

// crawl reads one byte, waits, reads the next, until the connection ends or the test does.
func crawl(t *testing.T, r io.Reader) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for one := make([]byte, 1); ; {
		if _, err := r.Read(one); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return
		}
	}
}

// cutOff checks that n slow clients, who began at a time, are cut off at the write time-out, not before and not much later,
// and that others are served as ever meanwhile.
func (w *world) cutOff(client *http.Client, n int, began time.Time) {
	w.Helper()
	served, slowest := 0, time.Duration(0)
	testenv.Eventually(w, patience, func() error {
		at := time.Now()
		f := forms[served%len(forms)]
		request, err := f.request(w.Context(), http.MethodGet, w.base+"/metrics")
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			w.Fatal(err)
		}
		if _, err := f.whole(response); err != nil {
			w.Fatalf("another client: %v", err)
		}
		served++
		slowest = max(slowest, time.Since(at))
		broken, err := w.selfMetric("headwater_exporter_scrapes_broken_total", "")
		if err == nil && broken != float64(n) {
			err = fmt.Errorf("%v were cut off, want %d", broken, n)
		}
		return err
	})
	took := time.Since(began)
	w.Logf("cut off after %v; others had %d scrapes meanwhile, the slowest took %v", took, served, slowest)
	if took < writeTimeout {
		w.Errorf("cut off after %v, the time-out is %v", took, writeTimeout)
	}
	if took > writeTimeout+15*time.Second { // TLS takes 5 s to say goodbye to whom nothing can be said
		w.Errorf("cut off after %v only, the time-out is %v", took, writeTimeout)
	}
	if served < 2 || slowest > writeTimeout {
		w.Errorf("others had %d scrapes, the slowest took %v", served, slowest)
	}
}

func TestAClientThatReadsByteByByteIsCutOff(t *testing.T) {
	t.Parallel() // they mostly wait
	for _, encrypted := range []bool{false, true} {
		w, p, address := slowWorld(t, encrypted)
		began := time.Now()
		const clients = 5
		for range clients {
			raw, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			if err := raw.(*net.TCPConn).SetReadBuffer(4096); err != nil {
				t.Fatal(err)
			}
			c := raw
			if encrypted {
				c = tls.Client(raw, p.tls1(t))
			}
			if _, err := fmt.Fprint(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			go crawl(t, c)
		}
		w.cutOff(p.client(false), clients, began)
	}
}

// TestASlowStreamLeavesItsConnectionToOthers: with HTTP/2, slow and fast scrapes share a connection.
func TestASlowStreamLeavesItsConnectionToOthers(t *testing.T) {
	t.Parallel() // they mostly wait
	w, p, _ := slowWorld(t, true)
	client := p.client(true)
	request, err := forms[0].request(t.Context(), http.MethodGet, w.base+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Fatalf("the answer came over %s", response.Proto)
	}
	if response.ContentLength < 6<<20 {
		t.Fatalf("%d bytes fit a stream's window: the test would show nothing", response.ContentLength)
	}
	go crawl(t, response.Body)
	w.cutOff(client, 1, began)
}

// TestAConnectionThatNobodyReadsIsClosed: with HTTP/2, the client allows any amount of data and then reads none.
func TestAConnectionThatNobodyReadsIsClosed(t *testing.T) {
	t.Parallel() // they mostly wait
	w, p, address := slowWorld(t, true)
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := raw.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	config := p.tls()
	config.ServerName, config.NextProtos = "127.0.0.1", []string{"h2"}
	c := tls.Client(raw, config)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	const unlimited = 1<<31 - 1
	framer := http2.NewFramer(c, c)
	var block strings.Builder
	fields := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "x"}, {Name: ":path", Value: "/metrics"}} {
		if err := fields.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: unlimited}),
		framer.WriteWindowUpdate(0, unlimited-65535),
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndStream: true, EndHeaders: true}),
	); err != nil {
		t.Fatal(err)
	}
	w.cutOff(p.client(false), 1, time.Now())

	// What the buffers hold can still be read; then the connection must have ended.
	if err := errors.Join(raw.(*net.TCPConn).SetReadBuffer(4<<20), c.SetReadDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after %d bytes the connection is still open", n)
	}
}
