package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/pflag"
)

// NewRegistry is a registry for a process's self-metrics, with those of Go and of the process, and the build.
func NewRegistry(service string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "headwater_build_info",
		Help:        "The release that this process was built from; always 1.",
		ConstLabels: prometheus.Labels{"service": service, "version": Version()},
	})
	build.Set(1)
	registry.MustRegister(build)
	return registry
}

// TelemetryHandler serves /metrics (self-metrics) and /debug/pprof/ to those whom the guard lets through, and /livez and
// /healthz (the process answers) and /readyz (200 when ready returns nil, else 503 with its text) to everyone.
func TelemetryHandler(gatherer prometheus.Gatherer, ready func() error, guard Guard) http.Handler {
	return telemetryHandler(gatherer, ready, guard)
}

func telemetryHandler(gatherer prometheus.Gatherer, ready func() error, guard Guard) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/metrics", guard.Protect(promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true})))
	alive := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
	mux.HandleFunc("/livez", alive)
	mux.HandleFunc("/healthz", alive)
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	for path, profile := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		mux.Handle("/debug/pprof/"+path, guard.Protect(profile))
	}
	return mux
}

// Serve answers on address with handler until ctx ends; an empty address serves nothing. An address that can't be
// opened is an error at once, before anything else has started.
func Serve(ctx context.Context, address, what string, handler http.Handler, guard Guard, log *slog.Logger) (wait func() error, err error) {
	if address == "" {
		return func() error { <-ctx.Done(); return nil }, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("couldn't listen on %s for %s: %w; stop what uses the port or choose another address", address, what, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ErrorLog: ErrorLog(log)}
	done := make(chan error, 1)
	go func() {
		err := guard.Serve(listener, server)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		} else {
			err = fmt.Errorf("couldn't go on serving %s: %w", what, err)
		}
		done <- err
	}()
	log.Info("listening", "for", what, "address", listener.Addr().String())
	return func() error {
		select {
		case err := <-done:
			listener.Close() // where the guard failed before it served
			return err
		case <-ctx.Done():
			shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			if server.Shutdown(shutdown) != nil {
				server.Close()
			}
			return <-done
		}
	}, nil
}

// AddTelemetryAddress declares --telemetry-address.
func AddTelemetryAddress(fs *pflag.FlagSet, address *string, otherwise string) {
	fs.StringVar(address, "telemetry-address", otherwise, "Address for the service's own metrics, /livez, /readyz and /debug/pprof; empty for none.")
}
