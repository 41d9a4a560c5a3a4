package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
	"github.com/headwater-metrics/headwater/services/internal/sim/kubelet"
)

// Cluster is a simulated cluster. It may be used concurrently.
type Cluster struct {
	opts  Options
	log   *slog.Logger
	keep  *identity.Keep
	users *identity.Registry
	store *apiserver.Store
	api   *apiserver.Server
	farm  *kubelet.Farm
	admin identity.Pair // the administrator's client certificate

	tls     *tls.Config // of the API server; its HTTP servers have copies, which they change
	http    *http.Server
	address string // host:port of the API server, as listened on

	queue *queue // what controllers have to look at
	// controlling lets one controller work at a time, so that none makes what another one is making.
	controlling sync.Mutex

	// mu guards what follows.
	mu       sync.Mutex
	listener net.Listener // nil while the API server is down
	build    *builder     // for what is made while the cluster runs
	places   []place      // of the nodes, for the scheduler
	nextNode int
	nextPod  int
	closed   bool
}

// New makes a cluster and opens its ports: it serves when New returns. Run brings the rest to life.
func New(opts Options) (*Cluster, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	keep, err := identity.LoadKeep(opts.Dir, time.Now())
	if err != nil {
		return nil, err
	}
	if opts.Epoch.IsZero() {
		opts.Epoch = keep.Epoch
	}
	c := &Cluster{
		opts: opts, log: opts.Log, keep: keep, users: identity.NewRegistry(), store: apiserver.NewStore(opts.Window), queue: newQueue(),
		build: newBuilder(opts.Seed, uint64(time.Now().UnixNano())),
	}
	c.build.fresh = true
	if err := c.open(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) open() error {
	c.users.Add(c.keep.Token, identity.User{Name: "admin", UID: "admin", Groups: []string{identity.Masters}})
	var err error
	if c.admin, err = c.keep.CA.Issue(identity.Subject{CommonName: "admin", Organizations: []string{identity.Masters}}); err != nil {
		return err
	}
	c.farm, err = kubelet.NewFarm(kubelet.Config{
		CA: c.keep.CA, Users: c.users, Seed: c.opts.Seed, Epoch: c.opts.Epoch, Housekeeping: c.opts.Housekeeping, Now: c.opts.Now, Log: c.log,
	})
	if err != nil {
		return err
	}
	c.store.OnChange = c.toFarm
	if err := c.populate(); err != nil {
		return err
	}
	frontProxy, err := c.keep.FrontProxy.Issue(identity.Subject{CommonName: frontProxyName})
	if err != nil {
		return err
	}
	c.api = apiserver.NewServer(apiserver.Config{
		Store: c.store, Users: c.users, Bookmarks: c.opts.Bookmarks, FrontProxy: frontProxy.TLS, Admit: c.admit, Wrote: c.queue.wrote, Log: c.log,
	})
	serving, err := c.keep.CA.Issue(c.servingNames())
	if err != nil {
		return err
	}
	c.tls = &tls.Config{
		Certificates: []tls.Certificate{serving.TLS}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: c.keep.CA.Pool(), MinVersion: tls.VersionTLS12,
	}
	c.http = c.newHTTP()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listenFirst()
}

// newHTTP makes the API server's HTTP server. One that was closed can't serve again.
func (c *Cluster) newHTTP() *http.Server {
	return &http.Server{
		Handler: c.api, ConnContext: fault.ConnContext, ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug), TLSConfig: c.tls.Clone(),
	}
}

// listenFirst opens the API server's port: when it is free to choose, the one of the last run if possible.
func (c *Cluster) listenFirst() error {
	host, port, _ := net.SplitHostPort(c.opts.Address)
	if kept := c.keep.Recall(apiPortFile); port == "0" && kept != 0 {
		if c.listen(net.JoinHostPort(host, strconv.Itoa(kept))) == nil {
			return nil
		}
	}
	if err := c.listen(c.opts.Address); err != nil {
		return err
	}
	return c.keep.Remember(apiPortFile, c.listener.Addr().(*net.TCPAddr).Port)
}

func (c *Cluster) servingNames() identity.Subject {
	names := identity.Subject{
		CommonName: "kube-apiserver", DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	host, _, _ := net.SplitHostPort(c.opts.Address)
	for _, name := range []string{host, c.opts.Host} {
		if ip := net.ParseIP(name); ip != nil {
			names.IPs = append(names.IPs, ip)
		} else if name != "" {
			names.DNSNames = append(names.DNSNames, name)
		}
	}
	return names
}

// listen opens the API server's port. The caller holds mu.
func (c *Cluster) listen(address string) error {
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("couldn't listen for the simulated API server: %w; choose another address, or port 0 for any", err)
	}
	if err != nil {
		return fmt.Errorf("couldn't listen for the simulated API server: %w", err)
	}
	c.listener, c.address = listener, listener.Addr().String()
	server := c.http
	go func() {
		if err := server.ServeTLS(listener, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			c.log.Warn("the simulated API server stopped serving", "error", err)
		}
	}()
	return nil
}

// versionGap lies between the versions of the first objects and those of changes, so that neither meets the other's.
const versionGap = 1 << 41

// firstVersion gives the version before those of first objects that depend on the given parts alone.
func firstVersion(parts ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprintln(h, parts...)
	return (h.Sum64()%1_000_000 + 1) * 1_000_000
}

// populate opens the kubelets' ports and makes the first objects. Their versions depend on what they are made of alone:
// an object that is the same in the next run has the same version, one that isn't has another. Changes get versions that
// grow with the clock: no version is given twice.
func (c *Cluster) populate() error {
	build := newBuilder(c.opts.Seed, 1)
	nodes, err := c.firstNodes(build)
	if err != nil {
		return err
	}
	id := []any{c.opts.Seed, c.opts.Nodes, c.opts.PodsPerNode, c.opts.Bare, c.opts.Epoch.Unix()}
	ports := []any{string(c.keep.CA.PEM)}
	for _, node := range nodes {
		ports = append(ports, addressOf(node), node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	}
	g := &generator{builder: build, opts: c.opts, epoch: c.opts.Epoch, emit: func(obj runtime.Object) error { return c.store.Load(obj) }}
	c.store.Open(firstVersion(append(id, ports...)...))
	if err := g.hosts(nodes); err != nil {
		return fmt.Errorf("couldn't make the simulated cluster's nodes: %w", err)
	}
	if err := c.store.Load(c.authenticationConfig(build)); err != nil {
		return fmt.Errorf("couldn't make the simulated cluster: %w", err)
	}
	c.store.Open(versionGap/2 + firstVersion(id...))
	if err := g.all(nodes); err != nil {
		return fmt.Errorf("couldn't make the simulated cluster: %w", err)
	}
	c.store.Open(versionGap + uint64(max(time.Since(c.opts.Epoch), 0).Microseconds()))
	return nil
}

const (
	apiPortFile     = "api-port"
	kubeletPortFile = "kubelet-port"
)

// firstNodes makes the first nodes. When the kubelets' port is free to choose, it is one that is free at all their
// addresses, the one of the last run if possible.
func (c *Cluster) firstNodes(build *builder) ([]*corev1.Node, error) {
	chosen := c.opts.KubeletPort
	for attempt := 0; ; attempt++ {
		if chosen == 0 && attempt == 0 {
			c.opts.KubeletPort = c.keep.Recall(kubeletPortFile)
		}
		var nodes []*corev1.Node
		var err error
		for range c.opts.Nodes {
			var node *corev1.Node
			if node, err = c.newNode(build, c.opts.Epoch.Add(-60*24*time.Hour)); err != nil {
				break
			}
			nodes = append(nodes, node)
		}
		if err == nil {
			return nodes, c.keep.Remember(kubeletPortFile, int(nodes[0].Status.DaemonEndpoints.KubeletEndpoint.Port))
		}
		if chosen != 0 || attempt == 5 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		for _, node := range nodes {
			c.farm.Unlisten(node.Name)
		}
		c.opts.KubeletPort, c.nextNode, c.places = 0, 0, nil
	}
}

// newNode opens the kubelet of the next node and makes its object.
func (c *Cluster) newNode(build *builder, created time.Time) (*corev1.Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	index := c.nextNode
	name := nodeName(index)
	address, advertised, port, byName := nodeAddress(index), nodeAddress(index), c.opts.KubeletPort, false
	if c.opts.Host != "" {
		address, advertised, byName = "", c.opts.Host, net.ParseIP(c.opts.Host) == nil
		if port > 0 {
			port += index
		}
	}
	port, err := c.farm.Listen(name, address, port, advertised)
	if err != nil {
		return nil, err
	}
	if c.opts.Host == "" {
		c.opts.KubeletPort = port // the first one chooses for all
	}
	c.nextNode++
	node := build.node(index, name, advertised, byName, port, c.opts.PodsPerNode, created)
	c.places = append(c.places, place{node: name, hostIP: addressOf(node)})
	return node, nil
}

// authenticationConfig makes the ConfigMap by which aggregated API servers learn whom to trust.
func (c *Cluster) authenticationConfig(build *builder) *corev1.ConfigMap {
	config := &corev1.ConfigMap{ObjectMeta: build.meta("ConfigMap", "kube-system", "extension-apiserver-authentication", c.opts.Epoch, nil)}
	config.Data = map[string]string{
		"client-ca-file":                     string(c.keep.CA.PEM),
		"requestheader-client-ca-file":       string(c.keep.FrontProxy.PEM),
		"requestheader-allowed-names":        `["` + frontProxyName + `"]`,
		"requestheader-username-headers":     `["X-Remote-User"]`,
		"requestheader-uid-headers":          `["X-Remote-Uid"]`,
		"requestheader-group-headers":        `["X-Remote-Group"]`,
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	}
	return config
}

const frontProxyName = "front-proxy-client"

// toFarm keeps the kubelets informed. It runs under the store's lock.
func (c *Cluster) toFarm(change apiserver.Change) {
	switch obj := change.Object.(type) {
	case *corev1.Node:
		if change.Type == watch.Deleted {
			c.farm.DeleteNode(obj.Name)
		} else {
			c.farm.SetNode(obj)
		}
	case *corev1.Pod:
		if change.Type == watch.Deleted {
			c.farm.DeletePod(obj.Namespace, obj.Name, obj.UID)
		} else {
			c.farm.SetPod(obj)
		}
	}
}

// Run lets Leases be renewed, things happen, and controllers answer what comes over the wire, until the context ends;
// then it closes the cluster.
func (c *Cluster) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { c.control(ctx) })
	if c.opts.LeaseInterval > 0 {
		group.Go(func() { c.renewLeases(ctx) })
	}
	if c.opts.Churn > 0 {
		group.Go(func() { c.churn(ctx) })
	}
	<-ctx.Done()
	group.Wait()
	return c.Close()
}

// Close ends all connections and closes all ports.
func (c *Cluster) Close() error {
	c.mu.Lock()
	c.closed = true
	listener, server := c.listener, c.http
	c.mu.Unlock()
	var failed []error
	if server != nil {
		failed = append(failed, server.Close())
	}
	if listener != nil {
		listener.Close() // if Serve hasn't taken it yet; else it is closed already
	}
	if c.farm != nil {
		failed = append(failed, c.farm.Close())
	}
	return errors.Join(failed...)
}

// Truth answers what is to be said of every node's, pod's and container's usage.
func (c *Cluster) Truth() kubelet.Truth { return c.farm.Truth() }

// Epoch is when the cluster was first started.
func (c *Cluster) Epoch() time.Time { return c.opts.Epoch }

// Store gives direct access to the objects: what is done there is not answered by controllers.
func (c *Cluster) Store() *apiserver.Store { return c.store }

// now is the time for what is created now, as the API writes it.
func (c *Cluster) now() metav1.Time { return metav1.NewTime(c.opts.Now()).Rfc3339Copy() }
