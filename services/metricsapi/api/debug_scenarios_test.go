package api

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
)

// TestWhatThePageSaysOfABrokenCluster has the troubles that users have, one at a time, and what they read of the pod shop/web-0 and
// of its node: the rule, since when, and what to do.
func TestWhatThePageSaysOfABrokenCluster(t *testing.T) {
	const now = "2026-03-04T05:06:08Z" // the server's clock
	usual := point(1e9, 4096, 15*time.Second)
	sampled := func(ago time.Duration, pods ...schemas.PodUsage) func(*served) {
		return func(s *served) {
			sample := nodeSample("node-a", &usual, pods...)
			sample.Time = at(time.Second - ago)
			s.sample(sample)
		}
	}
	web := podUsage("shop", "web-0", container("main", usual))
	failing := func(result, text string, failures uint64, success, next time.Duration) func(*served) {
		return func(s *served) {
			report := schemas.ScrapeReport{Node: "node-a", Ingester: "ingest-1", Time: at(-9 * time.Second), Result: result, Error: text, Failures: failures, Next: at(next)}
			if success != 0 {
				report.LastSuccess = at(success)
			}
			s.report(report)
		}
	}
	running := newPod("shop", "web-0", "node-a", nil)
	phase := func(phase corev1.PodPhase) func(*served) {
		return func(s *served) {
			p := running.DeepCopy()
			p.Status.Phase = phase
			s.apply(p)
		}
	}
	young := func(s *served) {
		p := running.DeepCopy()
		p.CreationTimestamp, p.Status.StartTime = metav1.NewTime(epoch.Add(-3*time.Second)), &metav1.Time{Time: epoch.Add(-2 * time.Second)}
		s.apply(p)
	}
	elsewhere := func(s *served) {
		s.apply(newNode("node-b", nil))
		s.sample(nodeSample("node-b", &usual))
	}
	for name, c := range map[string]struct {
		feed      []func(*served)
		configure func(*Config)
		pod, node string // what is said, among other things; "" for a node that isn't there
		verdict   string
	}{
		"all is well": {
			feed: []func(*served){sampled(3*time.Second, web)}, verdict: "It has metrics.",
			pod: "the sample is 3s old, and one counts for 45s (--max-sample-age)", node: "node-a has metrics: the sample is 3s old, and one counts for 45s (--max-sample-age).",
		},
		"the kubelet hangs, and the last sample stands": {
			feed:    []func(*served){sampled(25*time.Second, web), failing("timeout", "it didn't answer within 10s; look at the kubelet's log", 1, -24*time.Second, 6*time.Second)},
			verdict: "It has metrics.",
			pod:     "the sample is 25s old, and one counts for 45s (--max-sample-age); but ingest-1 failed once since the last success, which was at 2026-03-04T05:05:43Z; the last time at 2026-03-04T05:05:58Z (timeout): it didn't answer within 10s; look at the kubelet's log; the next attempt is due at 2026-03-04T05:06:13Z",
			node:    "node-a has metrics: the sample is 25s old",
		},
		"the kubelet's certificate is wrong": {
			feed:    []func(*served){failing("tls", "x509: certificate signed by unknown authority; give --kubelet-certificate-authority", 7, 0, 6*time.Second)},
			verdict: "It has no metrics: its node node-a can't be scraped.",
			pod:     "ingest-1 failed 7 times in a row and never succeeded; the last time at 2026-03-04T05:05:58Z (tls): x509: certificate signed by unknown authority; give --kubelet-certificate-authority; the next attempt is due at",
			node:    "node-a has no metrics: it can't be scraped: ingest-1 failed 7 times in a row and never succeeded",
		},
		"the kubelet answers 403": {
			feed:    []func(*served){sampled(46*time.Second, web), failing("status", "403 Forbidden; grant get on nodes/metrics", 4, -45*time.Second, 6*time.Second)},
			verdict: "It has no metrics: its node node-a has only a sample that is too old.",
			pod:     "the sample is 46s old, and one counts for 45s (--max-sample-age); ingest-1 failed 4 times in a row since the last success, which was at 2026-03-04T05:05:22Z; the last time at 2026-03-04T05:05:58Z (status): 403 Forbidden; grant get on nodes/metrics; the next attempt",
			node:    "node-a has no metrics: it has only a sample that is too old: the sample is 46s old",
		},
		"the ingester died while a kubelet failed": {
			feed:    []func(*served){sampled(10*time.Minute, web), failing("status", "401 Unauthorized; see the token", 4, -10*time.Minute, -5*time.Minute)},
			verdict: "It has no metrics: its node node-a has only a sample that is too old.",
			pod:     "the next attempt was due at 2026-03-04T05:01:07Z, and nothing is known of it: no attempt is known since, at no node: is an ingester running, and can it write to NATS?",
			node:    "node-a has no metrics",
		},
		"the ingester of this node died, others live": {
			feed:    []func(*served){sampled(time.Minute, web), elsewhere},
			verdict: "It has no metrics: its node node-a has only a sample that is too old.",
			pod:     "the sample is 1m0s old, and one counts for 45s (--max-sample-age); no attempt is known since, while other nodes are scraped: does an ingester's --node-selector (or --node, or --shard) still take in this node?",
			node:    "node-a has no metrics: it has only a sample that is too old",
		},
		"the ingesters died": {
			feed:    []func(*served){sampled(time.Minute, web)},
			verdict: "It has no metrics: its node node-a has only a sample that is too old.",
			pod:     "no attempt is known since, at no node: is an ingester running, and can it write to NATS? Its log tells, and its own /debug/nodes",
			node:    "no attempt is known since, at no node",
		},
		"nobody ever scraped": {
			verdict: "It has no metrics: its node node-a has not been scraped.",
			pod:     "there is no sample of node-a, and none of any other node that still counts: is an ingester running, and can it write to NATS?",
			node:    "node-a has no metrics: it has not been scraped: there is no sample of node-a",
		},
		"nobody scrapes this node": {
			feed:    []func(*served){elsewhere},
			verdict: "It has no metrics: its node node-a has not been scraped.",
			pod:     "there is no sample of node-a, and no report of a failure, while other nodes are scraped: does an ingester's --node-selector (or --node, or --shard) take in this node?",
			node:    "node-a has no metrics: it has not been scraped",
		},
		"the node is new": {
			feed: []func(*served){elsewhere, func(s *served) {
				n := newNode("node-a", nil)
				n.CreationTimestamp = metav1.NewTime(epoch.Add(-5 * time.Second))
				s.apply(n)
			}},
			verdict: "It has no metrics: its node node-a has not been scraped.",
			pod:     "there is no sample of node-a yet, which was created at 2026-03-04T05:06:02Z: the first one comes within a resolution (15s), and a rate takes two",
			node:    "node-a has no metrics: it has not been scraped: there is no sample of node-a yet",
		},
		"the node was recreated": {
			feed: []func(*served){sampled(9*time.Second, web), func(s *served) {
				n := newNode("node-a", nil)
				n.CreationTimestamp = metav1.NewTime(epoch.Add(-5 * time.Second))
				s.apply(n)
			}},
			verdict: "It has metrics.",
			node:    "its last sample was taken at 2026-03-04T05:05:59Z, before the Node object was created at 2026-03-04T05:06:02Z, so it is of another node of that name; the next scrape, due at about 2026-03-04T05:06:14Z, brings its own",
		},
		"the node is deleted": {
			feed:    []func(*served){func(s *served) { s.remove(newNode("node-a", nil)) }},
			verdict: "It has no metrics: its node node-a has not been scraped.",
			pod:     "there is no Node node-a, so nobody scrapes it; a sample that is left counts until it is too old. Kubernetes deletes the pods of such a node after some minutes",
		},
		"the pod is Pending": {
			feed: []func(*served){sampled(3 * time.Second), phase(corev1.PodPending)}, verdict: "It has no metrics: it is not Running.",
			pod:  "It has been waiting for a node, an image or a volume since it was created at 2026-03-04T04:36:07Z; kubectl describe pod -n shop web-0 tells for what",
			node: "node-a has metrics",
		},
		"the pod has failed": {
			feed: []func(*served){sampled(3 * time.Second), phase(corev1.PodFailed)}, verdict: "It has no metrics: it is not Running.",
			pod: `its phase is "Failed"; only running pods have metrics, as in metrics-server. Its containers have ended, and are not started again; kubectl describe pod -n shop web-0 tells when, and how`, node: "node-a has metrics",
		},
		"the pod's kubelet is lost": {
			feed: []func(*served){sampled(3 * time.Second), phase(corev1.PodUnknown)}, verdict: "It has no metrics: it is not Running.",
			pod: `its phase is "Unknown"; only running pods have metrics, as in metrics-server. No kubelet tells how it is; look whether its node is Ready: kubectl describe pod -n shop web-0`, node: "node-a has metrics",
		},
		"the pod has just started": {
			feed:    []func(*served){sampled(3 * time.Second), young},
			verdict: "It has no metrics: it has just started, and the kubelet of node-a hasn't been asked since.",
			pod:     "it started at 2026-03-04T05:06:05Z, and the last sample of node-a is of 2026-03-04T05:06:05Z: the next scrape, due at about 2026-03-04T05:06:20Z, or the one after it has the pod", node: "node-a has metrics",
		},
		"the kubelet doesn't tell of the pod": {
			feed:    []func(*served){sampled(3 * time.Second)},
			verdict: "It has no metrics: the kubelet of node-a didn't tell of it in the last sample.",
			pod:     "the kubelet of node-a didn't tell of it at 2026-03-04T05:06:05Z: its containers were not running yet, or are not any more. kubectl get --raw /api/v1/nodes/node-a/proxy/metrics/resource shows what it tells, kubectl describe pod -n shop web-0 whether they run", node: "node-a has metrics",
		},
		"a container was restarted": {
			feed: []func(*served){func(s *served) {
				again := point(0, 4096, 0)
				again.Start = at(-8 * time.Second)
				sampled(3*time.Second, podUsage("shop", "web-0", container("main", usual), container("side", again)))(s)
			}},
			verdict: "It has no metrics: the container side is new or was restarted, and a rate takes two readings.",
			pod:     "of side (started at 2026-03-04T05:05:59Z) there is one reading only, as it is new or was restarted; the whole pod waits for the next scrape, due at about 2026-03-04T05:06:20Z, because a sum without it would mislead the autoscaler. kubectl get pod -n shop web-0 shows whether it restarts again and again", node: "node-a has metrics",
		},
		"NATS is lost": {
			feed: []func(*served){sampled(20*time.Second, web), func(s *served) {
				s.usage.heard.Store(at(-19 * time.Second))
				s.objects.heard.Store(at(0))
			}},
			verdict: "It has metrics.", node: "Nothing has been heard of the stream of usage since 2026-03-04T05:05:48Z: what stands here is of then. Is NATS up, and can it be reached at --nats-url?",
		},
		"NATS has been lost for long": {
			feed: []func(*served){sampled(time.Minute, web), func(s *served) {
				s.usage.heard.Store(at(-time.Minute))
				s.objects.heard.Store(at(-time.Minute))
			}},
			verdict: "It has no metrics: its node node-a has only a sample that is too old.",
			node:    "Nothing has been heard of the stream of nodes and pods since 2026-03-04T05:05:07Z",
		},
		"the ingester's clock is ahead": {
			feed: []func(*served){sampled(-time.Minute, web)}, verdict: "It has metrics.",
			pod: "the sample is of 1m0s from now: compare this host's clock with that of the ingester's host", node: "node-a has metrics: the sample is of 1m0s from now",
		},
		"the ingester's clock was ahead while it failed": {
			feed: []func(*served){sampled(3*time.Second, web), func(s *served) {
				s.report(schemas.ScrapeReport{Node: "node-a", Ingester: "ingest-1", Time: at(time.Hour), Result: "timeout", Error: "it didn't answer", Failures: 1, Next: at(time.Hour)})
			}},
			verdict: "It has metrics.", node: "node-a has metrics: the sample is 3s old, and one counts for 45s (--max-sample-age).",
		},
		"the pod is misspelled": {
			feed: []func(*served){sampled(3 * time.Second), func(s *served) { s.remove(running) }}, verdict: "It has no metrics: there is no such pod.",
			pod: "no such pod is known; is it spelled right, and in this namespace? kubectl get pods -A lists all", node: "node-a has metrics",
		},
		"the node isn't selected": {
			feed: []func(*served){sampled(3*time.Second, web)}, configure: selecting("pool=blue"),
			verdict: "It has no metrics: its node node-a isn't selected by --node-selector.",
			pod:     "node-a isn't selected by --node-selector=pool=blue, so neither it nor the pods on it have metrics, as in metrics-server: kubectl get node node-a --show-labels shows its labels; label it so that it matches, or change the flag of metricsapi, and of ingest where it is given there",
			node:    "node-a has no metrics: it isn't selected by --node-selector: node-a isn't selected by --node-selector=pool=blue, so neither it nor",
		},
		"the node is selected": {
			feed: []func(*served){sampled(3*time.Second, web)}, configure: selecting("pool=green"), verdict: "It has metrics.",
			pod: "its labels match --node-selector=pool=green", node: "node-a has metrics: the sample is 3s old",
		},
		"a node that would be selected is deleted": {
			feed: []func(*served){sampled(3*time.Second, web), func(s *served) { s.remove(newNode("node-a", nil)) }}, configure: selecting("pool=green"),
			verdict: "It has metrics.",
			pod:     "there is no Node node-a any more, whose labels could be looked at: what is known of it counts until it is too old",
		},
	} {
		t.Run(name, func(t *testing.T) {
			configure := c.configure
			if configure == nil {
				configure = func(*Config) {}
			}
			s := start(t, func(s *served) {
				s.apply(newNode("node-a", map[string]string{"pool": "green"}))
				s.apply(running)
				for _, feed := range c.feed {
					feed(s)
				}
			}, configure)
			_, page := s.page("&pod=shop/web-0")
			if page.Pod.Verdict != c.verdict || page.Pod.HasMetrics != strings.HasPrefix(c.verdict, "It has metrics") {
				t.Errorf("the verdict on the pod at %s is %q, want %q", now, page.Pod.Verdict, c.verdict)
			}
			said := strings.Join(page.Notes, "\n")
			for _, step := range page.Pod.Steps {
				said += "\n" + step.Detail
			}
			if !strings.Contains(said, c.pod) {
				t.Errorf("of the pod it says\n%s\nwant\n%s", said, c.pod)
			}
			code, page := s.page("&node=node-a")
			if c.node == "" {
				if code != 404 || !strings.Contains(strings.Join(page.Notes, "\n"), "kubectl get nodes lists those that exist") {
					t.Errorf("a node that isn't there: %d %v", code, page.Notes)
				}
				return
			}
			if said := strings.Join(page.Notes, "\n"); code != 200 || !strings.Contains(said, c.node) {
				t.Errorf("of the node it says\n%d %s\nwant\n%s", code, said, c.node)
			}
		})
	}
}

// TestTheNodesPageBeforeAnythingIsWhole: of what it doesn't know yet, the server doesn't say that it isn't there.
func TestTheNodesPageBeforeAnythingIsWhole(t *testing.T) {
	s := newServed(t).run()
	if code, page := s.page("&node=node-a"); code != 200 || len(page.Notes) != 1 || !strings.Contains(page.Notes[0], "the nodes and pods are not known yet") || !strings.Contains(page.Notes[0], "Nothing has been heard of NATS yet: is it up") {
		t.Errorf("%d %v", code, page.Notes)
	}
}
