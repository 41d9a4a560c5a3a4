// Package embedded runs a NATS server with JetStream inside the process, with its streams in a directory. In flows a
// directory; out flow in-process connections and, where wanted, a socket for other clients. Promised: one directory
// serves one process at a time, and whatever keeps the server from starting is one error that says what to do.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrLocked: another process serves the directory.
var ErrLocked = errors.New("the data directory is in use")

// startTimeout is how long the server may take to recover its streams: a million subjects take some seconds.
const startTimeout = 60 * time.Second

// Config of an embedded server.
type Config struct {
	// Dir holds the streams and the lock; created where it does not exist. Losing it loses history and makes every
	// consumer rebuild; nothing that the API server and the kubelets could not tell again.
	Dir string
	// Address is the socket for clients outside of the process, "127.0.0.1:4222"; port 0 picks a free one; "" for none:
	// then only in-process connections reach the server. There is no authentication: whoever reaches it reads and
	// writes everything.
	Address string
	// MaxStore bounds what all streams may use on disk, bytes; 0 for three quarters of what is free at the start.
	MaxStore int64
	// MaxPayload is the largest message, bytes; default 1 MiB.
	MaxPayload int32
	// Log receives the server's warnings and errors, its notices at debug level; nil for none.
	Log *slog.Logger
}

// Server is a running server.
type Server struct {
	cfg  Config
	log  *slog.Logger
	lock *os.File
	url  string
	stop chan struct{}
	done chan struct{} // closed when nothing restarts the server any more
	once sync.Once

	mu   sync.Mutex
	nats *server.Server
}

// Start runs a server until Close. It returns when all streams are recovered and connections are taken.
func Start(cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("couldn't start the embedded NATS server: no data directory given")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't create the data directory: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Log, lock: lock, stop: make(chan struct{}), done: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.nats, err = start(cfg, s.log); err != nil {
		lock.Close()
		return nil, err
	}
	if cfg.Address != "" {
		s.cfg.Address = s.nats.Addr().String() // a restart takes the same port
		s.url = "nats://" + s.cfg.Address
	}
	go s.heal()
	return s, nil
}

func start(cfg Config, log *slog.Logger) (*server.Server, error) {
	options := &server.Options{
		ServerName:        "headwater-embedded",
		NoSigs:            true,
		DontListen:        true,
		JetStream:         true,
		StoreDir:          cfg.Dir,
		MaxPayload:        cfg.MaxPayload,
		JetStreamMaxStore: cfg.MaxStore,
	}
	if cfg.Address != "" {
		host, port, err := freeAddress(cfg.Address)
		if err != nil {
			return nil, err
		}
		options.DontListen, options.Host, options.Port = false, host, port
	}
	n, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("couldn't configure the embedded NATS server: %w", err)
	}
	l := &logger{log: log, fatal: make(chan struct{})}
	n.SetLoggerV2(l, false, false, false)
	go n.Start()
	if !l.ready(n) || !n.JetStreamEnabled() {
		n.Shutdown()
		n.WaitForShutdown()
		return nil, fmt.Errorf("couldn't start the embedded NATS server on %s: %s", cfg.Dir, l.reason())
	}
	return n, nil
}

func (s *Server) current() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nats
}

// InProcessConn makes a connection without a socket: stream.ConnConfig.InProcess.
func (s *Server) InProcessConn() (net.Conn, error) { return s.current().InProcessConn() }

// URL is where other processes reach the server; "" where it does not listen.
func (s *Server) URL() string { return s.url }

// Close stops the server in an orderly way and gives the directory free.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.stop)
		<-s.done
		n := s.current()
		n.Shutdown()
		n.WaitForShutdown()
		s.lock.Close()
	})
}

// lockDir takes the directory for this process. The lock ends with the process, however it ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "headwater.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't lock the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		return nil, fmt.Errorf("%w: another Headwater (process %s) uses %s: stop it, or give this one another directory",
			ErrLocked, or(strings.TrimSpace(string(holder)), "unknown"), dir)
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("couldn't write to the data directory %s: %w", dir, err)
		}
	}
	return f, nil
}

// freeAddress checks that the address can be listened on, since the server itself only logs that it can't, and picks a
// port where 0 is given.
func freeAddress(address string) (host string, port int, err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", 0, fmt.Errorf("couldn't listen for NATS clients: %w: choose another address, or stop what uses it", err)
	}
	defer l.Close()
	a := l.Addr().(*net.TCPAddr)
	host, _, err = net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("couldn't listen for NATS clients on %q: %w", address, err)
	}
	return or(host, "0.0.0.0"), a.Port, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
