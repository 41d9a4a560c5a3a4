package cluster

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

// expositionType is the Content-Type of metrics in text.
const expositionType = "text/plain; version=0.0.4; charset=utf-8"

// Kubelets plays the nodes of a cluster. Each node is a Node object and an HTTPS server on 127.0.0.1 whose port stands in
// the node's status, so that metrics-server and Headwater find it with --kubelet-use-node-status-port and
// --kubelet-preferred-address-types=InternalIP. The servers' certificate is signed by the cluster's authority; a request
// needs a client certificate of the same authority or a bearer token, which is not looked into, else it is answered 401.
//
// Pods are played too: one without a node is bound to one that it fits (in turn), one that is bound runs and is ready at
// once, one that is being deleted goes away. Containers do not end by themselves. Methods may be called concurrently.
type Kubelets struct {
	client kubernetes.Interface
	truth  *truth
	nodes  []*node
	log    func(format string, args ...any)

	forwards forwards

	// cancel ends everything that runs in the background, and running counts it.
	cancel  context.CancelFunc
	running sync.WaitGroup

	// next is the index of the node that is tried first for the next pod; podIPs counts addresses given out.
	next   atomic.Int64
	podIPs atomic.Int64
}

// node is one played kubelet.
type node struct {
	name   string
	port   int
	labels map[string]string

	// handler and tls are those of every server of the node, mu guards the one that it has now, or nil.
	handler http.Handler
	tls     *tls.Config
	mu      sync.Mutex
	server  *http.Server

	// scrapes counts requests for metrics, bent ones too.
	scrapes atomic.Int64

	// fault is nil while the node is well.
	fault atomic.Pointer[Fault]

	// guard is nil while nobody looks on.
	guard atomic.Pointer[Guard]
}

// startKubelets starts the servers, registers the nodes, and begins to play pods. Node names hold a dot, as they do in
// many clouds.
func startKubelets(ctx context.Context, c *Cluster) (*Kubelets, error) {
	client, err := kubernetes.NewForConfig(unlimited(c.REST, "headwater-test-kubelets"))
	if err != nil {
		return nil, fmt.Errorf("couldn't make the kubelets' client: %w", err)
	}
	// What runs in the background outlives the start, but keeps its values.
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k := &Kubelets{client: client, log: c.config.Log, cancel: cancel}
	var names []string
	for i := range c.config.Nodes {
		name := fmt.Sprintf("node-%d.test", i+1)
		k.nodes = append(k.nodes, &node{name: name, labels: nodeLabels(name, i)})
		names = append(names, name)
	}
	k.truth = newTruth(names, time.Now())
	if err := k.start(ctx, background, c); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// start does the work of startKubelets.
func (k *Kubelets) start(ctx, background context.Context, c *Cluster) error {
	for _, n := range k.nodes {
		if err := k.serve(n, c); err != nil {
			return err
		}
	}
	if err := k.register(ctx); err != nil {
		return err
	}
	k.running.Go(func() { k.renewLeases(background) })
	return k.playPods(ctx, background)
}

// close ends everything and waits for it.
func (k *Kubelets) close() {
	k.cancel()
	k.Stop()
	k.running.Wait()
}

// serve starts the HTTPS server of a node.
func (k *Kubelets) serve(n *node, c *Cluster) error {
	config, err := c.kubeletTLS()
	if err != nil {
		return err
	}
	if n.port, err = FreePort(); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics/resource", func(w http.ResponseWriter, r *http.Request) { k.scrape(n, w, r) })
	mux.HandleFunc("GET /stats/summary", func(w http.ResponseWriter, r *http.Request) { k.summarize(n, w, r) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("POST /portForward/{namespace}/{pod}", k.portForward)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if n.fault.Load() == nil {
			http.NotFound(w, r)
			return
		}
		k.scrape(n, w, r)
	})
	n.handler, n.tls = authenticated(mux), config
	return k.listen(n)
}

// listen starts the server of a node.
func (k *Kubelets) listen(n *node) error {
	listener, err := net.Listen("tcp", loopback(n.port))
	if err != nil {
		return fmt.Errorf("couldn't listen for kubelet %s: %w", n.name, err)
	}
	server := &http.Server{
		Handler:           n.handler,
		TLSConfig:         n.tls.Clone(),
		ReadHeaderTimeout: 10 * time.Second,
		// Clients that are killed in the middle of a handshake are part of the play.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	n.mu.Lock()
	n.server = server
	n.mu.Unlock()
	k.running.Go(func() {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			k.log("kubelet %s stopped serving: %v", n.name, err)
		}
	})
	return nil
}

// authenticated refuses requests that show no credentials, as a kubelet does that allows no anonymous ones.
func authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.VerifiedChains) == 0 && !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// scrape answers a request for a node's metrics.
func (k *Kubelets) scrape(n *node, w http.ResponseWriter, r *http.Request) {
	n.scrapes.Add(1)
	if n.turnedAway(w, r) {
		return
	}
	answer(w, r, expositionType, k.truth.expose(n.name, time.Now()))
}

// turnedAway answers a request that the node's guard or fault answers.
func (n *node) turnedAway(w http.ResponseWriter, r *http.Request) bool {
	if guard := n.guard.Load(); guard != nil {
		if status := (*guard)(n.name, r); status != 0 {
			http.Error(w, http.StatusText(status), status)
			return true
		}
	}
	if fault := n.fault.Load(); fault != nil {
		(*fault)(w, r)
		return true
	}
	return false
}

// answer sends a body, compressed if the client takes that.
func answer(w http.ResponseWriter, r *http.Request, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	packer := gzip.NewWriter(w)
	_, _ = packer.Write(body)
	_ = packer.Close()
}

// Nodes returns the names of the nodes, in order.
func (k *Kubelets) Nodes() []string {
	var names []string
	for _, n := range k.nodes {
		names = append(names, n.name)
	}
	return names
}

// Addresses returns the host:port of each node's server, in the order of Nodes.
func (k *Kubelets) Addresses() []string {
	var addresses []string
	for _, n := range k.nodes {
		addresses = append(addresses, loopback(n.port))
	}
	return addresses
}

// named returns the nodes of the given names, or all of them if there is none.
func (k *Kubelets) named(names []string) []*node {
	if len(names) == 0 {
		return k.nodes
	}
	var found []*node
	for _, name := range names {
		for _, n := range k.nodes {
			if n.name == name {
				found = append(found, n)
			}
		}
	}
	return found
}

// Bend makes the named nodes, or all, answer scrapes with the fault from now on: [Hang], [Reset], [HTML], or what
// [Status], [Body] and [Flood] return. Requests for other paths are then scrapes too: a node's annotation may name one.
func (k *Kubelets) Bend(fault Fault, nodes ...string) {
	for _, n := range k.named(nodes) {
		n.fault.Store(&fault)
	}
}

// Heal undoes Bend. Scrapes that hang go on hanging.
func (k *Kubelets) Heal(nodes ...string) {
	for _, n := range k.named(nodes) {
		n.fault.Store(nil)
	}
}

// Guard looks at a request for a node's metrics before it is answered. A status other than 0 is the answer. It is called
// concurrently.
type Guard func(node string, r *http.Request) (status int)

// Watch puts a guard before the named nodes, or all, in the place of the one that is there; nil for none.
func (k *Kubelets) Watch(guard Guard, nodes ...string) {
	for _, n := range k.named(nodes) {
		if guard == nil {
			n.guard.Store(nil)
		} else {
			n.guard.Store(&guard)
		}
	}
}

// Stop ends the servers of the named nodes, or of all, with all their connections. Their pods run on, as they do without
// their kubelet.
func (k *Kubelets) Stop(nodes ...string) {
	for _, n := range k.named(nodes) {
		n.mu.Lock()
		if n.server != nil {
			n.server.Close()
			n.server = nil
		}
		n.mu.Unlock()
	}
}

// Resume undoes Stop.
func (k *Kubelets) Resume(nodes ...string) error {
	for _, n := range k.named(nodes) {
		n.mu.Lock()
		serves := n.server != nil
		n.mu.Unlock()
		if serves {
			continue
		}
		if err := k.listen(n); err != nil {
			return err
		}
	}
	return nil
}

// Scrapes returns how many scrapes the named nodes, or all, were asked for so far.
func (k *Kubelets) Scrapes(nodes ...string) int {
	var sum int64
	for _, n := range k.named(nodes) {
		sum += n.scrapes.Load()
	}
	return int(sum)
}

// SetUsage decides what each selected container uses from now on, and what those use that start later. Of several calls
// that select a container, the latest decides.
func (k *Kubelets) SetUsage(match Match, each Usage) {
	k.truth.setRule(rule{match: match, usage: each}, time.Now())
}

// ShareUsage is like SetUsage, but the selected containers use this much together, in equal parts: a load that does not
// grow when an autoscaler adds pods.
func (k *Kubelets) ShareUsage(match Match, together Usage) {
	k.truth.setRule(rule{match: match, usage: together, shared: true}, time.Now())
}

// Pods returns the truth of all running pods, by namespace and name.
func (k *Kubelets) Pods() []PodTruth { return k.truth.list() }

// Pod returns the truth of one pod, and whether it runs.
func (k *Kubelets) Pod(namespace, name string) (PodTruth, bool) {
	return k.truth.pod(podKey{namespace, name})
}

// Node returns what a node uses, its pods included, and whether there is such a node.
func (k *Kubelets) Node(name string) (Usage, bool) { return k.truth.node(name) }

// Exposition returns what a node's /metrics/resource answers at this moment.
func (k *Kubelets) Exposition(name string) (string, bool) {
	if _, ok := k.truth.node(name); !ok {
		return "", false
	}
	return string(k.truth.expose(name, time.Now())), true
}

// fits says whether a pod may run on a node: its node selector and a required affinity, to the node's name, as the DaemonSet
// controller uses it, or to labels that it has or lacks. Taints, room and other affinities are not looked at.
func fits(pod *corev1.Pod, n *node, labels map[string]string) bool {
	for key, value := range pod.Spec.NodeSelector {
		if labels[key] != value {
			return false
		}
	}
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return true
	}
	// Terms are alternatives, the requirements in one are not.
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		all := true
		for _, field := range term.MatchFields {
			in := false
			for _, value := range field.Values {
				in = in || value == n.name
			}
			all = all && field.Key == "metadata.name" && in == (field.Operator == corev1.NodeSelectorOpIn)
		}
		for _, label := range term.MatchExpressions {
			switch _, has := labels[label.Key]; label.Operator {
			case corev1.NodeSelectorOpExists:
				all = all && has
			case corev1.NodeSelectorOpDoesNotExist:
				all = all && !has
			}
		}
		if all {
			return true
		}
	}
	return false
}
