package stream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// runServer runs a NATS server that is not Headwater's own, until the test ends, and returns its URL.
func runServer(t *testing.T, options *server.Options) string {
	t.Helper()
	return "nats://" + natsServer(t, options).Addr().String()
}

func natsServer(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.Port, options.StoreDir, options.NoSigs, options.NoLog = "127.0.0.1", server.RANDOM_PORT, t.TempDir(), true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	return s
}

// works checks that a connection can do what Headwater needs.
func works(t *testing.T, cfg stream.ConnConfig) {
	t.Helper()
	c := connect(t, cfg)
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	mustAppend(t, a, "x")
	flush(t, a)
	if got := payloads(t, c); got != "x" {
		t.Errorf("the log holds %q", got)
	}
}

// refused checks that a connection is not made, is tried again and again, and says why.
func refused(t *testing.T, cfg stream.ConnConfig, because string) {
	t.Helper()
	c := connect(t, cfg)
	testenv.Eventually(t, 5*time.Second, func() error {
		err := c.Connected()
		if err == nil || !strings.Contains(err.Error(), because) {
			return errors.New("Connected says " + errorText(err) + ", want " + because)
		}
		return nil
	})
}

func errorText(err error) string {
	if err == nil {
		return "nothing"
	}
	return err.Error()
}

// The embedded server is reached without a socket.
func TestInProcess(t *testing.T) {
	s, err := embedded.Start(embedded.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Health(); err != nil {
		t.Error(err)
	}
	works(t, stream.ConnConfig{InProcess: s})
}

// A server that asks for TLS with a certificate of its own authority, and for one of the client.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	ca.issue(t, "server", x509.ExtKeyUsageServerAuth)
	cert, key := ca.issue(t, "client", x509.ExtKeyUsageClientAuth)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	url := runServer(t, &server.Options{JetStream: true, TLSVerify: true, TLSTimeout: 5, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}})
	works(t, stream.ConnConfig{URL: url, TLSCA: ca.file, TLSCert: cert, TLSKey: key})
	refused(t, stream.ConnConfig{URL: url, TLSCert: cert, TLSKey: key}, "certificate signed by unknown authority")
	refused(t, stream.ConnConfig{URL: url, TLSCA: ca.file}, "tls: certificate required")
}

// A server that asks for the credentials of a user.
func TestCreds(t *testing.T) {
	operator, system, account, user := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateUser)
	accountClaims := jwt.NewAccountClaims(public(t, account))
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1}
	userJWT, err := jwt.NewUserClaims(public(t, user)).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	for _, claims := range []*jwt.AccountClaims{accountClaims, jwt.NewAccountClaims(public(t, system))} {
		token, err := claims.Encode(operator)
		if err != nil {
			t.Fatal(err)
		}
		if err := resolver.Store(claims.Subject, token); err != nil {
			t.Fatal(err)
		}
	}
	url := runServer(t, &server.Options{JetStream: true, TrustedKeys: []string{public(t, operator)}, AccountResolver: resolver, SystemAccount: public(t, system)})
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	works(t, stream.ConnConfig{URL: url, Creds: file})
	refused(t, stream.ConnConfig{URL: url}, "Authorization Violation")
}

// What trying again cannot cure is an error at once.
func TestConnConfig(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("nothing useful"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, cfg := range map[string]stream.ConnConfig{
		"no credentials file":          {Creds: none},
		"no CA file":                   {TLSCA: none},
		"a CA file without any":        {TLSCA: file},
		"a certificate without a key":  {TLSCert: file},
		"a key without a certificate":  {TLSKey: file},
		"no certificate file":          {TLSCert: none, TLSKey: none},
		"a file with no certificate":   {TLSCert: file, TLSKey: file},
		"a URL that is none":           {URL: "nats://[::1"},
		"one of several that is none":  {URL: "nats://127.0.0.1:4222,nats://a b"},
		"a port that is not a number":  {URL: "nats://127.0.0.1:port"},
		"a scheme that is not of NATS": {URL: "http://127.0.0.1:4222"},
		"credentials that can't parse": {Creds: file},
		"credentials that are a pipe":  {Creds: fifo},
		"a CA that is a pipe":          {TLSCA: fifo},
	} {
		c, err := stream.Connect(t.Context(), cfg)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, stream.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", what, err)
		}
	}
	for _, name := range []string{"", "a.b", "a b", "a*", "ä", strings.Repeat("x", 64)} {
		if err := stream.CheckCluster(name); !errors.Is(err, stream.ErrConfig) {
			t.Errorf("the cluster name %q: got %v, want ErrConfig", name, err)
		}
	}
	for _, name := range []string{"default", "Prod-1", strings.Repeat("x", 63)} {
		if err := stream.CheckCluster(name); err != nil {
			t.Error(err)
		}
	}
}

// A server without JetStream may get it; meanwhile it is clear what is missing.
func TestNoJetStream(t *testing.T) {
	c := connect(t, stream.ConnConfig{URL: runServer(t, &server.Options{})})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := stream.Ensure(ctx, c, stream.Streams{Cluster: cluster}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no JetStream answers") {
		t.Errorf("got %v, want that JetStream is missing", err)
	}
}

// The streams are changed to new settings, and tell their state.
// What a user may not do is tried on, and said once.
func TestForbidden(t *testing.T) {
	user := &server.User{Username: "u", Password: "p", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Deny: []string{schemas.AllUsage(cluster)}},
	}}
	url := runServer(t, &server.Options{Users: []*server.User{user}, NoAuthUser: "u"})
	log, registry := &lines{}, prometheus.NewRegistry()
	conn := connect(t, stream.ConnConfig{URL: url, Log: log.logger()})
	p, err := stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: conn, Cluster: cluster, AckTimeout: 20 * time.Millisecond, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	nodes := []string{"a", "b"}
	for _, node := range nodes {
		if err := p.Publish(schemas.UsageSubject{Cluster: cluster, Node: node}.String(), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 10*time.Second, func() error { return counted(registry, "headwater_stream_publish_errors_total", "timeout", 6) })
	for _, node := range nodes {
		subject := schemas.UsageSubject{Cluster: cluster, Node: node}.String()
		if n := log.count(subject); n != 1 {
			t.Errorf("it is said %d times that %s is forbidden", n, subject)
		}
	}
}

func TestEnsureAndInfo(t *testing.T) {
	cfg := testenv.NATS(t)
	c := connect(t, cfg)
	if infos, err := stream.Info(t.Context(), c, cluster); len(infos) != 0 || err != nil {
		t.Errorf("got %v, %v, want nothing", infos, err)
	}
	ensure(t, c)
	ensure(t, c)
	if err := stream.EnsureLog(t.Context(), c, stream.Streams{Cluster: cluster, ObjectsMaxAge: time.Hour, ObjectsMaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	_, js := raw(t, cfg)
	log, err := js.Stream(t.Context(), "K8S_test_OBJECTS")
	if err != nil {
		t.Fatal(err)
	}
	if got := log.CachedInfo().Config; got.MaxAge != time.Hour || got.MaxBytes != 1<<20 {
		t.Errorf("got %v, %d, want the new settings", got.MaxAge, got.MaxBytes)
	}
	a := appender(t, c, stream.LogPosition{})
	mustAppend(t, a, "x")
	flush(t, a)
	infos, err := stream.Info(t.Context(), c, cluster)
	if err != nil || len(infos) != 3 {
		t.Fatalf("got %v, %v, want three streams", infos, err)
	}
	if got := infos[0]; got.Name != "K8S_test_OBJECTS" || got.First != 1 || got.Last != 1 || got.Messages != 1 || got.Bytes == 0 ||
		!got.Created.Equal(a.Acked().Log) {
		t.Errorf("got %+v", got)
	}
	if err := stream.Ensure(t.Context(), c, stream.Streams{Cluster: "a.b"}); !errors.Is(err, stream.ErrConfig) {
		t.Errorf("got %v, want ErrConfig", err)
	}
	running := make(chan error, 1)
	r, err := stream.NewReplay(stream.ReplayConfig{Conn: c, Cluster: cluster, Begin: func() stream.Sink { return newView() }})
	if err != nil {
		t.Fatal(err)
	}
	go func() { running <- r.Run(t.Context()) }()
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 1) })
	c.Close()
	if err := <-running; !errors.Is(err, stream.ErrClosed) {
		t.Errorf("a reader of a closed connection: got %v, want ErrClosed", err)
	}
	if _, err := stream.ReplayOnce(t.Context(), stream.ReplayConfig{Conn: c, Cluster: cluster, Begin: func() stream.Sink { return nil }}); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("a closed connection: got %v, want ErrClosed", err)
	}
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	k, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(t *testing.T, k nkeys.KeyPair) string {
	t.Helper()
	p, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// authority issues certificates into files.
type authority struct {
	dir, file string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.file, _ = a.sign(t, "ca", template, nil)
	return a
}

func (a *authority) issue(t *testing.T, name string, usage x509.ExtKeyUsage) (cert, key string) {
	t.Helper()
	return a.sign(t, name, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, a.cert)
}

func (a *authority) sign(t *testing.T, name string, template, parent *x509.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		a.key = key
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
