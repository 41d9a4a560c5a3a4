package scraper

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
)

// kubelets asks kubelets for their metrics. It may be used concurrently.
type kubelets struct {
	client  *http.Client
	limit   int64 // bytes of a body
	buffers sync.Pool
}

// userAgent names the service in a kubelet's log.
const userAgent = "headwater-ingest"

// newKubelets makes a client with the credentials and CA that c says. Token, certificate, key and CA files are read
// again when they change.
func newKubelets(c *Config) (*kubelets, error) {
	config, err := c.credentials()
	if err != nil {
		return nil, err
	}
	config.UserAgent = userAgent
	config.Timeout = 0 // each request has its own deadline
	t := &config.TLSClientConfig
	t.ServerName = "" // the API server's, where a kubeconfig has one
	// One connection a node does one request at a time, for which HTTP/2 is of no use; and its connections outlive a
	// request that timed out, so that a node that lost power would fail several scrapes instead of one.
	t.NextProtos = []string{"http/1.1"}
	if c.KubeletInsecureTLS {
		t.Insecure, t.CAFile, t.CAData = true, "", nil
	}
	if c.KubeletCertificateAuthority != "" {
		t.Insecure, t.CAFile, t.CAData = false, c.KubeletCertificateAuthority, nil
	}
	if c.KubeletClientCertificate != "" {
		t.CertFile, t.CertData = c.KubeletClientCertificate, nil
		t.KeyFile, t.KeyData = c.KubeletClientKey, nil
	}
	if c.DeprecatedKubeletCompletelyInsecure {
		*t = rest.TLSClientConfig{}
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("couldn't set up the kubelet client: %w; check the kubeconfig and the --kubelet flags' files", err)
	}
	return &kubelets{
		client: &http.Client{Transport: transport, CheckRedirect: sameHost},
		limit:  c.KubeletMaxBodyBytes,
		buffers: sync.Pool{New: func() any {
			b := make([]byte, 0, 16<<10)
			return &b
		}},
	}, nil
}

// sameHost lets a kubelet redirect to itself only: credentials go to nobody else.
func sameHost(request *http.Request, via []*http.Request) error {
	from := via[0].URL
	if request.URL.Scheme != from.Scheme || request.URL.Host != from.Host {
		return failed(resultRedirect, fmt.Errorf("the kubelet redirects to %s; that is not followed, since the credentials would go there", request.URL.Redacted()))
	}
	if len(via) > 3 {
		return failed(resultRedirect, errors.New("the kubelet redirects in circles"))
	}
	return nil
}

// get asks a kubelet and gives its answer to use, during whose call alone it is valid. The error is a *failure, or
// use's.
func (k *kubelets) get(ctx context.Context, u *url.URL, use func(body []byte) error) error {
	request := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(ctx)
	response, err := k.client.Do(request)
	if err != nil {
		return classify(ctx, fmt.Errorf("couldn't ask the kubelet: %w", err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return failed(resultStatus, statusError(response))
	}
	if response.ContentLength > k.limit {
		return k.tooLarge()
	}

	buffer := k.buffers.Get().(*[]byte)
	defer k.recycle(buffer)
	if *buffer, err = appendAll((*buffer)[:0], response.Body, k.limit); err == nil {
		err = ctx.Err() // a body that ends because the time is over may look like a whole one
	}
	if err != nil {
		return classify(ctx, fmt.Errorf("couldn't read the kubelet's answer, %d bytes of it came: %w", len(*buffer), err))
	}
	if int64(len(*buffer)) > k.limit {
		return k.tooLarge()
	}
	return use(*buffer)
}

func (k *kubelets) tooLarge() *failure {
	return failed(resultTooLarge, fmt.Errorf("the kubelet's answer is longer than %d bytes; raise --kubelet-max-body-bytes if that is a kubelet", k.limit))
}

// recycle keeps a buffer for the next body, unless it is one of those that nearly all the memory would go to.
func (k *kubelets) recycle(buffer *[]byte) {
	const large = 1 << 20
	if cap(*buffer) <= large {
		k.buffers.Put(buffer)
	}
}

// appendAll reads r to its end, or a little beyond limit.
func appendAll(b []byte, r io.Reader, limit int64) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		free := min(int64(cap(b)-len(b)), limit+1-int64(len(b)))
		n, err := r.Read(b[len(b) : len(b)+int(free)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF, int64(len(b)) > limit:
			return b, nil
		case err != nil:
			return b, err
		}
	}
}

// statusError tells of an answer that is not 200 what it is, and what to do about it.
func statusError(response *http.Response) error {
	const shown = 200
	body, _ := io.ReadAll(io.LimitReader(response.Body, shown))
	text, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	advice := ""
	switch response.StatusCode {
	case http.StatusUnauthorized:
		advice = "; it doesn't accept the credentials: check --kubeconfig or the service account, and the kubelet's --authentication-token-webhook"
	case http.StatusForbidden:
		advice = "; grant get on nodes/metrics to the identity that it names"
	case http.StatusNotFound:
		advice = "; kubelets have the path since Kubernetes 1.18: check the node's annotation " + pathAnnotation + " and --kubelet-port"
	}
	return fmt.Errorf("the kubelet answered %s (%q)%s", response.Status, text, advice)
}

// classify gives an error of a request its category.
func classify(ctx context.Context, err error) *failure {
	var (
		network    *net.OpError
		resolution *net.DNSError
		record     tls.RecordHeaderError
		alert      tls.AlertError
		verify     *tls.CertificateVerificationError
		authority  x509.UnknownAuthorityError
		hostname   x509.HostnameError
		invalid    x509.CertificateInvalidError
		timeout    interface{ Timeout() bool }
	)
	switch {
	case resultOf(err, "") != "":
		return failed(resultOf(err, ""), err)
	case errors.As(err, &verify), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid):
		return failed(resultTLS, fmt.Errorf("%w; give its CA by --kubelet-certificate-authority, or the address type that its certificate is for by --kubelet-preferred-address-types", err))
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return failed(resultTLS, err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return failed(resultTimeout, fmt.Errorf("%w; see --kubelet-request-timeout", err))
	case errors.As(err, &resolution), errors.As(err, &network) && (network.Op == "dial" || network.Op == "proxyconnect"):
		return failed(resultConnect, err)
	}
	return failed(resultRead, err)
}
