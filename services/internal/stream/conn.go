package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/files"
)

// apiTimeout bounds every single request to the server; each is repeated by whoever needs it. A request that is sent
// while a cluster has no leader is lost, so waiting longer does not help.
const apiTimeout = 2 * time.Second

const (
	defaultMaxPayload = 1 << 20 // what a NATS server takes unless configured otherwise, bytes
	messageOverhead   = 8 << 10 // what is not payload: headers, and in a snapshot subject and framing
	// A longer subject closes the connection: the server takes control lines of 4,096 bytes, with reply and sizes.
	maxSubject = schemas.MaxSubject - 256
)

// ConnConfig says how to reach NATS.
type ConnConfig struct {
	// URL of the server, "nats://host:4222"; several, comma-separated, for a cluster of servers. Ignored with InProcess.
	URL string
	// Creds is a file with the user's JWT and nkey seed; "" for none.
	Creds string
	// TLSCA is a file with the CA certificates that the server's certificate is checked against; "" for the system's.
	TLSCA string
	// TLSCert and TLSKey are files with the client's certificate and key; both or neither.
	TLSCert, TLSKey string
	// InProcess is a server in the same process, reached without a socket; nil for URL. embedded.Server is one.
	InProcess InProcess
	// Name shows up in the server's list of connections.
	Name string
	// Log receives connects and disconnects; nil for none.
	Log *slog.Logger
}

// InProcess makes connections to a server in the same process.
type InProcess interface {
	InProcessConn() (net.Conn, error)
}

// Conn is a connection to NATS that stays for ever: it reconnects by itself, also where the server is away at the start.
// It may be used concurrently. Every reader of a stream opens a connection of its own from it.
type Conn struct {
	cfg ConnConfig
	log *slog.Logger
	nc  *nats.Conn
	js  jetstream.JetStream

	mu        sync.Mutex
	children  map[*Conn]struct{} // closed with this one
	closed    bool
	connected chan struct{} // closed and replaced at every (re)connect
}

// Connect opens a connection. A server that is away is no error: the connection is made in the background, as soon as
// it can be. Errors are those that trying again cannot cure: a file that cannot be read, a malformed URL (ErrConfig).
// The context bounds nothing but this call.
func Connect(ctx context.Context, cfg ConnConfig) (*Conn, error) {
	c := &Conn{cfg: cfg, log: cfg.Log, children: map[*Conn]struct{}{}, connected: make(chan struct{})}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = c.log.With("connection", cfg.Name)
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	url := cfg.URL
	if url == "" {
		url = nats.DefaultURL
	}
	if c.cfg.InProcess == nil {
		if err := checkURLs(url); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	c.nc, err = nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("%w: couldn't set up the connection to NATS at %q: %w", ErrConfig, url, err)
	}
	c.js, err = jetstream.New(c.nc, jetstream.WithDefaultTimeout(apiTimeout))
	if err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("%w: couldn't set up JetStream: %w", ErrConfig, err)
	}
	return c, nil
}

// checkURLs refuses what the client library would try for ever: a scheme that it doesn't know is plain TCP to it.
func checkURLs(list string) error {
	for _, one := range strings.Split(list, ",") {
		one = strings.TrimSpace(one)
		scheme, _, found := strings.Cut(one, "://")
		if !found {
			continue // host:port
		}
		switch strings.ToLower(scheme) {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("the address of NATS %q begins with %s://; use nats://host:4222, tls://, ws:// or wss://", one, scheme)
		}
	}
	return nil
}

// options translates the configuration, checking what can be checked without a server.
func (c *Conn) options() ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name(c.cfg.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(reconnectDelay),
		// Nothing is sent late: who publishes keeps what is not acknowledged, and sends it again itself.
		nats.ReconnectBufSize(-1),
		nats.Timeout(apiTimeout),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(func(nc *nats.Conn) { c.up(nc, "connected to NATS") }),
		nats.ReconnectHandler(func(nc *nats.Conn) { c.up(nc, "reconnected to NATS") }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				c.log.Warn("lost the connection to NATS, reconnecting", "error", err)
			}
		}),
		nats.ReconnectErrHandler(c.reconnectFailed()),
		nats.ClosedHandler(func(*nats.Conn) { c.wake() }),
		nats.ErrorHandler(c.reported()),
	}
	if c.cfg.InProcess != nil {
		options = append(options, nats.InProcessServer(c.cfg.InProcess))
	}
	if err := files.Check(c.cfg.Creds, c.cfg.TLSCA, c.cfg.TLSCert, c.cfg.TLSKey); err != nil {
		return nil, fmt.Errorf("%w: couldn't use a file with credentials for NATS: %w", ErrConfig, err)
	}
	if c.cfg.Creds != "" {
		if err := checkCreds(c.cfg.Creds); err != nil {
			return nil, fmt.Errorf("%w: couldn't read the NATS credentials: %w", ErrConfig, err)
		}
		options = append(options, nats.UserCredentials(c.cfg.Creds))
	}
	if (c.cfg.TLSCert == "") != (c.cfg.TLSKey == "") {
		return nil, fmt.Errorf("%w: a NATS client certificate needs its key and the other way round: give both or neither", ErrConfig)
	}
	if c.cfg.TLSCert != "" {
		options = append(options, nats.ClientCert(c.cfg.TLSCert, c.cfg.TLSKey))
	}
	if c.cfg.TLSCA != "" {
		options = append(options, nats.RootCAs(c.cfg.TLSCA))
	}
	return options, nil
}

// checkCreds reads a credentials file as the client will at every connect.
func checkCreds(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := nkeys.ParseDecoratedJWT(content); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	key, err := nkeys.ParseDecoratedUserNKey(content)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	key.Wipe()
	return nil
}

// reconnectDelay is short at first, since a server that restarts is back soon, then a second.
func reconnectDelay(attempts int) time.Duration {
	return min(time.Duration(attempts)*50*time.Millisecond, time.Second)
}

// reconnectFailed logs the first failed attempt and then one in a minute.
func (c *Conn) reconnectFailed() nats.ConnErrHandler {
	var last time.Time // used from one goroutine at a time, that which reconnects
	return func(_ *nats.Conn, err error) {
		if now := time.Now(); now.Sub(last) > time.Minute {
			last = now
			c.log.Warn("couldn't connect to NATS, trying on", "url", c.cfg.URL, "error", err)
		}
	}
}

// reported logs what the server or the library complains of. What this user may not do is tried again for ever, so each
// such complaint is a warning only the first time, and after so many different ones none is.
func (c *Conn) reported() nats.ErrHandler {
	const most = 64
	forbidden := map[string]bool{} // used from one goroutine, that of the callbacks
	return func(_ *nats.Conn, s *nats.Subscription, err error) {
		subject, level := "", slog.LevelWarn
		if s != nil {
			subject = s.Subject
		}
		if text := err.Error(); errors.Is(err, nats.ErrPermissionViolation) {
			if forbidden[text] || len(forbidden) >= most {
				level = slog.LevelDebug
			} else {
				forbidden[text] = true
			}
		}
		c.log.Log(context.Background(), level, "NATS reports an error", "subject", subject, "error", err)
	}
}

// up tells everyone who waits that the connection is there. It may be called before nats.Connect has returned.
func (c *Conn) up(nc *nats.Conn, text string) {
	if server := nc.ConnectedUrlRedacted(); server != "" { // else it has been closed or lost again since
		c.log.Info(text, "server", server, "version", nc.ConnectedServerVersion())
	}
	c.wake()
}

func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.connected)
	c.connected = make(chan struct{})
}

// reconnected gives a channel that is closed at the next (re)connect, or when the connection is closed for good.
func (c *Conn) reconnected() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connected
}

// request bounds one request: by apiTimeout, and by a reconnect, since what was sent on the old line and not answered will
// not be. The client library would wait on.
func (c *Conn) request(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	line, reconnected := c.line(), c.reconnected()
	go func() {
		for c.line() == line { // the news of a connect may be older than the request
			select {
			case <-reconnected:
				reconnected = c.reconnected()
			case <-ctx.Done():
				return
			}
		}
		cancel()
	}()
	return ctx, cancel
}

// line is the number of the line to the server: it changes when the connection is made again, and what was sent on an
// earlier one may not have arrived, nor will its answer.
func (c *Conn) line() uint64 { return c.nc.Stats().Reconnects }

// Connected says why there is no connection now; nil where there is one.
func (c *Conn) Connected() error {
	if c.nc.IsConnected() {
		return nil
	}
	if err := c.nc.LastError(); err != nil {
		return fmt.Errorf("not connected to NATS at %s: %w", c.cfg.URL, err)
	}
	return fmt.Errorf("not connected to NATS at %s: %s", c.cfg.URL, c.nc.Status())
}

// MaxPayload is the largest payload, bytes, that can be appended or published: the server's limit less some room for
// headers, and for being in a snapshot. While it was never connected, that of a server's usual limit, 1 MiB.
func (c *Conn) MaxPayload() int {
	limit := int(c.nc.MaxPayload())
	if limit <= 0 {
		limit = defaultMaxPayload
	}
	return max(limit-messageOverhead, limit/2)
}

// Close ends the connection and all that were opened from it.
func (c *Conn) Close() {
	c.mu.Lock()
	children := c.children
	c.children, c.closed = nil, true
	c.mu.Unlock()
	for child := range children {
		child.Close()
	}
	c.nc.Close()
}

// open makes a connection of its own for a reader or writer named name; closed with c or by its release function.
func (c *Conn) open(ctx context.Context, name string) (child *Conn, release func(), err error) {
	cfg := c.cfg
	cfg.Name = name
	if c.cfg.Name != "" {
		cfg.Name = c.cfg.Name + "/" + name
	}
	child, err = Connect(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		child.Close()
		return nil, nil, ErrClosed
	}
	c.children[child] = struct{}{}
	return child, func() {
		child.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.children, child)
	}, nil
}

// again tells whether an error of a request may be gone when it is repeated. That JetStream is not enabled may: a server
// that starts says so, too.
func again(err error) bool {
	var api *jetstream.APIError
	switch {
	case err == nil, errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, ErrConfig), errors.Is(err, ErrNoMessage):
		return false
	case errors.As(err, &api):
		return api.Code == 503
	}
	return true
}

var errNotConnected = errors.New("there is no connection to NATS now")

// explain adds to an error what it means where that is not obvious.
func explain(err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fmt.Errorf("no JetStream answers: it is not enabled (nats-server --jetstream), or has no leader yet: %w", err)
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return errNotConnected // the library's own text speaks of a buffer that is of no use here
	}
	return err
}
