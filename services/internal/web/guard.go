package web

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"

	"github.com/headwater-metrics/headwater/services/internal/files"
)

// Config is what a Guard is made from.
type Config struct {
	// Options is what the flags set.
	Options Options
	// Log receives what an operator needs to know; nil for none.
	Log *slog.Logger
	// Registry takes the counters of what was refused; nil for none.
	Registry prometheus.Registerer
}

// Guard lets requests through, or doesn't. One Guard serves all ports of a process, so that what the API server said
// counts for all. A nil *Guard lets everything through.
type Guard struct {
	options Options
	log     *slog.Logger
	filter  *filter // nil without --auth-filter
}

// New makes a Guard. It reads the files that the options name, and connects to nothing. Errors say which flag is wrong.
func New(cfg Config) (*Guard, error) {
	if err := cfg.Options.Validate(); err != nil {
		return nil, err
	}
	g := &Guard{options: cfg.Options, log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))}
	if !cfg.Options.AuthFilter {
		return g, nil
	}
	var err error
	if g.filter, err = newFilter(&cfg.Options, ReviewTimeout, g.log, cfg.Registry); err != nil {
		return nil, err
	}
	if g.Scheme() == "http" {
		g.log.Warn("--auth-filter without TLS: clients send their tokens in the clear; give a certificate with --tls-config")
	}
	return g, nil
}

// Protect lets only those through to next whom the API server allows to use the request's verb on its path.
func (g *Guard) Protect(next http.Handler) http.Handler {
	if g == nil || g.filter == nil {
		return next
	}
	return g.filter.protect(next)
}

// Serve is server.Serve behind the web configuration: over TLS where it has a certificate, and with the passwords and
// headers that it gives, for every path. The server's Handler is replaced, so serve it once.
func (g *Guard) Serve(listener net.Listener, server *http.Server) error {
	if g == nil || g.options.TLSConfig == "" {
		return server.Serve(listener)
	}
	return web.Serve(listener, server, &web.FlagConfig{WebConfigFile: &g.options.TLSConfig}, g.log)
}

// Scheme is "https" or "http", by what the web configuration says now.
func (g *Guard) Scheme() string {
	if g != nil && g.options.TLSConfig != "" {
		if c, err := read(g.options.TLSConfig); err == nil && c.TLSConfig.IsEnabled() {
			return "https"
		}
	}
	return "http"
}

// maxConfig bounds a web configuration, bytes.
const maxConfig = 4 << 20

// read reads a web configuration, less strictly than the toolkit does, and without ever waiting for it. Paths in it are
// relative to its folder.
func read(file string) (*web.Config, error) {
	text, err := files.Read(file, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the web configuration: %w; check --tls-config", err)
	}
	config := new(web.Config)
	if err := yaml.Unmarshal(text, config); err != nil {
		return nil, fmt.Errorf("couldn't read the web configuration %s: %w; check --tls-config", file, err)
	}
	config.TLSConfig.SetDirectory(filepath.Dir(file))
	return config, nil
}
