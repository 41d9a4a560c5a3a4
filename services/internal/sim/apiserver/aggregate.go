package apiserver

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/api/errors"

	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

const metricsGroup = "metrics.k8s.io"

// aggregate is the server behind /apis/metrics.k8s.io.
type aggregate struct {
	versions []string
	proxy    *httputil.ReverseProxy
	// transport's idle connections are closed when another server takes over.
	transport *http.Transport
}

// SetMetricsAPI says who serves metrics.k8s.io, in the given versions (none: v1beta1). ca is the PEM of the authority
// that its certificate is checked against; nil checks nothing. An empty address ends it: the group is then answered
// 503 and not listed.
func (s *Server) SetMetricsAPI(address string, ca []byte, versions ...string) error {
	if address == "" {
		if old := s.metrics.Swap(nil); old != nil {
			old.transport.CloseIdleConnections()
		}
		return nil
	}
	target, err := url.Parse(address)
	if err != nil || target.Host == "" {
		return fmt.Errorf("couldn't use %q as the address of metrics.k8s.io: it has to look like https://127.0.0.1:10250", address)
	}
	config := &tls.Config{Certificates: []tls.Certificate{s.frontProxy}, InsecureSkipVerify: ca == nil}
	if ca != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return fmt.Errorf("couldn't read the authority of metrics.k8s.io: no PEM certificate in it")
		}
	}
	if len(versions) == 0 {
		versions = []string{"v1beta1"}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConnsPerHost: 32}
	next := &aggregate{versions: versions, transport: transport}
	next.proxy = &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			s.fail(w, r, errors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err)))
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if old := s.metrics.Swap(next); old != nil {
		old.transport.CloseIdleConnections()
	}
	return nil
}

// proxyMetrics hands a request on with the caller's name, as kube-aggregator does: who calls is said in headers, which
// count because the connection shows the front proxy's certificate.
func (s *Server) proxyMetrics(w http.ResponseWriter, r *http.Request, user identity.User) {
	metrics := s.metrics.Load()
	if metrics == nil {
		s.fail(w, r, errors.NewServiceUnavailable("nobody serves metrics.k8s.io"))
		return
	}
	out := r.Clone(r.Context())
	out.Header.Del("Authorization")
	for name := range out.Header {
		if strings.HasPrefix(name, "X-Remote-") {
			out.Header.Del(name)
		}
	}
	out.Header.Set("X-Remote-User", user.Name)
	if user.UID != "" {
		out.Header.Set("X-Remote-Uid", user.UID)
	}
	out.Header["X-Remote-Group"] = append([]string(nil), user.Groups...)
	metrics.proxy.ServeHTTP(w, out)
}
