// Command contract records what the real metrics-server says of itself, for the tests of metricsapi to compare with: its
// discovery, its OpenAPI documents, its probes, its flags, its own metrics and its error bodies.
//
//	go run ./cmd/contract ../services/metricsapi/api/testdata/metrics-server
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/pins"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: contract FOLDER")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
}

// pod is there so that there are metrics of one.
const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"default"},"spec":{"automountServiceAccountToken":false,"containers":[{"name":"web","image":"web"}]}}`

func run(ctx context.Context, folder string) (err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Config{Nodes: 1, Log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	paths, err := pins.Build(ctx, os.Stderr, "metrics-server")
	if err != nil {
		return err
	}
	help, err := exec.CommandContext(ctx, paths["metrics-server"], "--help").Output()
	if err != nil {
		return fmt.Errorf("couldn't ask metrics-server for its flags: %w", err)
	}
	if err := c.Apply(ctx, pod); err != nil {
		return err
	}
	server, err := c.StartMetricsServer(ctx, 10*time.Second)
	if err != nil {
		return err
	}
	config := rest.CopyConfig(c.REST)
	config.Host = fmt.Sprintf("https://127.0.0.1:%d", server.Port)
	config.TLSClientConfig.Insecure, config.CAData, config.CAFile = true, nil, ""
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	get := func(path, accept string) (int, []byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+path, nil)
		if err != nil {
			return 0, nil, err
		}
		request.Header.Set("Accept", accept)
		response, err := client.Do(request)
		if err != nil {
			return 0, nil, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return response.StatusCode, body, err
	}
	if err := cluster.Eventually(ctx, time.Minute, func() error {
		if code, body, err := get("/readyz", "*/*"); err != nil || code != http.StatusOK {
			return fmt.Errorf("metrics-server isn't ready: %d, %w, %s", code, err, body)
		}
		return nil
	}); err != nil {
		return err
	}
	const (
		group      = "/apis/metrics.k8s.io/v1beta1"
		plainJSON  = "application/json"
		aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	)
	files := map[string][]byte{"help.txt": help}
	for name, from := range map[string]struct{ path, accept string }{
		"discovery.json": {group, plainJSON}, "discovery-group.json": {"/apis/metrics.k8s.io", plainJSON}, "apis.json": {"/apis", plainJSON},
		"discovery-aggregated.json": {"/apis", aggregated},
		"openapi-v2.json":           {"/openapi/v2", plainJSON}, "openapi-v3.json": {"/openapi/v3" + group, plainJSON},
		"healthz.txt": {"/healthz?verbose", "*/*"}, "livez.txt": {"/livez?verbose", "*/*"}, "readyz.txt": {"/readyz?verbose", "*/*"},
		"node-unknown.json": {group + "/nodes/nothing", plainJSON}, "pod-unknown.json": {group + "/namespaces/default/pods/nothing", plainJSON},
		"error-field.json": {group + "/pods?fieldSelector=spec.nodeName%3Dx", plainJSON}, "error-label.json": {group + "/pods?labelSelector=a%3D%3D%3Db", plainJSON},
		"error-watch.json": {group + "/pods?watch=true", plainJSON}, "error-watch-nodes.json": {group + "/nodes?watch=1", plainJSON},
		"error-resource.json": {group + "/things", plainJSON}, "error-limit.json": {group + "/pods?limit=x", plainJSON},
		"error-timeout.json": {group + "/pods?timeoutSeconds=x", plainJSON}, "error-timeout-param.json": {group + "/pods?timeout=never", plainJSON},
		"error-accept.json":           {group + "/pods", "application/toml"},
		"error-watch-value.json":      {group + "/pods?watch=perhaps", plainJSON},
		"error-match.json":            {group + "/pods?resourceVersionMatch=Nearly", plainJSON},
		"error-initial-events.json":   {group + "/pods?sendInitialEvents=true", plainJSON},
		"error-name.json":             {group + "/nodes/..%2fx", plainJSON},
		"error-include.json":          {group + "/nodes?includeObject=Perhaps", "application/json;as=Table;g=meta.k8s.io;v=v1"},
		"pods-version-ignored.json":   {group + "/namespaces/nowhere/pods?resourceVersion=garbage&continue=x&limit=1", plainJSON},
		"pods-unknown-parameter.json": {group + "/namespaces/nowhere/pods?nothing=x&labelSelector=", plainJSON},
		"table-empty.json":            {group + "/namespaces/nowhere/pods", "application/json;as=Table;g=meta.k8s.io;v=v1"},
		"index.json":                  {"/", plainJSON},
	} {
		code, body, err := get(from.path, from.accept)
		if err != nil {
			return fmt.Errorf("couldn't get %s: %w", from.path, err)
		}
		if filepath.Ext(name) == ".json" {
			var indented bytes.Buffer
			if err := json.Indent(&indented, body, "", "  "); err != nil {
				return fmt.Errorf("%s is no JSON (%w): %d %s", from.path, err, code, body)
			}
			indented.WriteByte('\n')
			body = indented.Bytes()
		}
		files[name] = bytes.ReplaceAll(body, fmt.Appendf(nil, ":%d", server.Port), []byte(":PORT"))
	}
	if _, _, err := get(group+"/nodes", plainJSON); err != nil { // so that there is a freshness
		return err
	}
	_, page, err := get("/metrics", "*/*")
	if err != nil {
		return err
	}
	files["metrics.txt"] = ownMetrics(page)
	if files["answers.txt"], err = answers(get); err != nil {
		return err
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(folder, name), body, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// others are requests of which only the code of the answer is recorded: the rest is of its build, its library or its moment.
var others = []struct{ path, accept string }{
	{"/statusz", "*/*"}, {"/statusz", "text/plain"}, {"/statusz", "application/json;as=Statusz;g=config.k8s.io;v=v1beta1"},
	{"/statusz", "application/json;as=Statusz;g=config.k8s.io;v=v1alpha1"}, {"/statusz", "application/json"},
	{"/flagz", "*/*"}, {"/flagz", "text/plain"}, {"/configz", "*/*"}, {"/metrics", "*/*"}, {"/metrics/slis", "*/*"}, {"/version", "*/*"},
	{"/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"},
	{"/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"},
	{"/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"},
	{"/apis", "application/vnd.kubernetes.protobuf"}, {"/apis", "application/cbor"}, {"/apis/metrics.k8s.io/v1beta1/nodes", "application/cbor"},
	{"/api", "application/json"}, {"/api/v1", "application/json"}, {"/openapi/v3", "*/*"}, {"/swagger.json", "*/*"}, {"/openapi", "*/*"},
	{"/logs", "*/*"}, {"/debug", "*/*"}, {"/debug/flags", "*/*"}, {"/debug/flags/v", "*/*"}, {"/debug/pprof", "*/*"}, {"/debug/pprof/", "*/*"},
	{"/debug/pprof/cmdline", "*/*"}, {"/debug/pprof/symbol", "*/*"}, {"/debug/api_priority_and_fairness/dump_requests", "*/*"},
	{"/healthz/ping", "*/*"}, {"/livez/ping", "*/*"}, {"/readyz/shutdown", "*/*"}, {"/readyz/nothing", "*/*"}, {"/readyz?exclude=nothing", "*/*"},
	{"/index.html", "*/*"}, {"//apis", "*/*"}, {"/apis/", "*/*"}, {"/apis/metrics.k8s.io/", "*/*"}, {"/apis/metrics.k8s.io/v1beta1/", "*/*"}, {"/nothing", "*/*"},
}

// answers asks for the others, and returns a line for each: code, path, what was accepted.
func answers(get func(path, accept string) (code int, body []byte, err error)) ([]byte, error) {
	var lines bytes.Buffer
	for _, other := range others {
		code, _, err := get(other.path, other.accept)
		if err != nil {
			return nil, fmt.Errorf("couldn't get %s: %w", other.path, err)
		}
		fmt.Fprintf(&lines, "%d %s %s\n", code, other.path, other.accept)
	}
	return lines.Bytes(), nil
}

var value = regexp.MustCompile(` [0-9.e+-]+$`)

// ownMetrics returns the lines of the metrics whose names begin with metrics_server_, in order, with values left out.
func ownMetrics(page []byte) []byte {
	var lines []string
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSuffix(line, "\n")
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		if !strings.HasPrefix(name, "metrics_server_") {
			continue
		}
		if line == name {
			line = value.ReplaceAllString(line, "")
		}
		lines = append(lines, line)
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}
