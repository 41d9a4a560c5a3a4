package server

import (
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// handler serves /metrics to those whom the guard lets through. The rest tells nothing about objects and is for everyone who
// can connect: health, for the kubelet's probes, and the landing page.
func (s *Service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.guard.Protect(http.HandlerFunc(s.scrape)))
	alive := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
	mux.HandleFunc("GET /livez", alive)
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /{$}", s.landing)
	return mux
}

func (s *Service) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.Ready(); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// scrape answers /metrics. ?resources= and ?exclude_resources= (comma-separated) choose the resources, "usage" among them.
func (s *Service) scrape(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	current, err := s.current()
	if err != nil {
		s.metrics.refused.Inc()
		w.Header().Set("Retry-After", "1")
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	format, contentType := exposition.Negotiate(r.Header)
	answer := exposition.NewAnswer(format, s.groups(current, format, chosen(r)))
	plain, packed := answer.Sizes()

	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Vary", "Accept, Accept-Encoding")
	size, encoding, write := plain, "identity", answer.Write
	if current.options.Gzip && exposition.AcceptsGzip(r.Header) {
		size, encoding, write = packed, "gzip", answer.WriteGzip
		header.Set("Content-Encoding", encoding)
	}
	header.Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		return
	}
	if err := write(w); err != nil {
		s.metrics.broken.Inc()
		s.log.Debug("couldn't write the answer to a scrape", "client", r.RemoteAddr, "error", err)
		return
	}
	s.metrics.bytes.Add(float64(size))
	s.metrics.duration.Observe(time.Since(began).Seconds())
	s.metrics.scrapes.WithLabelValues(formatName(format), encoding).Inc()
}

func formatName(f exposition.Format) string {
	if f == exposition.OpenMetrics {
		return "openmetrics"
	}
	return "text"
}

// groups are what a scrape gets: the objects' series as of now, and the usage of the nodes that are alive.
func (s *Service) groups(current *edition, format exposition.Format, wanted func(string) bool) []exposition.Group {
	var groups []exposition.Group
	view := current.view.Load() // one for the whole answer: another may come into service meanwhile
	snapshot := view.snapshot()
	if err := snapshot.Err(); err != nil {
		s.log.Error("the series that are held are damaged: restart the exporter", "error", err)
	}
	for _, g := range snapshot.Groups() {
		if wanted(g.Name) {
			groups = append(groups, g)
		}
	}
	var usage *stream.Position
	if s.usageReplay != nil {
		p := s.usageReplay.Position()
		usage = &p
	}
	groups = append(groups, current.more(view, wanted, usage)...)
	if u := s.usage.Load(); u != nil && current.usage != nil && wanted("usage") {
		groups = append(groups, u.store.Groups(format, time.Now().Add(-current.options.MaxSampleAge), current.usage)...)
	}
	return groups
}

// chosen says which resources a request wants. As in kube-state-metrics, "resources=" is none of them, and a parameter that can't
// be read ("resources=%zz") counts as not given.
func chosen(r *http.Request) func(string) bool {
	list := func(name string) (all []string) {
		for _, value := range r.URL.Query()[name] {
			for name := range strings.SplitSeq(value, ",") {
				all = append(all, strings.TrimSpace(name))
			}
		}
		return all
	}
	only, never := list("resources"), list("exclude_resources")
	return func(name string) bool {
		return (len(only) == 0 || slices.Contains(only, name)) && !slices.Contains(never, name)
	}
}

var landingPage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><title>Headwater exporter</title></head><body>
<h1>Headwater exporter</h1>
<p>The state of Kubernetes objects{{if .Usage}}, and the usage of containers, pods and nodes{{end}}, for Prometheus.</p>
<p>{{if .NotReady}}Not ready: {{.NotReady}}{{else}}Ready, at event {{.Position}} of the log.{{end}}</p>
<ul>
<li><a href="/metrics">/metrics</a>; a part of it with ?resources= or ?exclude_resources=: {{range .Resources}}<a href="/metrics?resources={{.}}">{{.}}</a> {{end}}</li>
<li><a href="/livez">/livez</a>, <a href="/healthz">/healthz</a>: the process answers</li>
<li><a href="/readyz">/readyz</a>: /metrics can be answered</li>
</ul>
</body></html>
`))

func (s *Service) landing(w http.ResponseWriter, _ *http.Request) {
	page := struct {
		NotReady  error
		Position  uint64
		Resources []string
		Usage     bool
	}{s.Ready(), s.position().Sequence, nil, s.options.Usage}
	if e := s.editions.newest(); e != nil {
		page.Resources = e.resources()
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := landingPage.Execute(w, page); err != nil {
		s.log.Debug("couldn't write the landing page", "error", err)
	}
}
