package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/debugpage"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// debugPath is where the server tells why a node or a pod has metrics or has none. Who may see it is decided as for /metrics:
// get of this non-resource URL.
const debugPath = "/debug/nodes"

// page is what this server knows of nodes, of one of them, or of a pod.
func (s *Service) page(_ *http.Request, q debugpage.Query) debugpage.Page {
	p := debugpage.Page{Service: "metricsapi", Time: s.now(), Resolution: s.cfg.Options.Resolution}
	if err := s.viewsReady(); err != nil {
		p.Notes = append(p.Notes, "Not ready, requests for metrics are answered with 503: "+err.Error())
		if s.objectsReplay.Position().Heard.IsZero() && s.usageReplay.Position().Heard.IsZero() {
			p.Notes[0] += ". Nothing has been heard of NATS yet: is it up, and can it be reached at --nats-url? The log here tells more"
		}
	}
	p.Notes = append(p.Notes, s.silences(p.Time)...)
	catalog, usage := s.catalogs.Load(), s.usage.Load()
	if catalog == nil || usage == nil {
		p.Unknown = true
		return p
	}
	d := &diagnosis{now: p.Time, options: s.cfg.Options, catalog: catalog, usage: usage, reports: s.reports}
	switch {
	case q.Pod != "":
		p.Pod = d.pod(q.Namespace, q.Pod)
	case q.Node != "":
		if entry, ok := catalog.nodes.Get("", q.Node); ok {
			p.Nodes = append(p.Nodes, d.node(entry))
			p.Notes = append(p.Notes, d.nodeVerdict(entry))
		}
	default:
		for _, entry := range catalog.nodes.All() {
			p.Nodes = append(p.Nodes, d.node(entry))
		}
		p.Notes = append(p.Notes, d.unselected()...)
	}
	return p
}

// silent is after how long without a word of NATS the page tells so. Heartbeats come twice a second.
const silent = 10 * time.Second

// silences tells of the streams of which nothing is heard: what the page says is of then.
func (s *Service) silences(now time.Time) (notes []string) {
	for _, stream := range []struct {
		of     string
		replay replay
	}{{"nodes and pods", s.objectsReplay}, {"usage", s.usageReplay}} {
		if heard := stream.replay.Position().Heard; !heard.IsZero() && now.Sub(heard) > silent {
			notes = append(notes, fmt.Sprintf("Nothing has been heard of the stream of %s since %s: what stands here is of then. Is NATS up, and can it be reached at --nats-url? The log here tells more.",
				stream.of, stamp(heard.UnixNano())))
		}
	}
	return notes
}

// diagnosis finds out why something has metrics or has none, from what the server holds at one moment.
type diagnosis struct {
	now     time.Time
	options *Options
	catalog *catalog
	usage   *view.Usage
	reports *reports
}

// scrapes is what is known of the attempts to scrape a node.
type scrapes struct {
	sample  *schemas.UsageSample  // the latest; nil for none
	report  *schemas.ScrapeReport // the latest; nil for none
	failing bool                  // the report is of a failure, and nothing good came after it
	part    bool                  // the report says that the sample is not whole
}

func (d *diagnosis) scrapes(node string) (found scrapes) {
	found.sample, _ = d.usage.Node(node)
	found.report, _ = d.reports.get(node)
	if found.report == nil {
		return found
	}
	latest := found.sample == nil || found.report.Time >= found.sample.Time
	if soon := d.now.Add(d.options.Resolution).UnixNano(); found.sample != nil && found.report.Time > soon && found.sample.Time <= soon {
		latest = false // it is of before the ingester's clock was set back
	}
	found.failing = latest && !found.report.Published()
	found.part = latest && found.sample != nil && found.report.Result != schemas.ScrapeSuccess && found.report.Published()
	return found
}

// node describes a node for the page.
func (d *diagnosis) node(entry *view.Entry[node]) debugpage.Node {
	known := d.scrapes(entry.Name)
	n := debugpage.Node{Name: entry.Name, State: debugpage.Waiting}
	if sample := known.sample; sample != nil {
		n.LastSuccess, n.LastAttempt = time.Unix(0, sample.Time), time.Unix(0, sample.Time)
		n.Took, n.Result, n.Pods = time.Duration(sample.Duration), schemas.ScrapeSuccess, len(sample.Pods)
		n.NextAttempt = n.LastAttempt.Add(d.options.Resolution)
	}
	if report := known.report; report != nil {
		n.URL, n.Scraper, n.More = report.URL, report.Ingester, report.More
		for _, dropped := range report.Dropped {
			n.Dropped = append(n.Dropped, debugpage.Dropped{Namespace: dropped.Namespace, Pod: dropped.Pod, Container: dropped.Container, Reason: dropped.Reason})
		}
		if known.sample == nil && report.LastSuccess != 0 {
			n.LastSuccess = time.Unix(0, report.LastSuccess)
		}
		if known.failing {
			n.LastAttempt, n.Took, n.Result, n.Error, n.Failures = time.Unix(0, report.Time), time.Duration(report.Duration), report.Result, report.Error, report.Failures
			n.NextAttempt = time.Unix(0, report.Next)
		}
		if known.part {
			n.Result, n.Error = report.Result, report.Error
		}
	}
	if n.NextAttempt.Before(d.now) {
		n.NextAttempt = time.Time{}
	}
	switch {
	case known.failing:
		n.State = debugpage.Failing
	case known.sample == nil:
	case d.now.Sub(n.LastSuccess) > 2*d.options.Resolution:
		n.State = debugpage.Stale
	case len(n.Dropped) > 0 || n.More > 0 || known.part:
		n.State = debugpage.Partial
	default:
		n.State = debugpage.Fresh
	}
	return n
}

// nodeVerdict says of a node whether it has metrics, and why: since when, and what to do.
func (d *diagnosis) nodeVerdict(entry *view.Entry[node]) string {
	var v verdict
	none := func(format string, args ...any) string {
		return entry.Name + " has no metrics: " + fmt.Sprintf(format, args...) + "."
	}
	sample, reason := d.sampleOf(&v, entry.Name)
	detail := v.Steps[len(v.Steps)-1].Detail
	if sample == nil {
		return none("it %s: %s", reason, detail)
	}
	next := d.next(sample)
	switch point := sample.Point; {
	case sample.Time < entry.Value.created*1e9:
		return none("its last sample was taken at %s, before the Node object was created at %s, so it is of another node of that name; %s brings its own", stamp(sample.Time), stamp(entry.Value.created*1e9), next)
	case point == nil:
		if dropped := d.dropped(entry.Name, "", ""); dropped != nil {
			return none("its own figures of %s were dropped (%s): %s", stamp(sample.Time), dropped.Reason, debugpage.Explain(dropped.Reason))
		}
		return none("at %s the kubelet gave no CPU time or no memory of the node itself; see the kubelet's log", stamp(sample.Time))
	case point.Window == 0:
		return none("there is one reading so far, of %s, and a rate takes two; %s brings it", stamp(point.Time), next)
	case !point.HasRate():
		return none("its CPU counter went backwards between the last two readings, of which the later is of %s, so there is no rate; %s brings one", stamp(point.Time), next)
	}
	return entry.Name + " has metrics: " + detail + "."
}
