package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/pins"
)

// lab is where a benchmark runs its processes. All of them end with it, and the end of their logs is shown if it fails.
type lab struct {
	*testing.B
	dir        string            // for what the processes write
	bin        string            // folder of Headwater's binaries
	pins       map[string]string // paths of other programs, by name
	nats       int               // port of nats-server
	kubeconfig string            // kubeconfig of the simulated cluster

	processes []*cluster.Process // in the order of their start
}

func newLab(b *testing.B, programs ...string) *lab {
	b.Helper()
	l := &lab{B: b, dir: b.TempDir()}
	b.Cleanup(func() {
		for i := len(l.processes) - 1; i >= 0; i-- {
			if b.Failed() {
				b.Logf("%s ended with\n%s", l.processes[i].Name(), l.processes[i].Tail(5))
			}
			l.processes[i].Kill()
		}
	})
	var err error
	if l.pins, err = pins.Build(b.Context(), os.Stderr, programs...); err != nil {
		b.Fatal(err)
	}
	if l.bin, err = filepath.Abs(*binaries); err != nil {
		b.Fatal(err)
	}
	return l
}

func (l *lab) port() int {
	l.Helper()
	p, err := cluster.FreePort()
	if err != nil {
		l.Fatal(err)
	}
	return p
}

// describe makes a process that isn't started yet.
func (l *lab) describe(name, path string, args ...string) *cluster.Process {
	p := cluster.NewProcess(l.dir, cluster.Spec{Name: name, Path: path, Args: args})
	l.processes = append(l.processes, p)
	return p
}

func (l *lab) start(name, path string, args ...string) *cluster.Process {
	l.Helper()
	p := l.describe(name, path, args...)
	if err := p.Start(l.Context()); err != nil {
		l.Fatal(err)
	}
	return p
}

func (l *lab) await(what string, condition func() error) {
	l.Helper()
	if err := cluster.Eventually(l.Context(), 5*time.Minute, condition); err != nil {
		l.Fatalf("%s: %v", what, err)
	}
}

func (l *lab) awaitReady(url string) {
	l.Helper()
	l.await(url, func() error { return cluster.HTTPReady(url)(l.Context()) })
}

// simulate starts a cluster to which nothing happens by itself, and returns the administrator's configuration.
func (l *lab) simulate(nodes int, args ...string) (*cluster.Process, *rest.Config) {
	l.Helper()
	dir := filepath.Join(l.dir, "sim")
	l.kubeconfig = filepath.Join(dir, "kubeconfig")
	p := l.start("sim", filepath.Join(l.bin, "allinone"), append(args, "--sim-only", fmt.Sprintf("--sim-nodes=%d", nodes),
		fmt.Sprintf("--sim-pods-per-node=%d", podsPerNode), "--sim-churn=0", "--sim-address=127.0.0.1:0", "--data-dir="+dir)...)
	var config *rest.Config
	l.await("the simulated cluster", func() (err error) {
		config, err = clientcmd.BuildConfigFromFlags("", l.kubeconfig)
		return err
	})
	config.QPS = -1
	return p, config
}

// startNATS starts nats-server with streams on disk.
func (l *lab) startNATS() *cluster.Process {
	l.Helper()
	l.nats = l.port()
	return l.start("nats-server", l.pins["nats-server"], "-a", "127.0.0.1", "-p", fmt.Sprint(l.nats), "-js", "-sd", filepath.Join(l.dir, "nats"))
}

// service describes one of Headwater's services under a name.
func (l *lab) service(name, binary string, args ...string) *cluster.Process {
	return l.describe(name, filepath.Join(l.bin, binary), append(args, fmt.Sprintf("--nats-url=nats://127.0.0.1:%d", l.nats), "--cluster=bench")...)
}

// begin starts a described process.
func (l *lab) begin(p *cluster.Process) *cluster.Process {
	l.Helper()
	if err := p.Start(l.Context()); err != nil {
		l.Fatal(err)
	}
	return p
}

// pause waits, or ends early with an error when ctx does.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
