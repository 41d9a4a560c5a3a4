package scraper

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/debugpage"
)

// Pages implements daemon.Paged: /debug/nodes tells how the scraping of each node goes, and what of a pod is published.
func (s *Service) Pages() map[string]http.Handler {
	return map[string]http.Handler{"/debug/nodes": debugpage.Handler(s.page)}
}

// page is what the service knows at the moment.
func (s *Service) page(_ *http.Request, q debugpage.Query) debugpage.Page {
	p := debugpage.Page{Service: "ingest " + s.ingester, Time: time.Now(), Resolution: s.cfg.MetricResolution}
	if err := s.Ready(); err != nil {
		p.Notes = append(p.Notes, "Not ready: "+err.Error())
	}
	schedule := s.schedule.Load()
	if schedule == nil {
		if q.Pod != "" {
			p.Pod = s.explain(q, nil, p.Time)
		}
		return p
	}
	var lines []*timeline
	schedule.each(func(t *timeline) {
		if q.Node == "" || q.Node == t.node {
			lines = append(lines, t)
		}
	})
	if q.Pod != "" {
		p.Pod = s.explain(q, lines, p.Time)
		return p
	}
	for _, t := range lines {
		p.Nodes = append(p.Nodes, s.describe(t, p.Time))
	}
	return p
}

// describe is a node for the page.
func (s *Service) describe(t *timeline, now time.Time) debugpage.Node {
	t.mu.Lock()
	o, success := t.outcome, t.success.Load()
	t.mu.Unlock()
	n := debugpage.Node{
		Name: t.node, URL: o.url, LastAttempt: o.began, Took: o.took, Result: string(o.result), Error: o.err, Failures: o.failures,
		Pods: o.pods, More: o.dropped.more,
	}
	if target := t.target.Load(); n.URL == "" && target.URL != nil {
		n.URL = target.URL.Redacted()
	}
	if success != 0 {
		n.LastSuccess = time.Unix(0, success)
	}
	if due := time.Unix(0, t.due.Load()); due.After(now) {
		n.NextAttempt = due
	}
	for _, d := range o.dropped.list {
		n.Dropped = append(n.Dropped, debugpage.Dropped{Namespace: d.Namespace, Pod: d.Pod, Container: d.Container, Reason: d.Reason})
	}
	switch {
	case o.failures > 0:
		n.State = debugpage.Failing
	case o.result == "":
		n.State = debugpage.Waiting
	case now.Sub(n.LastSuccess) > 2*s.cfg.MetricResolution:
		n.State = debugpage.Stale
	case n.Dropped != nil || n.More > 0 || n.Error != "":
		n.State = debugpage.Partial
	default:
		n.State = debugpage.Fresh
	}
	return n
}

// seen is what a node's last good answer said of a pod.
type seen struct {
	node       debugpage.Node
	dropped    *debugpage.Dropped // nil: it is published
	containers []string           // what each of its containers' figures can be used for
	rates      bool               // all of them have a rate
}

// explain tells of a pod what this ingester knows: which of its nodes has it, and what became of its figures.
func (s *Service) explain(q debugpage.Query, lines []*timeline, now time.Time) *debugpage.Pod {
	p := &debugpage.Pod{Namespace: q.Namespace, Name: q.Pod}
	step := func(rule string, ok bool, format string, args ...any) bool {
		p.Steps = append(p.Steps, debugpage.Step{Rule: rule, OK: ok, Detail: fmt.Sprintf(format, args...)})
		return ok
	}
	found, failing, more := s.find(q, lines, now)
	if len(found) == 0 {
		step("a node's last good answer has it", false,
			"none of the %d nodes that this ingester scrapes does; %d of them could not be read the last time. It may be on a node of another ingester, be too new (less than %v), have no running container, or not exist: /debug/nodes of metricsapi knows",
			len(lines), failing, s.cfg.MetricResolution)
		if more > 0 {
			step("what was dropped is known by name", false, "%d more pods were dropped than are known by name; it may be one of them", more)
		}
		p.Verdict = "This ingester knows nothing of it."
		return p
	}
	for _, f := range found {
		step("a node's last good answer has it", true, "that of %s, from %v", f.node.Name, f.node.LastSuccess.UTC().Format(time.RFC3339))
		if d := f.dropped; d != nil {
			of := ""
			if d.Container != "" {
				of = " for its container " + d.Container
			}
			step("it is published", false, "it is dropped%s: %s: %s", of, d.Reason, debugpage.Explain(d.Reason))
			p.Verdict = "It has no metrics, since its figures are not published."
			continue
		}
		step("it is published", true, "it is in the node's sample")
		p.HasMetrics = step("each of its containers has a rate", f.rates, "%s", strings.Join(f.containers, "; "))
		if !f.rates {
			p.Verdict = "It has no metrics yet: it takes two readings of every container."
		} else {
			p.Verdict = "It is published with rates; if the Metrics API lacks it all the same, /debug/nodes of metricsapi tells why."
		}
		step("the node can be read", f.node.Failures == 0, "%s", lastAttempt(f.node))
	}
	if len(found) > 1 {
		step("only one node has it", false, "%d nodes have a pod of this name", len(found))
	}
	return p
}

// lastAttempt says what came of the last attempt to read a node.
func lastAttempt(n debugpage.Node) string {
	switch {
	case n.Failures == 0 && n.Error != "":
		return "the last attempt was a success, but for the summary: " + n.Error
	case n.Failures == 0:
		return "the last attempt was a success"
	}
	return fmt.Sprintf("the last %d attempts failed (%s): %s", n.Failures, n.Result, n.Error)
}

// find looks for a pod in the last good answers of nodes. failing is how many of these couldn't be read the last time,
// more how many dropped pods aren't known by name.
func (s *Service) find(q debugpage.Query, lines []*timeline, now time.Time) (found []seen, failing int, more uint64) {
	for _, t := range lines {
		n := s.describe(t, now)
		more += n.More
		if n.Failures > 0 {
			failing++
		}
		f := seen{node: n, rates: true}
		for i := range n.Dropped {
			if d := &n.Dropped[i]; d.Namespace == q.Namespace && d.Pod == q.Pod {
				f.dropped = d
				break
			}
		}
		if f.dropped == nil {
			f.containers, f.rates = t.containers(q.Namespace, q.Pod)
		}
		if f.dropped != nil || len(f.containers) > 0 {
			found = append(found, f)
		}
	}
	return found, failing, more
}

// containers tells of each container of a pod what the node's history has; rates says whether each has a rate.
func (t *timeline) containers(namespace, name string) (all []string, rates bool) {
	t.past.Lock()
	defer t.past.Unlock()
	rates = true
	for _, c := range t.history.containers {
		if c.pod.name != name || c.pod.namespace != namespace || c.track.points == 0 {
			continue
		}
		what := ""
		switch k := &c.track; {
		case k.points < 2:
			what, rates = "its first reading only", false
		case rate(k.previous, k.last) == schemas.NoRate:
			what, rates = "its counter, or the time of its start, went backwards", false
		default:
			what = fmt.Sprintf("%.3f cores over %v", float64(rate(k.previous, k.last))/1e9, time.Duration(k.last.time-k.previous.time))
		}
		all = append(all, c.container+": "+what)
	}
	slices.Sort(all)
	return all, rates
}
