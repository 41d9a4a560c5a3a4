package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/headwater-metrics/headwater/test/pins"
)

// ScrapeJob is a scrape_config of Prometheus with fixed targets.
type ScrapeJob struct {
	Name string

	// Targets are host:port.
	Targets []string

	// Settings are all other settings of the scrape_config, by the names of Prometheus's documentation, such as
	// "honor_labels": true or "metrics_path": "/probe".
	Settings map[string]any
}

// PrometheusConfig says what Prometheus scrapes and evaluates.
type PrometheusConfig struct {
	// Interval is that of scrapes and of rules. Default: one second.
	Interval time.Duration

	Jobs []ScrapeJob

	// RuleFiles are paths of rule files.
	RuleFiles []string
}

// Prometheus is a real Prometheus with an empty database.
type Prometheus struct {
	*Process

	// URL is its address, without a slash at the end.
	URL string
}

// Sample is one row of the answer to an instant query.
type Sample struct {
	Metric map[string]string
	Value  float64
}

// Target is a scrape target as Prometheus sees it.
type Target struct {
	Job, URL string

	// Health is up, down or unknown (not scraped yet); LastError says why it is down.
	Health, LastError string
}

// StartPrometheus starts Prometheus and returns when it is ready for queries; its first scrapes follow within an
// interval.
func (c *Cluster) StartPrometheus(ctx context.Context, config PrometheusConfig) (*Prometheus, error) {
	paths, err := pins.Build(ctx, lineWriter(c.config.Log), "prometheus")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("prometheus-%d", port) // there may be several
	file := filepath.Join(c.Dir, name+".yaml")
	if err := config.write(file); err != nil {
		return nil, err
	}
	address := "http://" + loopback(port)
	p, err := c.Run(ctx, Spec{
		Name: name,
		Path: paths["prometheus"],
		Args: []string{
			"--config.file=" + file,
			"--storage.tsdb.path=" + filepath.Join(c.Dir, name),
			"--web.listen-address=" + loopback(port),
			"--log.level=warn",
		},
		Ready: HTTPReady(address + "/-/ready"),
	})
	if err != nil {
		return nil, err
	}
	return &Prometheus{Process: p, URL: address}, nil
}

// write stores the configuration as JSON, which is YAML too.
func (c PrometheusConfig) write(path string) error {
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	interval := fmt.Sprintf("%dms", c.Interval.Milliseconds())
	var jobs []map[string]any
	for _, job := range c.Jobs {
		settings := map[string]any{"job_name": job.Name, "static_configs": []any{map[string]any{"targets": job.Targets}}}
		maps.Copy(settings, job.Settings)
		jobs = append(jobs, settings)
	}
	content, err := json.MarshalIndent(map[string]any{
		"global":         map[string]any{"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
		"rule_files":     c.RuleFiles,
		"scrape_configs": jobs,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("couldn't encode the configuration of Prometheus: %w", err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("couldn't store the configuration of Prometheus: %w", err)
	}
	return nil
}

// Query evaluates a PromQL expression now. The expression must yield a vector or a scalar; a scalar is one sample
// without labels.
func (p *Prometheus) Query(ctx context.Context, expression string) ([]Sample, error) {
	var data struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := p.ask(ctx, "/api/v1/query?query="+url.QueryEscape(expression), &data); err != nil {
		return nil, fmt.Errorf("couldn't query %q: %w", expression, err)
	}
	type row struct {
		Metric map[string]string
		Value  point
	}
	var rows []row
	var err error
	switch data.ResultType {
	case "vector":
		err = json.Unmarshal(data.Result, &rows)
	case "scalar":
		rows = make([]row, 1)
		err = json.Unmarshal(data.Result, &rows[0].Value)
	default:
		err = fmt.Errorf("it yields a %s: use an expression that yields a vector", data.ResultType)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't query %q: %w", expression, err)
	}
	samples := make([]Sample, len(rows))
	for i, r := range rows {
		samples[i] = Sample{Metric: r.Metric, Value: float64(r.Value)}
	}
	return samples, nil
}

// Targets returns all scrape targets.
func (p *Prometheus) Targets(ctx context.Context) ([]Target, error) {
	var data struct {
		ActiveTargets []struct {
			ScrapePool, ScrapeURL, Health, LastError string
		}
	}
	if err := p.ask(ctx, "/api/v1/targets?state=active", &data); err != nil {
		return nil, fmt.Errorf("couldn't list targets: %w", err)
	}
	var targets []Target
	for _, t := range data.ActiveTargets {
		targets = append(targets, Target{Job: t.ScrapePool, URL: t.ScrapeURL, Health: t.Health, LastError: t.LastError})
	}
	return targets, nil
}

// AllUp returns nil if every target was scraped without an error, the last time. It fits Eventually.
func (p *Prometheus) AllUp(ctx context.Context) error {
	targets, err := p.Targets(ctx)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return errors.New("no target is known yet")
	}
	for _, t := range targets {
		if t.Health != "up" || t.LastError != "" {
			return fmt.Errorf("target %s of job %s is %s: %s", t.URL, t.Job, t.Health, t.LastError)
		}
	}
	return nil
}

// ask decodes the data of an answer of Prometheus's API.
func (p *Prometheus) ask(ctx context.Context, path string, data any) error {
	body, err := get(ctx, http.DefaultClient, p.URL+path)
	if err != nil {
		return err
	}
	answer := struct{ Data any }{data}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return fmt.Errorf("couldn't decode the answer: %w", err)
	}
	return nil
}

// point is the value of a sample, which Prometheus writes as [time, "value"].
type point float64

// UnmarshalJSON implements json.Unmarshaler.
func (p *point) UnmarshalJSON(raw []byte) error {
	var pair [2]any
	if err := json.Unmarshal(raw, &pair); err != nil {
		return err
	}
	text, ok := pair[1].(string)
	if !ok {
		return fmt.Errorf("couldn't read a sample: %s is no [time, value]", raw)
	}
	value, err := strconv.ParseFloat(text, 64)
	*p = point(value)
	return err
}

// Promtool runs promtool on the given input, for example with the arguments "check", "metrics", and returns what it
// printed on standard output; its complaints are in the error.
func (c *Cluster) Promtool(ctx context.Context, input io.Reader, args ...string) (string, error) {
	paths, err := pins.Build(ctx, lineWriter(c.config.Log), "promtool")
	if err != nil {
		return "", err
	}
	return command(ctx, paths["promtool"], input, args...)
}
