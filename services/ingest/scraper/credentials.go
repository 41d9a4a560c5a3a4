package scraper

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/files"
)

// credentials are what the kubelets are shown, from files that change while the service runs: a service account's token
// is replaced every hour. Certificates and CAs are followed by tlsFiles, which tells of each change.
type credentials struct {
	log     *slog.Logger
	reloads *prometheus.CounterVec
	token   *tokenFile // nil where the token is none, or no file's
	client  clientCertificate
}

// The labels of headwater_ingest_credentials_reloads_total.
const (
	reloadToken   = "token"
	reloadTLS     = "tls" // the CA, the client's certificate, its key
	reloadChanged = "changed"
	reloadFailed  = "failed"
)

// newCredentials takes over those of config that it follows by itself, and takes them out of config.
func newCredentials(config *rest.Config, log *slog.Logger, reg prometheus.Registerer) (*credentials, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &credentials{log: log, client: clientCertificate{file: config.CertFile, data: config.CertData}}
	if len(config.CertData) > 0 {
		c.client.file = "the kubeconfig"
	} else if config.CertFile != "" {
		c.client.data, _ = files.Read(config.CertFile, maxPEM) // where it can't be read, tlsFiles tells
	}
	c.reloads = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_ingest_credentials_reloads_total",
		Help: "Times that files with credentials for the kubelets were found changed, by whether they were any good; where not, those before stay in use.",
	}, []string{"what", "result"}))
	for _, what := range []string{reloadToken, reloadTLS} {
		c.reloads.WithLabelValues(what, reloadChanged)
		c.reloads.WithLabelValues(what, reloadFailed)
	}
	if config.BearerTokenFile == "" {
		return c, nil
	}
	c.token = &tokenFile{path: config.BearerTokenFile, credentials: c}
	token, err := c.token.read()
	switch {
	case err == nil:
		c.token.token, c.token.looked = token, time.Now()
	case config.BearerToken != "":
		c.token.token = config.BearerToken // the file may come
	default:
		return nil, err
	}
	config.BearerToken, config.BearerTokenFile = "", ""
	return c, nil
}

// tlsChanged is the tlsChanged of the files.
func (c *credentials) tlsChanged(certificate []byte, err error) {
	if err != nil {
		c.reloads.WithLabelValues(reloadTLS, reloadFailed).Inc()
		c.log.Warn("the files with the CA or the client certificate for kubelets changed and are no good; those before stay in use", "error", err)
		return
	}
	if certificate != nil {
		c.client.is(certificate)
	}
	c.reloads.WithLabelValues(reloadTLS, reloadChanged).Inc()
	c.log.Info("the files with the CA or the client certificate for kubelets changed; connections are made anew")
}

// over returns next with the token added to each request.
func (c *credentials) over(next http.RoundTripper) http.RoundTripper {
	if c.token == nil {
		return next
	}
	return &withToken{next: next, file: c.token}
}

// withToken adds a file's token to requests.
type withToken struct {
	next http.RoundTripper
	file *tokenFile
}

// RoundTrip implements http.RoundTripper. Where the kubelet doesn't accept the token, and the file has another one by now,
// it asks again with that.
func (w *withToken) RoundTrip(request *http.Request) (*http.Response, error) {
	token := w.file.get()
	response, err := w.next.RoundTrip(authorized(request, token))
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	newer := w.file.instead(request.Context(), token)
	if newer == token {
		return response, nil
	}
	response.Body.Close()
	return w.next.RoundTrip(authorized(request, newer))
}

// WrappedRoundTripper implements net.RoundTripperWrapper, for who looks for the connections behind it.
func (w *withToken) WrappedRoundTripper() http.RoundTripper { return w.next }

// authorized returns a copy of a request that has a token.
func authorized(request *http.Request, token string) *http.Request {
	copied := *request
	copied.Header = make(http.Header, len(request.Header)+1)
	for name, values := range request.Header {
		copied.Header[name] = values
	}
	copied.Header["Authorization"] = []string{"Bearer " + token}
	return &copied
}

// tokenFile is a token in a file that changes. It may be used concurrently. Nobody waits for the file but those whose token
// was refused: it is read beside, and until that is done the token before stays in use.
type tokenFile struct {
	*credentials
	path string

	mu      sync.Mutex // guards what follows
	token   string
	looked  time.Time     // when the file was last read
	reading chan struct{} // closed when the file has been read; nil where it isn't being
	told    string        // the last error, which is logged once
}

const (
	// tokenLook is how often the file is read. Kubernetes replaces a token long before it expires.
	tokenLook = 20 * time.Second
	// tokenRefused is how often it is read at most when kubelets refuse the token.
	tokenRefused = time.Second
	// maxToken bounds the file, bytes.
	maxToken = 1 << 20
)

// get returns the token.
func (f *tokenFile) get() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look(tokenLook)
	return f.token
}

// instead returns the token that the file has now that one was refused, or the one before where that isn't known until the
// context ends. It may be the same.
func (f *tokenFile) instead(ctx context.Context, refused string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.token != refused { // somebody has found another one meanwhile
		return f.token
	}
	if reading := f.look(tokenRefused); reading != nil {
		f.mu.Unlock()
		select {
		case <-reading:
		case <-ctx.Done():
		}
		f.mu.Lock()
	}
	return f.token
}

// look has the file read if that is longer ago than given. While it is being read, it returns what is closed then; else nil.
// The caller holds mu.
func (f *tokenFile) look(every time.Duration) <-chan struct{} {
	if now := time.Now(); f.reading == nil && now.Sub(f.looked) >= every {
		f.looked, f.reading = now, make(chan struct{})
		go f.reread()
	}
	return f.reading
}

// reread reads the file again. One that can't be read leaves the token as it was.
func (f *tokenFile) reread() {
	token, err := f.read()
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.reading)
	f.reading = nil
	switch {
	case err != nil:
		f.reloads.WithLabelValues(reloadToken, reloadFailed).Inc()
		if f.told != err.Error() {
			f.told = err.Error()
			f.log.Warn("couldn't read the token for kubelets again; the one before stays in use", "error", err)
		}
	case token != f.token:
		f.token, f.told = token, ""
		f.reloads.WithLabelValues(reloadToken, reloadChanged).Inc()
		f.log.Info("the file with the token for kubelets has another one", "file", f.path)
	default:
		f.told = ""
	}
}

// read reads the file.
func (f *tokenFile) read() (string, error) {
	raw, err := files.Read(f.path, maxToken)
	if err != nil {
		return "", fmt.Errorf("couldn't read the token file %s: %w; check the kubeconfig's tokenFile, or that the service account's token is mounted", f.path, err)
	}
	token := strings.TrimSpace(string(raw))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("couldn't use the token file %s: it is empty, or has more than a token in it; write the token alone", f.path)
	}
	return token, nil
}

// clientCertificate is the certificate that kubelets are shown, looked at when one of them doesn't like us.
type clientCertificate struct {
	file string // where it comes from

	mu     sync.Mutex // guards what follows
	data   []byte     // PEM; empty for none
	looked time.Time
	note   string
}

// is says that it is another one from now on.
func (c *clientCertificate) is(data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.data, c.looked = data, time.Time{}
}

// wrong says what is wrong with the certificate, as far as it shows: that it has expired; "" where nothing is.
func (c *clientCertificate) wrong(now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked) < tokenRefused && now.After(c.looked) {
		return c.note
	}
	c.looked, c.note = now, ""
	block, _ := pem.Decode(c.data)
	if block == nil {
		return ""
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
	case now.After(certificate.NotAfter):
		c.note = fmt.Sprintf("; our client certificate (%s, from %s) expired at %s: put a new one there, it is read without a restart",
			certificate.Subject, c.file, certificate.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(certificate.NotBefore):
		c.note = fmt.Sprintf("; our client certificate (%s, from %s) isn't valid before %s: compare this host's clock",
			certificate.Subject, c.file, certificate.NotBefore.UTC().Format(time.RFC3339))
	}
	return c.note
}

// explain adds to an error of a request what the credentials have to do with it.
func (c *credentials) explain(err error) error {
	var network *net.OpError
	refused := errors.As(err, &network) && network.Op == "remote error"
	if resultOf(err, "") != resultStatus && !refused {
		return err
	}
	if note := c.client.wrong(time.Now()); note != "" {
		return failed(resultOf(err, resultTLS), fmt.Errorf("%w%s", err, note))
	}
	return err
}

// tlsTrouble says what to do about an error of TLS; ok is false for other errors.
func tlsTrouble(err error) (advice string, ok bool) {
	var (
		network   *net.OpError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the kubelet's certificate isn't valid at this time: renew it (the kubelet's rotateCertificates and serverTLSBootstrap do), and compare the clocks", true
	case errors.As(err, &hostname):
		return "the kubelet's certificate is for another address: give the address type that it is for by --kubelet-preferred-address-types", true
	case errors.As(err, &verify), errors.As(err, &authority), errors.As(err, &invalid):
		return "give the CA of the kubelets' certificates by --kubelet-certificate-authority; kubelets that have signed theirs themselves need serverTLSBootstrap, or --kubelet-insecure-tls in test clusters", true
	case errors.As(err, &network) && network.Op == "remote error", errors.As(err, &alert):
		return "the kubelet ended the handshake: check --kubelet-client-certificate and the kubelet's tlsMinVersion and tlsCipherSuites", true
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "what answers there speaks no TLS: check --kubelet-port", true
	}
	return "", false
}
