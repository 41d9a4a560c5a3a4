package main

import (
	"io"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// The simulated cluster is there as long as the services are that use it: it ends when it is stopped, and nothing listens then.
func TestTheClusterEndsLast(t *testing.T) {
	o := newOptions()
	o.sim.Nodes, o.sim.PodsPerNode, o.sim.Address, o.simOnly = 1, 1, testenv.Address(t), true
	o.simKubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	cluster, stop, err := startSim(o, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(cluster.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	ask := func() error {
		response, err := client.Get(cluster.URL() + "/api/v1/nodes")
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		return err
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
	stop()
	if err := ask(); err == nil {
		t.Error("it answers after its end")
	}
}
