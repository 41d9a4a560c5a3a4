package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headwater-metrics/headwater/services/exporter/server"
	"github.com/headwater-metrics/headwater/services/ingest/scraper"
	"github.com/headwater-metrics/headwater/services/internal/daemon"
	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/metricsapi/api"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

// run builds the pipeline and runs it until ctx ends:
//
//	1 cluster (simulated, or --kubeconfig)
//	    |  kubelets, API server
//	    |
//	    +----> 3 state  ----> OBJECTS, SNAPSHOTS --+--> 5 metricsapi ----> kubectl top (through the API server)
//	    |                      ^      2 NATS       |
//	    |        nodes         |                   |
//	    |      +---------------+                   |
//	    |      v                                   |
//	    +----> 4 ingest ----> USAGE ---------------+--> 6 exporter   ----> Prometheus
//
// State watches the custom resources that the exporter's configuration is about, also when that changes. The numbers are the
// order of construction. The services stop first, together; then the cluster, and NATS.
func run(ctx context.Context, o *options, log *slog.Logger, out io.Writer) error {
	begin := time.Now()
	if err := o.complete(); err != nil {
		return err
	}
	if err := o.memory.Apply(log); err != nil {
		return err
	}
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return fmt.Errorf("couldn't make the data directory: %w; choose another --data-dir", err)
	}
	registry := daemon.NewRegistry("allinone")

	// 2: first of all, because it locks the data directory.
	nats, err := embedded.Start(embedded.Config{Dir: filepath.Join(o.dataDir, "nats"), Address: o.natsAddress, Log: log})
	if err != nil {
		return fmt.Errorf("couldn't start on --data-dir %s and --nats-address %s: %w", o.dataDir, o.natsAddress, err)
	}
	defer nats.Close()

	// 1
	var cluster *sim.Cluster
	if o.simulated {
		var stop func()
		if cluster, stop, err = startSim(o, log); err != nil {
			return err
		}
		defer stop()
	}

	conn := func(service string) (*stream.Conn, error) {
		return stream.Connect(ctx, stream.ConnConfig{InProcess: nats, Name: "headwater-" + service, Log: log.With("service", service)})
	}
	streams := stream.Streams{Cluster: o.cluster, ObjectsMaxAge: stream.EmbeddedObjectsMaxAge, ObjectsMaxBytes: stream.EmbeddedObjectsMaxBytes}
	var services []named

	// 3
	c, err := conn("state")
	if err != nil {
		return err
	}
	defer c.Close()
	o.state.Conn, o.state.Streams, o.state.Log, o.state.Registry = c, streams, log.With("service", "state"), registry
	state, err := watcher.New(o.state)
	if err != nil {
		return err
	}
	services = append(services, named{"state", state})

	// 4
	if c, err = conn("ingest"); err != nil {
		return err
	}
	defer c.Close()
	o.ingest.Conn, o.ingest.Streams, o.ingest.Log, o.ingest.Registry = c, streams, log.With("service", "ingest"), registry
	ingest, err := scraper.New(o.ingest)
	if err != nil {
		return err
	}
	services = append(services, named{"ingest", ingest})

	// 5
	if c, err = conn("metricsapi"); err != nil {
		return err
	}
	defer c.Close()
	metricsapi, err := api.New(api.Config{
		Options: o.api, Conn: c, Cluster: o.cluster, Version: daemon.Version(),
		Log: log.With("service", "metricsapi"), Registry: registry, Gatherer: registry,
	})
	if err != nil {
		return err
	}
	services = append(services, named{"metricsapi", metricsapi})

	// 6
	if c, err = conn("exporter"); err != nil {
		return err
	}
	defer c.Close()
	exporter, err := server.New(server.Config{
		Options: o.exporter, Conn: c, Cluster: o.cluster, Kinds: state.WantCustomResources,
		Log: log.With("service", "exporter"), Registry: registry,
	})
	if err != nil {
		return err
	}
	services = append(services, named{"exporter", exporter})

	all := &together{services}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return daemon.RunGuarded(ctx, all, exporter.Options().TelemetryAddress, registry, exporter.Guard(), log)
	})
	group.Go(func() error { return welcome(ctx, o, all, cluster, metricsapi, exporter, nats, begin, out) })
	return group.Wait()
}

// named is a service and what it is called.
type named struct {
	name    string
	service daemon.Service
}

// together is all services as one.
type together struct{ services []named }

// Run runs all until ctx ends or one of them fails.
func (t *together) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range t.services {
		group.Go(func() error {
			if err := s.service.Run(ctx); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// Pages are those of all services.
func (t *together) Pages() map[string]http.Handler {
	pages := map[string]http.Handler{}
	for _, s := range t.services {
		if paged, ok := s.service.(daemon.Paged); ok {
			maps.Copy(pages, paged.Pages())
		}
	}
	return pages
}

// Ready says which service isn't ready, and why.
func (t *together) Ready() error {
	for _, s := range t.services {
		if err := s.service.Ready(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
