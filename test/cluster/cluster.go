package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/test/pins"
)

// readyTimeout bounds each wait during the start of a cluster. It is long, because several may start at once on a small
// machine.
const readyTimeout = 3 * time.Minute

var getOptions = metav1.GetOptions{}

// Config says what cluster to start. The zero value is a control plane without nodes.
type Config struct {
	// Nodes is the number of played kubelets.
	Nodes int

	// Dir is where data, certificates and logs go. Default: a new temporary folder, which Close removes.
	Dir string

	// Log receives progress, a line per call, and must be usable concurrently; t.Logf fits. Default: nothing is said.
	Log func(format string, args ...any)

	// APIServerArgs and ControllerManagerArgs are appended to the programs' arguments, so that they win over them.
	APIServerArgs, ControllerManagerArgs []string
}

// Cluster is a running control plane. Its fields are set by Start and not changed afterwards; its methods may be called
// concurrently.
type Cluster struct {
	// Dir holds data, certificates and logs.
	Dir string

	// Kubeconfig is the path of a kubeconfig with all rights (group system:masters).
	Kubeconfig string

	// REST and Client use the same rights, without a limit of requests per second.
	REST   *rest.Config
	Client kubernetes.Interface

	// Etcd, APIServer and ControllerManager can be killed and started again.
	Etcd, APIServer, ControllerManager *Process

	// Kubelets are the played nodes; nil if Config asked for none.
	Kubelets *Kubelets

	config  Config
	paths   map[string]string
	ports   struct{ etcd, etcdPeer, apiServer, controllerManager int }
	ca      *authority
	ownsDir bool

	// mu guards processes, which are all that were started, in order, controllers, which are those that were restarted
	// last, restarts, which is how often, metricsServers, which counts them, and closed.
	mu             sync.Mutex
	processes      []*Process
	controllers    *Process
	restarts       int
	metricsServers int
	closed         bool
}

// Start builds what is not built yet, which takes minutes the first time, and starts a cluster, which takes seconds. It
// returns when the API server is ready, the controllers have prepared the default namespace and all nodes are
// registered. If anything fails, everything is stopped again.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	if config.Log == nil {
		config.Log = func(string, ...any) {}
	}
	begin := time.Now()
	paths, err := pins.Build(ctx, lineWriter(config.Log), "etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
	if err != nil {
		return nil, err
	}
	c := &Cluster{config: config, paths: paths}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	config.Log("the cluster is ready after %s: KUBECONFIG=%s", time.Since(begin).Round(time.Millisecond), c.Kubeconfig)
	return c, nil
}

// start does the work of Start, in the order in which things need each other.
func (c *Cluster) start(ctx context.Context) (err error) {
	if err := c.prepare(); err != nil {
		return err
	}
	if c.Etcd, err = c.Run(ctx, c.etcdSpec()); err != nil {
		return err
	}
	if c.APIServer, err = c.Run(ctx, c.apiServerSpec()); err != nil {
		return err
	}
	if c.ControllerManager, err = c.Run(ctx, c.controllerManagerSpec()); err != nil {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	if c.config.Nodes > 0 {
		if c.Kubelets, err = startKubelets(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the folder, ports, certificates and clients.
func (c *Cluster) prepare() error {
	c.Dir = c.config.Dir
	if c.Dir == "" {
		dir, err := os.MkdirTemp("", "headwater-cluster-")
		if err != nil {
			return fmt.Errorf("couldn't make a folder for the cluster: %w", err)
		}
		c.Dir, c.ownsDir = dir, true
	}
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return fmt.Errorf("couldn't resolve the cluster's folder: %w", err)
	}
	// Certificates and ports are new every time, so data of another cluster would be of no use.
	if err := errors.Join(os.MkdirAll(c.Dir, 0o755), os.Mkdir(filepath.Join(c.Dir, "pki"), 0o755)); err != nil {
		return fmt.Errorf("couldn't prepare the cluster's folder, use a new one: %w", err)
	}
	if err := freePorts(&c.ports.etcd, &c.ports.etcdPeer, &c.ports.apiServer, &c.ports.controllerManager); err != nil {
		return err
	}
	if err := c.certify(); err != nil {
		return err
	}
	if c.Kubeconfig, err = c.KubeconfigFor("admin", "system:masters"); err != nil {
		return err
	}
	return c.connect()
}

// Run starts a program with its log in the cluster's folder, waits until it is ready, and stops it when the cluster is
// closed.
func (c *Cluster) Run(ctx context.Context, spec Spec) (*Process, error) {
	p := NewProcess(c.Dir, spec)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, fmt.Errorf("couldn't start %s: the cluster is closed", spec.Name)
	}
	for _, other := range c.processes {
		if other.Name() == spec.Name {
			c.mu.Unlock()
			return nil, fmt.Errorf("couldn't start another %s: start the first again, or name them apart", spec.Name)
		}
	}
	c.processes = append(c.processes, p)
	c.mu.Unlock()
	begin := time.Now()
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	c.config.Log("%s is ready after %s", spec.Name, time.Since(begin).Round(time.Millisecond))
	return p, nil
}

// Close stops the kubelets and every process, the latest first, and removes the folder if Start made it. It may be
// called again. Processes that had to be killed are reported.
func (c *Cluster) Close() error {
	c.mu.Lock()
	c.closed = true
	processes := slices.Clone(c.processes)
	c.mu.Unlock()
	if c.Kubelets != nil {
		c.Kubelets.close()
	}
	var errs []error
	for _, p := range slices.Backward(processes) {
		// The API server would wait a minute for watches to end, and etcd has nothing to lose.
		if p == c.APIServer || p == c.Etcd {
			p.Kill()
			continue
		}
		errs = append(errs, p.Stop())
	}
	if c.ownsDir {
		errs = append(errs, os.RemoveAll(c.Dir))
	}
	return errors.Join(errs...)
}

// Tails returns the last n lines of every process's log, for a test that failed.
func (c *Cluster) Tails(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, p := range c.processes {
		fmt.Fprintf(&b, "==> %s <==\n%s\n", p.Name(), p.Tail(n))
	}
	return b.String()
}

// lineWriter turns what is written to it into calls of log, a line each.
type lineWriter func(format string, args ...any)

// Write implements io.Writer. It relies on its writers to write whole lines, as the go command does.
func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w("%s", strings.TrimRight(line, "\n"))
	}
	return len(p), nil
}
