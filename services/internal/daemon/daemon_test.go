package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

func newTestCommand() (*Command, *string, *time.Duration, *bytes.Buffer, *bytes.Buffer) {
	c := NewCommand("thing", "Does things.")
	out, errs := new(bytes.Buffer), new(bytes.Buffer)
	c.Stdout, c.Stderr = out, errs
	url := c.Section("nats").String("nats-url", "nats://default", "Where NATS is.")
	every := c.Section("thing").Duration("metric-resolution", 15*time.Second, "How often.")
	return c, url, every, out, errs
}

func TestEnvironmentFillsWhatTheCommandLineLeaves(t *testing.T) {
	t.Setenv("HEADWATER_NATS_URL", "nats://env")
	t.Setenv("HEADWATER_METRIC_RESOLUTION", "20s")
	c, url, every, _, errs := newTestCommand()
	code := c.Execute([]string{"--metric-resolution=5s"}, func(context.Context, *slog.Logger) error { return nil })
	if code != 0 || *url != "nats://env" || *every != 5*time.Second {
		t.Fatalf("code %d, url %q, resolution %v, stderr %q", code, *url, *every, errs)
	}
}

// Kubernetes sets HEADWATER_PORT in every pod beside a Service named headwater: it is no flag's.
func TestPartsHaveNoEnvironmentAndSilenceTheirWholes(t *testing.T) {
	t.Setenv("HEADWATER_PORT", "tcp://10.96.0.10:8080")
	t.Setenv("HEADWATER_LISTEN_ADDRESS", "env:1")
	for _, c := range []struct {
		args          []string
		address, port string
	}{
		{nil, "env:1", ""},
		{[]string{"--port=2"}, "default:0", "2"},
		{[]string{"--listen-address=given:3"}, "given:3", ""},
	} {
		command, _, _, _, errs := newTestCommand()
		fs := command.Section("serving")
		address, port := fs.String("listen-address", "default:0", ""), fs.String("port", "", "")
		PartOf(fs, "port", "listen-address")
		code := command.Execute(c.args, func(context.Context, *slog.Logger) error { return nil })
		if code != 0 || *address != c.address || *port != c.port {
			t.Errorf("%v: code %d, address %q, port %q, stderr %q", c.args, code, *address, *port, errs)
		}
	}
}

// A service that gives up says so, also where its error is that of a context; the end that a signal brings is none.
func TestOnlyASignalEndsAProcessInSilence(t *testing.T) {
	c, _, _, _, errs := newTestCommand()
	code := c.Execute(nil, func(context.Context, *slog.Logger) error { return fmt.Errorf("gave up: %w", context.Canceled) })
	if code != 1 || !strings.Contains(errs.String(), "gave up") {
		t.Errorf("code %d, stderr %q", code, errs)
	}
	c, _, _, _, errs = newTestCommand()
	code = c.Execute(nil, func(ctx context.Context, _ *slog.Logger) error {
		process, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = process.Signal(syscall.SIGTERM)
		}
		if err != nil {
			return err
		}
		<-ctx.Done()
		return fmt.Errorf("stopped: %w", ctx.Err())
	})
	if code != 0 || errs.Len() > 0 {
		t.Errorf("code %d, stderr %q", code, errs)
	}
}

// SIGHUP ends no process: it is logged, and the service runs on.
func TestSIGHUPIsIgnored(t *testing.T) {
	c, _, _, _, errs := newTestCommand()
	process, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 8)
	c.Stderr = lineWriter(lines)
	code := c.Execute(nil, func(ctx context.Context, _ *slog.Logger) error {
		for range 2 {
			if err := process.Signal(syscall.SIGHUP); err != nil {
				return err
			}
			select {
			case line := <-lines:
				if !strings.Contains(line, "SIGHUP is ignored") || !strings.Contains(line, "SIGTERM") {
					return errors.New(line)
				}
			case <-time.After(10 * time.Second):
				return errors.New("nothing is logged")
			}
		}
		return ctx.Err()
	})
	if code != 0 || len(lines) > 0 {
		t.Errorf("code %d, stderr %q", code, errs)
	}
}

// lineWriter sends what is written.
type lineWriter chan<- string

func (l lineWriter) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestFlagsOfStreams(t *testing.T) {
	for args, want := range map[string]string{
		"": "", "--nats-replicas=5": "", "--nats-replicas=0": "--nats-replicas", "--nats-replicas=-1": "--nats-replicas", "--nats-replicas=6": "--nats-replicas", "--nats-replicas=x": "--nats-replicas",
		"--usage-max-age=1m": "", "--usage-max-age=-5m": "--usage-max-age", "--usage-max-age=0": "--usage-max-age", "--usage-max-age=1ms": "--usage-max-age", "--usage-max-age=x": "--usage-max-age",
	} {
		c, _, _, _, errs := newTestCommand()
		var usage UsageStream
		usage.Add(c.Section("streams"))
		code := c.Execute(strings.Fields(args), func(context.Context, *slog.Logger) error { return nil })
		if wrong := want != ""; (code == 2) != wrong || wrong && (!strings.Contains(errs.String(), want) || !strings.Contains(errs.String(), "it must be") && !strings.Contains(args, "=x")) {
			t.Errorf("%s: code %d, %s", args, code, errs)
		}
		if got := usage.Settings("c"); args == "" && (got.Replicas != 1 || got.UsageMaxAge != stream.DefaultUsageMaxAge) {
			t.Errorf("%+v", got)
		}
	}
}

func TestWrongValuesNameWhereTheyCameFrom(t *testing.T) {
	t.Setenv("HEADWATER_METRIC_RESOLUTION", "often")
	c, _, _, _, errs := newTestCommand()
	code := c.Execute(nil, func(context.Context, *slog.Logger) error { t.Error("ran"); return nil })
	if code != 2 || !strings.Contains(errs.String(), "HEADWATER_METRIC_RESOLUTION") {
		t.Fatalf("code %d, stderr %q", code, errs)
	}

	c, _, _, _, errs = newTestCommand()
	code = c.Execute([]string{"--no-such-flag"}, nil)
	if code != 2 || !strings.Contains(errs.String(), "no-such-flag") || !strings.Contains(errs.String(), "--help") {
		t.Fatalf("code %d, stderr %q", code, errs)
	}

	c, _, _, _, errs = newTestCommand()
	if code = c.Execute([]string{"stray"}, nil); code != 2 || !strings.Contains(errs.String(), `"stray"`) {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
}

func TestHelpIsGroupedAndVersionIsOneLine(t *testing.T) {
	c, _, _, out, _ := newTestCommand()
	if code := c.Execute([]string{"--help"}, nil); code != 0 {
		t.Fatal(code)
	}
	for _, want := range []string{"Does things.", "Nats flags:", "Thing flags:", "Logging flags:", "Global flags:", "--metric-resolution", "HEADWATER_NATS_URL"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("--help lacks %q:\n%s", want, out)
		}
	}
	c, _, _, out, _ = newTestCommand()
	if code := c.Execute([]string{"--version"}, nil); code != 0 || strings.Count(out.String(), "\n") != 1 || !strings.HasPrefix(out.String(), "thing ") {
		t.Fatalf("code %d, %q", code, out)
	}
}

func TestProbeTellsReadyFromNot(t *testing.T) {
	ready := errors.New("the replay has not caught up")
	server := httptest.NewTLSServer(TelemetryHandler(prometheus.NewRegistry(), func() error { return ready }, Open{}))
	defer server.Close()
	c, _, _, _, errs := newTestCommand()
	if code := c.Execute([]string{"probe", server.URL + "/readyz"}, nil); code != 1 || !strings.Contains(errs.String(), "caught up") {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	ready = nil
	if code := c.Execute([]string{"probe", server.URL + "/readyz"}, nil); code != 0 {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
}

// closed is a guard that shows nothing.
type closed struct{ Open }

func (closed) Protect(http.Handler) http.Handler { return http.HandlerFunc(http.NotFound) }

func TestTheGuardKeepsMetricsAndProfilesButNotHealth(t *testing.T) {
	handler := func(guard Guard) http.Handler {
		return TelemetryHandler(prometheus.NewRegistry(), func() error { return nil }, guard)
	}
	for path, guarded := range map[string]bool{
		"/livez": false, "/healthz": false, "/readyz": false,
		"/metrics": true, "/debug/pprof/": true, "/debug/pprof/heap": true, "/debug/pprof/cmdline": true, "/debug/pprof/symbol": true,
		"/debug/pprof/profile?seconds=1": true, "/debug/pprof/trace?seconds=1": true,
	} {
		for _, c := range []struct {
			guard Guard
			want  int
		}{{closed{}, map[bool]int{true: 404, false: 200}[guarded]}, {Open{}, 200}} {
			answer := httptest.NewRecorder()
			handler(c.guard).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			if answer.Code != c.want {
				t.Errorf("%s behind %T: %d, want %d", path, c.guard, answer.Code, c.want)
			}
		}
	}
}

// paged is a service with a page; it ends at once.
type paged struct{ asked chan string }

func (paged) Ready() error { return nil }
func (p paged) Pages() map[string]http.Handler {
	return map[string]http.Handler{"/debug/things": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked <- r.URL.RawQuery
	})}
}

func (p paged) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// capture is a guard that hands out what it serves, and shows pages to those alone who say please.
type capture struct{ handlers chan http.Handler }

func (capture) Protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Please") == "" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (c capture) Serve(l net.Listener, s *http.Server) error {
	c.handlers <- s.Handler
	return s.Serve(l)
}

func TestAServicesPagesAreBehindTheGuard(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	service, guard, done := paged{make(chan string, 1)}, capture{make(chan http.Handler, 1)}, make(chan error, 1)
	go func() {
		done <- RunGuarded(ctx, service, "127.0.0.1:0", prometheus.NewRegistry(), guard, slog.New(slog.DiscardHandler))
	}()
	handler := <-guard.handlers
	for _, please := range []string{"", "yes"} {
		answer, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/things?x=1", nil)
		r.Header.Set("Please", please)
		handler.ServeHTTP(answer, r)
		if want := map[string]int{"": 403, "yes": 200}[please]; answer.Code != want {
			t.Errorf("please %q: %d, want %d", please, answer.Code, want)
		}
	}
	if got := <-service.asked; got != "x=1" {
		t.Errorf("the page was asked for %q", got)
	}
	cancel()
	<-done
}

// unserving is a guard that can't serve.
type unserving struct{ Open }

func (unserving) Serve(net.Listener, *http.Server) error { return errors.New("no certificate") }

func TestAGuardThatCannotServeEndsTheProcess(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	wait, err := Serve(t.Context(), "127.0.0.1:0", "tests", http.NotFoundHandler(), unserving{}, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := wait(); err == nil || !strings.Contains(err.Error(), "serving tests: no certificate") {
		t.Errorf("%v", err)
	}
}
