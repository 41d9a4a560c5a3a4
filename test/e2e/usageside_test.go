package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// The nodes of the cluster of TestUsageSide, by their label group: no scenario harms the well ones.
const (
	wellNodes = 8
	badNodes  = 8
)

// slack is what a busy machine is given where a test measures how soon something happens.
const slack = 1500 * time.Millisecond

// TestUsageSide has scenarios about ingest and metricsapi. They run at the same time, each with a Headwater of its own, on a
// cluster of their own whose nodes are enough to be shared, and to have trouble on some of them.
func TestUsageSide(t *testing.T) {
	c, err := cluster.Start(t.Context(), cluster.Config{Nodes: wellNodes + badNodes, Dir: filepath.Join(shared.Dir, "usage-side"), Log: logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	u := &usageWorld{world: &world{Cluster: c}, visits: &visits{}}
	for i, node := range c.Kubelets.Nodes() {
		group := "well"
		if i >= wellNodes {
			group = "bad"
		}
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"group":%q}}}`, group)
		if _, err := c.Client.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.Kubelets.Watch(u.visits.note, u.well()...)
	for name, scenario := range map[string]func(*testing.T, *usageWorld){
		"SeveralIngesters":      severalIngesters,
		"FixedShares":           fixedShares,
		"FailuresStaySmall":     failuresStaySmall,
		"Summary":               summarySource,
		"Certificates":          certificates,
		"KilledWhileItIsServed": killedWhileItIsServed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario(t, u)
		})
	}
}

// usageWorld is a cluster without a Headwater that all use.
type usageWorld struct {
	*world
	visits *visits
}

func (u *usageWorld) well() []string { return u.Kubelets.Nodes()[:wellNodes] }
func (u *usageWorld) bad() []string  { return u.Kubelets.Nodes()[wellNodes:] }

// daemonSet is a manifest: a namespace, and a DaemonSet on the nodes of a group, of pods with the containers "main" and
// "side".
func daemonSet(namespace, group string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {namespace: %[1]s, name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      nodeSelector: {group: %[2]s}
      containers:
      - {name: main, image: registry.example/main:1}
      - {name: side, image: registry.example/side:1}
`, namespace, group)
}

// agents runs a DaemonSet for the time of a test and says what its containers use.
func (u *usageWorld) agents(t *testing.T, namespace, group string, nodes int) {
	t.Helper()
	u.Kubelets.SetUsage(cluster.Match{Namespace: namespace, Container: "main"}, cluster.Usage{CPU: 300, Memory: 200 << 20, Swap: 32 << 20})
	u.Kubelets.SetUsage(cluster.Match{Namespace: namespace, Container: "side"}, cluster.Usage{CPU: 125, Memory: 64 << 20, Swap: 4 << 20})
	u.apply(t, daemonSet(namespace, group))
	u.running(t, namespace, nodes)
}

// truthIn compares an answer's pods of one namespace with the truth.
func (w *world) truthIn(namespace string, items []podMetrics) error {
	got := map[string]podMetrics{}
	for _, item := range items {
		if item.Metadata.Namespace == namespace {
			got[item.Metadata.Name] = item
		}
	}
	total := len(got)
	for _, want := range w.Kubelets.Pods() {
		if want.Namespace != namespace {
			continue
		}
		item, ok := got[want.Name]
		if !ok {
			return fmt.Errorf("%s on %s is missing, %d pods of %s are there", want.Name, want.Node, total, namespace)
		}
		delete(got, want.Name)
		if err := item.has(want.Containers); err != nil {
			return err
		}
	}
	for name := range got {
		return fmt.Errorf("%s doesn't run but is answered", name)
	}
	if total == 0 {
		return errNothing
	}
	return nil
}

// has compares a pod's containers with what they use.
func (p *podMetrics) has(want map[string]cluster.Usage) error {
	if len(p.Containers) != len(want) {
		return fmt.Errorf("%s has %d containers, want %d", p.Metadata.Name, len(p.Containers), len(want))
	}
	for _, c := range p.Containers {
		cpu, memory := c.Usage["cpu"], c.Usage["memory"]
		if err := near(p.Metadata.Name+" "+c.Name, cpu.AsApproximateFloat64()*1000, memory.AsApproximateFloat64(), want[c.Name]); err != nil {
			return err
		}
	}
	return nil
}

// program describes one of Headwater's that ends with the test, on a NATS port of its own where that isn't 0.
func (o *own) program(program, name string, natsPort int, args ...string) (p *cluster.Process, telemetry string) {
	all := o.common(&telemetry, args...)
	if natsPort != 0 {
		all = append(all, fmt.Sprintf("--nats-url=nats://127.0.0.1:%d", natsPort))
	}
	return o.process(name, binary(program), all...), telemetry
}

// ingester describes an ingester of the nodes that a selector takes in, whom the kubelets know as <test>-<name>.
func (o *own) ingester(name, selector string, natsPort int, args ...string) *ingester {
	o.t.Helper()
	i := &ingester{name: name, user: o.name + "-" + name}
	kubeconfig, err := o.KubeconfigFor(i.user, "system:masters")
	if err != nil {
		o.t.Fatal(err)
	}
	i.Process, i.url = o.program("ingest", name, natsPort, append([]string{"--kubeconfig=" + kubeconfig, "--instance=" + name,
		"--kubelet-certificate-authority=" + o.CertificateAuthority(), "--kubelet-use-node-status-port",
		"--kubelet-preferred-address-types=InternalIP", "--metric-resolution=" + resolution.String(), "--node-selector=" + selector}, args...)...)
	return i
}

// ingester is one of several.
type ingester struct {
	*cluster.Process
	name, user, url string
}

// server describes a metricsapi with a certificate that visitors accept.
func (o *own) server(name string, args ...string) (p *cluster.Process, port int) {
	o.t.Helper()
	port, err := cluster.FreePort()
	if err != nil {
		o.t.Fatal(err)
	}
	cert, key, err := o.ServingCertificate(o.name + "-" + name)
	if err != nil {
		o.t.Fatal(err)
	}
	p, _ = o.program("metricsapi", name, 0, append([]string{"--kubeconfig=" + o.Kubeconfig, "--authentication-kubeconfig=" + o.Kubeconfig,
		"--authorization-kubeconfig=" + o.Kubeconfig, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + cert, "--tls-private-key-file=" + key, "--metric-resolution=" + resolution.String(), "--max-sample-age=1m"}, args...)...)
	return p, port
}

// visits are the scrapes of kubelets.
type visits struct {
	mu  sync.Mutex
	all []visit
}

type visit struct {
	node, user string
	at         time.Time
}

// note is a cluster.Guard who lets everybody in.
func (v *visits) note(node string, r *http.Request) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all = append(v.all, visit{node, caller(r), time.Now()})
	return 0
}

// caller is the name in a request's client certificate.
func caller(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	return r.TLS.PeerCertificates[0].Subject.CommonName
}

// between are the visits by one of a test's ingesters in a time.
func (v *visits) between(test string, from, to time.Time) (some []visit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, one := range v.all {
		if strings.HasPrefix(one.user, test+"-") && one.at.After(from) && one.at.Before(to) {
			some = append(some, one)
		}
	}
	return some
}

// debugPage is what /debug/nodes says.
type debugPage struct {
	Notes []string
	Nodes []debugNode
	Total int
	Pod   *struct {
		HasMetrics bool
		Verdict    string
		Steps      []struct {
			Rule, Detail string
			OK           bool
		}
	}
}

type debugNode struct {
	Node, State, URL, Scraper, Result, Error string

	LastSuccess, NextAttempt time.Time
	Failures, Pods           int
}

func readDebug(body string) (p debugPage, err error) {
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		return p, fmt.Errorf("couldn't read %.200q: %w", body, err)
	}
	return p, nil
}

// debug reads the page of a telemetry address.
func debug(url, query string) (debugPage, error) {
	body, err := get(url + "/debug/nodes?format=json&" + query)
	if err != nil {
		return debugPage{}, err
	}
	return readDebug(body)
}

// until waits for a moment.
func until(t *testing.T, moment time.Time) {
	t.Helper()
	timer := time.NewTimer(time.Until(moment))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
