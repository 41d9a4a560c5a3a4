// Command cluster starts a real control plane with played nodes for a person, prints how to use it, and stops it all on
// Ctrl-C.
//
//	GOWORK=off go run ./cmd/cluster -nodes 3 -metrics-server
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

func main() {
	nodes := flag.Int("nodes", 3, "number of played nodes")
	dir := flag.String("dir", "", "folder for data, certificates and logs, kept afterwards; must be empty (default: a temporary one)")
	metricsServer := flag.Bool("metrics-server", false, "start metrics-server too, and register it as v1beta1.metrics.k8s.io")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *nodes, *dir, *metricsServer); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, nodes int, dir string, metricsServer bool) (err error) {
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	c, err := cluster.Start(ctx, cluster.Config{Nodes: nodes, Dir: dir, Log: say})
	if err != nil {
		return err
	}
	defer func() {
		if closed := c.Close(); err == nil {
			err = closed
		}
	}()
	if metricsServer {
		server, err := c.StartMetricsServer(ctx, 10*time.Second)
		if err != nil {
			return err
		}
		if err := c.RegisterAPIService(ctx, "v1beta1.metrics.k8s.io", server.Port); err != nil {
			return err
		}
	}
	fmt.Printf("\nexport KUBECONFIG=%s\nkubectl get node\nkubectl create deployment web --image=web --replicas=3\n", c.Kubeconfig)
	if metricsServer {
		fmt.Println("kubectl top pod -A     # answers after two scrapes, some twenty seconds from now")
	}
	fmt.Println("\nCtrl-C stops everything.")
	<-ctx.Done()
	return nil
}
