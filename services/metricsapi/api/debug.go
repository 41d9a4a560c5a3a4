package api

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
	}
	catalog, usage := s.catalogs.Load(), s.usage.Load()
	if catalog == nil || usage == nil {
		return p
	}
	d := &diagnosis{now: p.Time, maxAge: s.cfg.Options.maxSampleAge(), resolution: s.cfg.Options.Resolution, catalog: catalog, usage: usage, reports: s.reports}
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
	}
	return p
}

// diagnosis finds out why something has metrics or has none, from what the server holds at one moment.
type diagnosis struct {
	now                time.Time
	maxAge, resolution time.Duration
	catalog            *catalog
	usage              view.UsageReader
	reports            *reports
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
	found.failing = found.report != nil && !found.report.Published() && (found.sample == nil || found.report.Time >= found.sample.Time)
	found.part = found.report != nil && found.sample != nil && found.report.Result != schemas.ScrapeSuccess && found.report.Published() && found.report.Time >= found.sample.Time
	return found
}

// node describes a node for the page.
func (d *diagnosis) node(entry *view.Entry[node]) debugpage.Node {
	known := d.scrapes(entry.Name)
	n := debugpage.Node{Name: entry.Name, State: debugpage.Waiting}
	if sample := known.sample; sample != nil {
		n.LastSuccess, n.LastAttempt = time.Unix(0, sample.Time), time.Unix(0, sample.Time)
		n.Took, n.Result, n.Pods = time.Duration(sample.Duration), schemas.ScrapeSuccess, len(sample.Pods)
		n.NextAttempt = n.LastAttempt.Add(d.resolution)
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
	case d.now.Sub(n.LastSuccess) > 2*d.resolution:
		n.State = debugpage.Stale
	case len(n.Dropped) > 0 || n.More > 0 || known.part:
		n.State = debugpage.Partial
	default:
		n.State = debugpage.Fresh
	}
	return n
}

// verdict is a row of steps, and what follows from them.
type verdict struct{ debugpage.Pod }

// step adds a rule and says whether it holds.
func (v *verdict) step(rule string, ok bool, format string, args ...any) bool {
	v.Steps = append(v.Steps, debugpage.Step{Rule: rule, OK: ok, Detail: fmt.Sprintf(format, args...)})
	return ok
}

// because ends the row: there are no metrics.
func (v *verdict) because(format string, args ...any) *debugpage.Pod {
	v.Verdict = "It has no metrics: " + fmt.Sprintf(format, args...) + "."
	return &v.Pod
}

// nodeVerdict says of a node in a sentence whether it has metrics, and why.
func (d *diagnosis) nodeVerdict(entry *view.Entry[node]) string {
	var v verdict
	sample, reason := d.sampleOf(&v, entry.Name)
	if sample == nil {
		return entry.Name + " has no metrics: " + reason + "."
	}
	none := func(reason string) string { return entry.Name + " has no metrics: " + reason + "." }
	switch point := sample.Point; {
	case sample.Time < entry.Value.created*1e9:
		return none("its last sample was taken before the Node object was created, so it is of another node of that name")
	case point == nil:
		if dropped := d.dropped(entry.Name, "", ""); dropped != nil {
			return none("its own figures were dropped (" + dropped.Reason + "): " + debugpage.Explain(dropped.Reason))
		}
		return none("the kubelet gave no CPU time or no memory of the node itself")
	case point.Window == 0:
		return none("there is one reading so far, and a rate takes two; the next scrape brings it")
	case !point.HasRate():
		return none("its CPU counter went backwards between the last two readings, so there is no rate; the next scrape brings one")
	}
	return fmt.Sprintf("%s has metrics: its last sample is %v old.", entry.Name, d.age(sample))
}

func (d *diagnosis) age(sample *schemas.UsageSample) time.Duration {
	return d.now.Sub(time.Unix(0, sample.Time)).Round(time.Millisecond)
}

// sampleOf goes through the rules about a node's sample. It returns the sample, or nil and why there is none that counts.
func (d *diagnosis) sampleOf(v *verdict, node string) (sample *schemas.UsageSample, reason string) {
	known := d.scrapes(node)
	trouble := ""
	if known.failing {
		since := "it never succeeded"
		if known.report.LastSuccess != 0 {
			since = "the last success was at " + time.Unix(0, known.report.LastSuccess).UTC().Format(time.RFC3339)
		}
		trouble = fmt.Sprintf("%d attempts in a row by %s failed, %s (%s): %s", known.report.Failures, known.report.Ingester, since, known.report.Result, known.report.Error)
	}
	if sample = known.sample; sample == nil {
		if trouble != "" {
			v.step("its node is scraped", false, "%s", trouble)
			return nil, "its node " + node + " can't be scraped"
		}
		v.step("its node is scraped", false, "there is no sample of %s, and no report of a failure: is an ingester running, does its --node-selector (or --node, or its shard) take in this node, and is the node older than a resolution (%v)?", node, d.resolution)
		return nil, "its node " + node + " has not been scraped"
	}
	v.step("its node is scraped", true, "last at %s, it took %v", time.Unix(0, sample.Time).UTC().Format(time.RFC3339), time.Duration(sample.Duration).Round(time.Microsecond))
	if expired(sample, d.now, d.maxAge) {
		if trouble == "" {
			trouble = "no attempt is known since: is the ingester running?"
		}
		v.step("its node's sample is not too old", false, "it is %v old, and one counts for %v (--max-sample-age); %s", d.age(sample), d.maxAge, trouble)
		return nil, fmt.Sprintf("the last sample of its node %s is too old", node)
	}
	if trouble != "" {
		trouble = "; but " + trouble
	}
	v.step("its node's sample is not too old", true, "it is %v old, and one counts for %v (--max-sample-age)%s", d.age(sample), d.maxAge, trouble)
	return sample, ""
}

// dropped finds a pod, or with an empty name the node itself, in what was dropped of a node's last good answer; nil if it
// isn't there.
func (d *diagnosis) dropped(node, namespace, pod string) *schemas.DroppedUsage {
	report, ok := d.reports.get(node)
	if !ok {
		return nil
	}
	for i := range report.Dropped {
		if u := &report.Dropped[i]; u.Namespace == namespace && u.Pod == pod {
			return u
		}
	}
	return nil
}

// pod goes through the rules that decide whether a pod has metrics, in the order in which a request does.
func (d *diagnosis) pod(namespace, name string) *debugpage.Pod {
	v := &verdict{debugpage.Pod{Namespace: namespace, Name: name}}
	entry, running := d.catalog.pods.Get(namespace, name)
	if !running {
		phase, ok := d.catalog.idle.phase(namespace, name)
		if !v.step("the pod exists", ok, "%s", found(ok, "it does", "no such pod is known; is it spelled right, and in this namespace?")) {
			return v.because("there is no such pod")
		}
		v.step("it is Running", false, "its phase is %q; only running pods have metrics, as in metrics-server. kubectl describe pod tells what it waits for", phase)
		return v.because("it is not Running")
	}
	v.step("the pod exists", true, "it does")
	v.step("it is Running", true, "it is")
	node := entry.Value.node
	if !v.step("it is on a node", node != "", "%s", found(node != "", "on "+node, "it has no spec.nodeName")) {
		return v.because("it is on no node")
	}
	if _, ok := d.catalog.nodes.Get("", node); !ok {
		v.step("that node exists", false, "there is no Node %s, so nobody scrapes it; a sample that is left counts until it is too old", node)
	} else {
		v.step("that node exists", true, "it does")
	}
	sample, reason := d.sampleOf(v, node)
	if sample == nil {
		return v.because("%s", reason)
	}
	usage, _ := d.usage.Pod(view.PodQuery{Namespace: namespace, Name: name, Node: node})
	if usage.Pod == nil || usage.Sample.Node != node || len(usage.Pod.Containers) == 0 {
		return d.absent(v, node, usage)
	}
	v.step("the sample has the pod", true, "with %d containers", len(usage.Pod.Containers))
	if !v.step("what the sample has is of this pod", belongs(usage, &entry.Value), "%s", d.whose(usage, &entry.Value)) {
		return v.because("what is known is of a pod that had its name before")
	}
	return d.containers(v, usage.Pod)
}

func found(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}

// absent says why the sample of a pod's node lacks the pod. usage is what another node claims, if any does.
func (d *diagnosis) absent(v *verdict, node string, usage view.PodUsage) *debugpage.Pod {
	if dropped := d.dropped(node, v.Namespace, v.Name); dropped != nil {
		of := ""
		if dropped.Container != "" {
			of = " because of its container " + dropped.Container
		}
		v.step("the sample has the pod", false, "the kubelet tells of it, and the ingester dropped it%s: %s: %s", of, dropped.Reason, cmp.Or(debugpage.Explain(dropped.Reason), "see the ingester's documentation"))
		return v.because("it was dropped%s (%s)", of, dropped.Reason)
	}
	if usage.Pod != nil && usage.Sample.Node != node {
		v.step("the sample has the pod", false, "that of %s hasn't, but that of %s has a pod of this name, which is not believed: the API says that it runs on %s", node, usage.Sample.Node, node)
		return v.because("only another node (%s) tells of such a pod", usage.Sample.Node)
	}
	more := ""
	if report, ok := d.reports.get(node); ok && report.More > 0 {
		more = fmt.Sprintf("; or it is one of the %d that were dropped and are not known by name", report.More)
	}
	v.step("the sample has the pod", false, "the kubelet of %s didn't tell of it: its containers were not running yet, or are not any more%s. /metrics/resource of the kubelet shows what it tells", node, more)
	return v.because("the kubelet of %s didn't tell of it in the last sample", node)
}

// whose says why usage is or isn't believed to be of the pod.
func (d *diagnosis) whose(usage view.PodUsage, p *pod) string {
	created := time.Unix(p.created, 0).UTC().Format(time.RFC3339)
	if belongs(usage, p) {
		return "it is, by its node and the times of its containers"
	}
	if usage.Pod.UID != "" && usage.Pod.UID != p.uid {
		return fmt.Sprintf("it has the UID %s, this pod has %s: it was recreated; the next scrape brings its own", usage.Pod.UID, p.uid)
	}
	return "this pod was created at " + created + ", and what is known was read, or its containers started, before: it was recreated; the next scrape brings its own"
}

// containers goes through the points of the pod's containers.
func (d *diagnosis) containers(v *verdict, usage *schemas.PodUsage) *debugpage.Pod {
	var first, back, good []string
	for i := range usage.Containers {
		switch c := &usage.Containers[i]; {
		case c.Point.Window == 0:
			first = append(first, c.Name)
		case !c.Point.HasRate():
			back = append(back, c.Name)
		default:
			good = append(good, c.Name)
		}
	}
	for _, names := range [][]string{first, back, good} {
		slices.Sort(names)
	}
	if !v.step("every container has been read twice", len(first) == 0, "%s", found(len(first) == 0, "yes",
		"of "+few(first)+" there is one reading only, as it is new or was restarted; the whole pod waits for the next scrape, because a sum without it would mislead the autoscaler")) {
		return v.because("the container %s is new or was restarted, and a rate takes two readings", few(first))
	}
	v.step("no counter went backwards", len(back) == 0, "%s", found(len(back) == 0, "none did",
		"that of "+few(back)+" did, without a restart; such a container is left out until the next scrape, the pod is not"))
	v.HasMetrics = true
	v.Verdict = "It has metrics."
	if len(back) > 0 {
		v.Verdict = "It has metrics, without those of " + few(back) + "."
	}
	if len(good) == 0 {
		v.Verdict = "It has metrics, but of no container: the autoscaler takes it for a pod without."
	}
	return &v.Pod
}

// few is some names for a sentence.
func few(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
