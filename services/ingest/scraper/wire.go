package scraper

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

// wire is how requests reach the kubelets: HTTP/1.1 over connections that are kept. In place of http.Transport, whose
// connections have two goroutines and 8 kB each, it does a request in the goroutine that asks, and a connection that
// waits for the next scrape is a socket and the state of its TLS. It is used concurrently.
type wire struct {
	tls    *tlsFiles
	dialer net.Dialer
	// proxy says through which proxy a request goes: nil for none. Those go by proxied.
	proxy   func(*http.Request) (*url.URL, error)
	proxied http.RoundTripper
	// patience is how long a connection is kept unused.
	patience time.Duration

	mu       sync.Mutex // guards what follows
	idle     map[lineKey][]*line
	sweeping bool // a look at idle is ahead
}

// lineKey is where a connection leads.
type lineKey struct{ scheme, host string }

const (
	// idleTimeout is the patience with kubelets. They close one after 90 s by themselves.
	idleTimeout = 90 * time.Second
	// idlePerHost is how many are kept to one address, behind which there may be many simulated nodes.
	idlePerHost = 25
	// maxHeader bounds the header of an answer, bytes.
	maxHeader = 1 << 20
	// maxInterim is how many answers of status 1xx may come before the one that counts.
	maxInterim = 5
)

// newTransport returns what asks kubelets as config says, credentials and all. The TLS files that it names are read again
// when they change, which changed is told of.
func newTransport(config *rest.Config, changed tlsChanged) (http.RoundTripper, error) {
	settings, err := config.TransportConfig()
	if err != nil {
		return nil, err
	}
	if settings.Transport != nil || settings.DialHolder != nil || settings.Proxy != nil {
		return rest.TransportFor(config) // somebody knows another way
	}
	files, err := newTLSFiles(settings.TLS, changed)
	if err != nil {
		return nil, err
	}
	proxied, err := transport.New(&transport.Config{TLS: settings.TLS})
	if err != nil {
		return nil, err
	}
	w := &wire{
		tls:      files,
		dialer:   net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second},
		proxy:    http.ProxyFromEnvironment,
		proxied:  proxied,
		patience: idleTimeout,
		idle:     make(map[lineKey][]*line),
	}
	return transport.HTTPWrappersForConfig(settings, w)
}

// RoundTrip implements http.RoundTripper for requests without a body. A kept connection that turns out to be closed is
// replaced by a new one.
func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	if through, err := w.proxy(request); err != nil || through != nil {
		return w.proxied.RoundTrip(request)
	}
	if request.Body != nil && request.Body != http.NoBody {
		request.Body.Close()
		return nil, fmt.Errorf("a %s with a body isn't for kubelets", request.Method)
	}
	ctx := request.Context()
	key := lineKey{request.URL.Scheme, request.URL.Host}
	config, generation := w.tls.get()
	if l := w.take(key, generation); l != nil {
		response, err := w.ask(l, request)
		if err == nil || l.heard || ctx.Err() != nil {
			return response, err
		}
		w.drop(key) // the others are as old
	}
	l, err := w.dial(ctx, key, config)
	if err != nil {
		return nil, err
	}
	l.generation = generation
	return w.ask(l, request)
}

// take returns a kept connection that was made with the present files, nil where there is none.
func (w *wire) take(key lineKey, generation uint64) *line {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		kept := w.idle[key]
		if len(kept) == 0 {
			return nil
		}
		l := kept[len(kept)-1]
		kept[len(kept)-1] = nil
		if kept = kept[:len(kept)-1]; len(kept) == 0 {
			delete(w.idle, key)
		} else {
			w.idle[key] = kept
		}
		if l.generation == generation && time.Since(l.since) < w.patience && l.socket.quiet() {
			return l
		}
		l.close()
	}
}

// keep keeps a connection for the next request.
func (w *wire) keep(l *line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.since = time.Now()
	if len(w.idle[l.key]) >= idlePerHost {
		l.close()
	} else {
		w.idle[l.key] = append(w.idle[l.key], l)
	}
	w.sweepLater()
}

// sweepLater looks for connections that were not used for too long in a while, whether others are used then or not: their
// nodes may be another ingester's, or gone. The caller holds mu.
func (w *wire) sweepLater() {
	if w.sweeping || len(w.idle) == 0 {
		return
	}
	w.sweeping = true
	time.AfterFunc(w.patience/2, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		now := time.Now()
		w.sweep(func(l *line) bool { return now.Sub(l.since) >= w.patience })
		w.sweeping = false
		w.sweepLater()
	})
}

// sweep closes the connections of which over says so. The caller holds mu.
func (w *wire) sweep(over func(*line) bool) {
	for key, lines := range w.idle {
		left := lines[:0]
		for _, l := range lines {
			if over(l) {
				l.close()
			} else {
				left = append(left, l)
			}
		}
		clear(lines[len(left):])
		if len(left) == 0 {
			delete(w.idle, key)
		} else {
			w.idle[key] = left
		}
	}
}

// drop closes the kept connections to an address.
func (w *wire) drop(key lineKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.idle[key] {
		l.close()
	}
	delete(w.idle, key)
}

// CloseIdleConnections closes those that are kept, through a proxy or not.
func (w *wire) CloseIdleConnections() {
	utilnet.CloseIdleConnectionsFor(w.proxied)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweep(func(*line) bool { return true })
}

// dial connects to an address, with TLS where its scheme is https.
func (w *wire) dial(ctx context.Context, key lineKey, config *tls.Config) (*line, error) {
	host, _, err := net.SplitHostPort(key.host)
	address := key.host
	if err != nil {
		port := "443"
		if key.scheme != "https" {
			port = "80"
		}
		host = (&url.URL{Host: key.host}).Hostname()
		address = net.JoinHostPort(host, port)
	}
	raw, err := w.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: raw}
	l := &line{key: key, socket: s, conn: s}
	if key.scheme != "https" {
		return l, nil
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(s, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		s.release()
		var record tls.RecordHeaderError
		if errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/" {
			return nil, http.ErrSchemeMismatch
		}
		return nil, err
	}
	s.release()
	l.conn = secure
	return l, nil
}

// line is a connection to a kubelet. One request uses it at a time.
type line struct {
	key        lineKey
	socket     *socket
	conn       net.Conn // socket, or TLS over it
	generation uint64   // of the files that it was made with
	since      time.Time

	// While it is used.
	reader *bufio.Reader // of the line itself
	left   int64         // how many bytes may still be read
	heard  bool          // something has come since the request was sent
}

var (
	errHeader  = fmt.Errorf("the header of the answer is longer than %d bytes", maxHeader)
	errInterim = fmt.Errorf("more than %d answers of status 1xx, and none that counts", maxInterim)
	// longAgo is a deadline that ends whatever waits.
	longAgo = time.Unix(1, 0)
)

// Read reads what comes over the connection.
func (l *line) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errHeader
	}
	n, err := l.conn.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	l.heard = l.heard || n > 0
	return n, err
}

// spent tells whether all that has come was read, whether it lies in the reader, in what TLS has unpacked, or in the socket's
// buffer: the next answer would begin with what is left.
func (l *line) spent() bool {
	if l.reader.Buffered() > 0 || l.conn.SetReadDeadline(longAgo) != nil {
		return false
	}
	// With a deadline that is over, the system isn't asked for more.
	_, err := l.reader.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded) && l.conn.SetReadDeadline(time.Time{}) == nil
}

func (l *line) close() {
	// Not through TLS, whose farewell could wait for the peer.
	l.socket.Close()
}

var (
	readers  = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
	requests = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// ask sends a request over a connection and reads the answer's header. The connection is kept or closed when the body
// has been read or is closed.
func (w *wire) ask(l *line, request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	l.heard, l.left = false, maxHeader
	u := &use{wire: w, line: l, stop: context.AfterFunc(ctx, func() { l.conn.SetDeadline(longAgo) })}
	l.reader = readers.Get().(*bufio.Reader)
	l.reader.Reset(l)
	response, err := l.exchange(request)
	if err != nil {
		u.end(false)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	l.left = 1 << 62 // whoever reads the body bounds it
	// What comes after an answer of status 101 is no HTTP.
	u.body, u.last = response.Body, response.Close || response.StatusCode == http.StatusSwitchingProtocols
	if u.body == http.NoBody {
		u.end(!u.last)
	}
	response.Body = u
	return response, nil
}

// exchange writes the request and reads the answer's header.
func (l *line) exchange(request *http.Request) (*http.Response, error) {
	b := requests.Get().(*bytes.Buffer)
	defer requests.Put(b)
	b.Reset()
	if err := request.Write(b); err != nil {
		return nil, err
	}
	if _, err := l.conn.Write(b.Bytes()); err != nil {
		return nil, err
	}
	for range maxInterim + 1 {
		response, err := http.ReadResponse(l.reader, request)
		if err != nil {
			return nil, err
		}
		if response.StatusCode < 100 || response.StatusCode > 199 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, nil
		}
	}
	return nil, errInterim
}

// use is the use of a connection by one request: the body of its answer.
type use struct {
	wire *wire
	line *line // nil when it is over
	stop func() bool
	body io.ReadCloser
	last bool // no other request may follow on this connection
}

// Read implements io.Reader.
func (u *use) Read(p []byte) (int, error) {
	if u.line == nil {
		return 0, io.EOF
	}
	n, err := u.body.Read(p)
	if err != nil {
		u.end(err == io.EOF && !u.last)
	}
	return n, err
}

// Close implements io.Closer. What has not been read costs the connection.
func (u *use) Close() error {
	u.end(false)
	return nil
}

// end gives the connection back, for the next request if it is good for one.
func (u *use) end(good bool) {
	l := u.line
	if l == nil {
		return
	}
	u.line = nil
	// Nobody may have set a deadline, and nothing may have come beyond the answer.
	good = u.stop() && good && l.spent()
	l.reader.Reset(nil)
	readers.Put(l.reader)
	l.reader = nil
	if !good {
		l.close()
		l.socket.release()
		return
	}
	l.socket.release()
	u.wire.keep(l)
}
