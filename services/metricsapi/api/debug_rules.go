package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/debugpage"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// What is said below is read by somebody whose cluster is broken: each text tells what was found, since when, and what to do.

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

// sampleOf goes through the rules about a node's sample. It returns the sample, or nil and what is wrong with the node: "can't be
// scraped".
func (d *diagnosis) sampleOf(v *verdict, node string) (sample *schemas.UsageSample, reason string) {
	if d.catalog.selector != nil && !v.step("its node is selected", d.catalog.selected(node), "%s", d.selection(node)) {
		return nil, "isn't selected by --node-selector"
	}
	known := d.scrapes(node)
	trouble := d.trouble(known)
	if sample = known.sample; sample == nil {
		if trouble != "" {
			v.step("its node is scraped", false, "%s", trouble)
			return nil, "can't be scraped"
		}
		v.step("its node is scraped", false, "%s", d.neverScraped(node))
		return nil, "has not been scraped"
	}
	v.step("its node is scraped", true, "last at %s, it took %v", stamp(sample.Time), time.Duration(sample.Duration).Round(time.Microsecond))
	age, maxAge := d.now.Sub(time.Unix(0, sample.Time)).Round(time.Millisecond), d.options.maxSampleAge()
	old := fmt.Sprintf("the sample is %v old, and one counts for %v (--max-sample-age)", age, maxAge)
	if age < -time.Second {
		old = fmt.Sprintf("the sample is of %v from now: compare this host's clock with that of the ingester's host", -age)
	}
	if expired(sample, d.now, maxAge) {
		v.step("its node's sample is not too old", false, "%s; %s", old, cmp.Or(trouble, d.noLongerScraped()))
		return nil, "has only a sample that is too old"
	}
	if trouble != "" {
		old += "; but " + trouble
	}
	v.step("its node's sample is not too old", true, "%s", old)
	return sample, ""
}

// trouble says how the attempts to scrape a node fail; "" where the last one didn't.
func (d *diagnosis) trouble(known scrapes) string {
	if !known.failing {
		return ""
	}
	report := known.report
	since := "and never succeeded"
	if report.LastSuccess != 0 {
		since = "since the last success, which was at " + stamp(report.LastSuccess)
	}
	times := "once"
	if report.Failures > 1 {
		times = fmt.Sprintf("%d times in a row", report.Failures)
	}
	text := fmt.Sprintf("%s failed %s %s; the last time at %s (%s): %s", report.Ingester, times, since, stamp(report.Time), report.Result, report.Error)
	switch late := d.now.Sub(time.Unix(0, report.Next)); {
	case late < 0:
		text += fmt.Sprintf("; the next attempt is due at %s", stamp(report.Next))
	case late > 2*d.options.Resolution:
		text += fmt.Sprintf("; the next attempt was due at %s, and nothing is known of it: %s", stamp(report.Next), d.noLongerScraped())
	}
	return text
}

// neverScraped says why there may be nothing of a node at all.
func (d *diagnosis) neverScraped(node string) string {
	if entry, ok := d.catalog.nodes.Get("", node); ok {
		if age := d.now.Sub(time.Unix(entry.Value.created, 0)); age < 2*d.options.Resolution {
			return fmt.Sprintf("there is no sample of %s yet, which was created at %s: the first one comes within a resolution (%v), and a rate takes two", node, stamp(entry.Value.created*1e9), d.options.Resolution)
		}
	}
	if !d.anyScraped() {
		return fmt.Sprintf("there is no sample of %s, and none of any other node that still counts: is an ingester running, and can it write to NATS? Its log tells, and its own %s", node, debugPath)
	}
	return fmt.Sprintf("there is no sample of %s, and no report of a failure, while other nodes are scraped: does an ingester's --node-selector (or --node, or --shard) take in this node? %s of an ingester lists those that do", node, debugPath)
}

// noLongerScraped says why nothing may have come of a node since its last sample or report.
func (d *diagnosis) noLongerScraped() string {
	if !d.anyScraped() {
		return "no attempt is known since, at no node: is an ingester running, and can it write to NATS? Its log tells, and its own " + debugPath
	}
	return "no attempt is known since, while other nodes are scraped: does an ingester's --node-selector (or --node, or --shard) still take in this node? " + debugPath + " of an ingester lists those that do"
}

// anyScraped tells whether any node has a sample that counts.
func (d *diagnosis) anyScraped() bool {
	return d.usage.Any(func(sample *schemas.UsageSample) bool { return !expired(sample, d.now, d.options.maxSampleAge()) })
}

// next is the scrape of the node that comes after a sample, for a sentence.
func (d *diagnosis) next(sample *schemas.UsageSample) string {
	if due := time.Unix(0, sample.Time).Add(d.options.Resolution); due.After(d.now) {
		return "the next scrape, due at about " + stamp(due.UnixNano()) + ","
	}
	return "the next scrape"
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
		idle, ok := d.catalog.idle.get(namespace, name)
		if !v.step("the pod exists", ok, "%s", found(ok, "it does", "no such pod is known; is it spelled right, and in this namespace? kubectl get pods -A lists all")) {
			return v.because("there is no such pod")
		}
		v.step("it is Running", false, "%s", idle.why(namespace, name))
		return v.because("it is not Running")
	}
	v.step("the pod exists", true, "it does")
	v.step("it is Running", true, "it is")
	node := entry.Value.node
	if !v.step("it is on a node", node != "", "%s", found(node != "", "on "+node, "it has no spec.nodeName, although it is Running: who wrote its status?")) {
		return v.because("it is on no node")
	}
	if _, ok := d.catalog.nodes.Get("", node); !ok {
		v.step("that node exists", false, "there is no Node %s, so nobody scrapes it; a sample that is left counts until it is too old. Kubernetes deletes the pods of such a node after some minutes", node)
	} else {
		v.step("that node exists", true, "it does")
	}
	sample, reason := d.sampleOf(v, node)
	if sample == nil {
		return v.because("its node %s %s", node, reason)
	}
	usage, _ := d.usage.Pod(view.PodQuery{Namespace: namespace, Name: name, Node: node})
	if usage.Pod == nil || usage.Sample.Node != node || len(usage.Pod.Containers) == 0 {
		return d.absent(v, sample, &entry.Value, usage)
	}
	v.step("the sample has the pod", true, "with %s", count(len(usage.Pod.Containers), "container"))
	if !v.step("what the sample has is of this pod", belongs(usage, &entry.Value), "%s", d.whose(usage, &entry.Value)) {
		return v.because("what is known is of a pod that had its name before")
	}
	return d.containers(v, sample, usage.Pod)
}

// why says of a pod that isn't running what its phase means.
func (i idlePod) why(namespace, name string) string {
	text := fmt.Sprintf("its phase is %q; only running pods have metrics, as in metrics-server. ", i.phase)
	describe := fmt.Sprintf("kubectl describe pod -n %s %s", namespace, name)
	switch i.phase {
	case "Pending":
		return text + "It has been waiting for a node, an image or a volume since it was created at " + stamp(i.created*1e9) + "; " + describe + " tells for what"
	case "Succeeded", "Failed":
		return text + "Its containers have ended, and are not started again; " + describe + " tells when, and how"
	}
	return text + "No kubelet tells how it is; look whether its node is Ready: " + describe
}

// absent says why the sample of a pod's node lacks the pod. usage is what another node claims, if any does.
func (d *diagnosis) absent(v *verdict, sample *schemas.UsageSample, p *pod, usage view.PodUsage) *debugpage.Pod {
	const rule = "the sample has the pod"
	node := sample.Node
	if dropped := d.dropped(node, v.Namespace, v.Name); dropped != nil {
		of := ""
		if dropped.Container != "" {
			of = " because of its container " + dropped.Container
		}
		v.step(rule, false, "the kubelet told of it at %s, and the ingester dropped it%s: %s: %s", stamp(sample.Time), of, dropped.Reason, cmp.Or(debugpage.Explain(dropped.Reason), "see the ingester's documentation"))
		return v.because("it was dropped%s (%s)", of, dropped.Reason)
	}
	if usage.Pod != nil && usage.Sample.Node != node {
		v.step(rule, false, "that of %s hasn't, but that of %s has a pod of this name, which is not believed: the API says that it runs on %s; if it was there before, %s of %s brings it", node, usage.Sample.Node, node, d.next(sample), node)
		return v.because("only another node (%s) tells of such a pod", usage.Sample.Node)
	}
	if since := max(p.started, p.created) * 1e9; since > sample.Time-int64(d.options.Resolution) {
		v.step(rule, false, "it started at %s, and the last sample of %s is of %s: %s or the one after it has the pod", stamp(since), node, stamp(sample.Time), d.next(sample))
		return v.because("it has just started, and the kubelet of %s hasn't been asked since", node)
	}
	more := ""
	if report, ok := d.reports.get(node); ok && report.More > 0 {
		more = fmt.Sprintf("; or it is one of the %d that were dropped and are not known by name", report.More)
	}
	v.step(rule, false, "the kubelet of %s didn't tell of it at %s: its containers were not running yet, or are not any more%s. kubectl get --raw /api/v1/nodes/%s/proxy/metrics/resource shows what it tells, kubectl describe pod -n %s %s whether they run",
		node, stamp(sample.Time), more, node, v.Namespace, v.Name)
	return v.because("the kubelet of %s didn't tell of it in the last sample", node)
}

// whose says why usage is or isn't believed to be of the pod.
func (d *diagnosis) whose(usage view.PodUsage, p *pod) string {
	if belongs(usage, p) {
		return "it is, by its node and the times of its containers"
	}
	next := d.next(usage.Sample)
	if usage.Pod.UID != "" && usage.Pod.UID != p.uid {
		return fmt.Sprintf("at %s it had the UID %s, this pod has %s: it was recreated; %s brings its own", stamp(usage.Sample.Time), usage.Pod.UID, p.uid, next)
	}
	return "this pod was created at " + stamp(p.created*1e9) + ", and what is known was read, or its containers started, before: it was recreated; " + next + " brings its own"
}

// containers goes through the points of the pod's containers.
func (d *diagnosis) containers(v *verdict, sample *schemas.UsageSample, usage *schemas.PodUsage) *debugpage.Pod {
	var first, back, good []string
	var since []string // of first: with the times of their starts
	for i := range usage.Containers {
		switch c := &usage.Containers[i]; {
		case c.Point.Window == 0:
			first, since = append(first, c.Name), append(since, c.Name+found(c.Point.Start != 0, " (started at "+stamp(c.Point.Start)+")", ""))
		case !c.Point.HasRate():
			back = append(back, c.Name)
		default:
			good = append(good, c.Name)
		}
	}
	for _, names := range [][]string{first, since, back, good} {
		slices.Sort(names)
	}
	if !v.step("every container has been read twice", len(first) == 0, "%s", found(len(first) == 0, "yes",
		"of "+few(since)+" there is one reading only, as it is new or was restarted; the whole pod waits for "+d.next(sample)+" because a sum without it would mislead the autoscaler. kubectl get pod -n "+v.Namespace+" "+v.Name+" shows whether it restarts again and again")) {
		return v.because("the container %s is new or was restarted, and a rate takes two readings", few(first))
	}
	v.step("no counter went backwards", len(back) == 0, "%s", found(len(back) == 0, "none did",
		"that of "+few(back)+" did, without a restart: such a container is left out, the pod is not; "+d.next(sample)+" brings it back"))
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

func found(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}

// stamp is a time, Unix nanoseconds, as the page tells it.
func stamp(nanoseconds int64) string { return time.Unix(0, nanoseconds).UTC().Format(time.RFC3339) }

// count is a number of things: "1 container".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// few is some names for a sentence.
func few(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
