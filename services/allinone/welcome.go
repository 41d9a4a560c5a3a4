package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/exporter/server"
	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
)

// address is a service that listens.
type address interface{ Addr() net.Addr }

// welcome waits until everything is ready, which on a simulated cluster includes the first usage, and prints what to
// try.
func welcome(ctx context.Context, o *options, all *together, cluster *sim.Cluster, metricsapi address, exporter *server.Service, nats *embedded.Server, begin time.Time, out io.Writer) error {
	ready := all.Ready
	if cluster != nil {
		ready = func() error {
			if err := all.Ready(); err != nil {
				return err
			}
			return answered(ctx, cluster, o.sim.Nodes)
		}
	}
	for err := ready(); err != nil; err = ready() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
	fmt.Fprintf(out, "\nHeadwater is ready, %v after its start. Try, in another terminal:\n\n", time.Since(begin).Round(10*time.Millisecond))
	if cluster != nil {
		fmt.Fprintf(out, "  kubectl --kubeconfig %[1]s top node\n  kubectl --kubeconfig %[1]s top pod -A --containers\n", o.simKubeconfig)
	} else {
		fmt.Fprintf(out, "  curl -k https://%s/readyz?verbose\n", metricsapi.Addr())
	}
	fmt.Fprintf(out, "  curl -s %s://%s/metrics | grep -E '^(kube_pod_info|container_cpu_usage_seconds_total)' | head\n", exporter.Guard().Scheme(), exporter.Addr())
	if o.natsAddress != "" {
		fmt.Fprintf(out, "  nats --server %s sub 'k8s.v1.%s.>'      (the nats CLI, or any NATS client)\n", nats.URL(), o.cluster)
	}
	fmt.Fprintf(out, "\nStop it with Ctrl-C. What it knows is in %s: started again, it goes on at once.\n\n", o.dataDir)
	return nil
}

// answered says why the simulated API server doesn't answer with the usage of every node yet.
func answered(ctx context.Context, cluster *sim.Cluster, nodes int) error {
	client, err := rest.HTTPClientFor(cluster.RESTConfig())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, cluster.URL()+"/apis/metrics.k8s.io/v1beta1/nodes", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body) // to its end: the server takes a stream that is closed before for a client that went away
	if err != nil {
		return err
	}
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	if len(list.Items) < nodes {
		return fmt.Errorf("%d of %d nodes have two samples", len(list.Items), nodes)
	}
	return ctx.Err()
}
