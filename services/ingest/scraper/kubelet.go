package scraper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"

	"github.com/klauspost/compress/gzip"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// kubelets asks kubelets for their metrics. It may be used concurrently.
type kubelets struct {
	client  *http.Client
	held    *credentials
	header  http.Header // of each request, beside the credentials; never changed
	limit   int64       // bytes of a body
	buffers sync.Pool
	inflate sync.Pool // of *inflater
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
	held, err := newCredentials(config, c.Log, c.Registry)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(config, held.tlsChanged)
	if err != nil {
		return nil, fmt.Errorf("couldn't set up the kubelet client: %w; check the kubeconfig and the --kubelet flags' files", err)
	}
	// An answer takes a sixth of the bytes when it is compressed, and unpacking it as much time as all else here: worth it
	// between machines. A service for one node only is on that node.
	header := http.Header{"Accept-Encoding": {"gzip"}}
	if c.Node != "" {
		header = http.Header{"Accept-Encoding": {"identity"}}
	}
	return &kubelets{
		client:  &http.Client{Transport: held.over(transport), CheckRedirect: sameHost},
		held:    held,
		header:  header,
		limit:   c.KubeletMaxBodyBytes,
		inflate: sync.Pool{New: func() any { return &inflater{packed: bufio.NewReaderSize(nil, 4<<10)} }},
		buffers: sync.Pool{New: func() any {
			b := make([]byte, 0, 16<<10)
			return &b
		}},
	}, nil
}

// close closes the connections that wait for the next request.
func (k *kubelets) close() { utilnet.CloseIdleConnectionsFor(k.client.Transport) }

// sameHost lets a kubelet redirect to itself only: credentials go to nobody else.
func sameHost(request *http.Request, via []*http.Request) error {
	from := via[0].URL
	if request.URL.Scheme != from.Scheme || request.URL.Host != from.Host {
		return failed(resultRedirect, fmt.Errorf("the kubelet redirects to %s; that is not followed, since the credentials would go there", request.URL.Redacted()))
	}
	if len(via) > 3 {
		return failed(resultRedirect, errors.New("the kubelet redirects in circles; see what answers there, and check --kubelet-port and the node's annotation "+pathAnnotation))
	}
	return nil
}

// get asks a kubelet and gives its answer to use, during whose call alone it is valid. The error is a *failure, or
// use's.
func (k *kubelets) get(ctx context.Context, u *url.URL, use func(body []byte) error) error {
	request := (&http.Request{Method: http.MethodGet, URL: u, Header: k.header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	response, err := k.client.Do(request)
	if err != nil {
		return k.held.explain(classify(ctx, fmt.Errorf("couldn't ask the kubelet: %w", err)))
	}
	defer response.Body.Close()
	body := io.Reader(response.Body)
	if !response.Uncompressed && strings.EqualFold(response.Header.Get("Content-Encoding"), "gzip") {
		in := k.inflate.Get().(*inflater)
		defer k.inflate.Put(in)
		defer in.forget()
		body = in.open(body)
	}
	if response.StatusCode != http.StatusOK {
		return k.held.explain(failed(resultStatus, statusError(u.Path, response, body)))
	}
	if response.ContentLength > k.limit {
		return k.tooLarge()
	}

	buffer := k.buffers.Get().(*[]byte)
	defer k.recycle(buffer)
	if *buffer, err = appendAll((*buffer)[:0], body, k.limit); err == nil && int64(len(*buffer)) <= k.limit {
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

// inflater unpacks gzip. Its memory is used again.
type inflater struct {
	packed *bufio.Reader
	gzip   gzip.Reader
	opened bool // the header was read
}

// open returns what r holds, unpacked.
func (i *inflater) open(r io.Reader) io.Reader {
	i.packed.Reset(r)
	i.opened = false
	return i
}

// Read implements io.Reader.
func (i *inflater) Read(p []byte) (int, error) {
	if !i.opened {
		if err := i.gzip.Reset(i.packed); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		i.opened = true
	}
	return i.gzip.Read(p)
}

// forget lets go of what was read.
func (i *inflater) forget() { i.packed.Reset(nil) }

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

// statusError tells of an answer that is not 200 to a request for path what it is, and what to do about it.
func statusError(path string, response *http.Response, body io.Reader) error {
	const shown = 200
	beginning, _ := io.ReadAll(io.LimitReader(body, shown))
	text, _, _ := strings.Cut(strings.TrimSpace(string(beginning)), "\n")
	advice := statusAdvice(path, response.StatusCode)
	if advice != "" {
		advice = "; " + advice
	}
	return fmt.Errorf("the kubelet answered %s (%q)%s", response.Status, text, advice)
}

// classify gives an error of a request its category, and says what to do.
func classify(ctx context.Context, err error) *failure {
	var (
		network    *net.OpError
		resolution *net.DNSError
		timeout    interface{ Timeout() bool }
	)
	if advice, ok := tlsTrouble(err); ok && resultOf(err, "") == "" {
		return failed(resultTLS, fmt.Errorf("%w; %s", err, advice))
	}
	switch {
	case resultOf(err, "") != "":
		return failed(resultOf(err, ""), err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return failed(resultTimeout, fmt.Errorf("%w; look at the kubelet and the way to it, or give it more time by --kubelet-request-timeout", err))
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return failed(resultConnect, fmt.Errorf("%w; this process may have no more files open: raise its limit (ulimit -n, LimitNOFILE), it needs one for each node", err))
	case errors.As(err, &resolution):
		return failed(resultConnect, fmt.Errorf("%w; the node's address is a name that isn't known here: put InternalIP first in --kubelet-preferred-address-types", err))
	case errors.As(err, &network) && (network.Op == "dial" || network.Op == "proxyconnect"):
		return failed(resultConnect, fmt.Errorf("%w; is the kubelet running, does a firewall or network policy let us reach it, are --kubelet-port and --kubelet-preferred-address-types right?", err))
	}
	return failed(resultRead, fmt.Errorf("%w; see the kubelet's log, and whether it is a kubelet that answers there", err))
}
