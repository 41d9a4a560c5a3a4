package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// replica is a further exporter on the world's log, for the time of a test.
type replica struct {
	*cluster.Process
	metrics, telemetry string // URLs, as of own
	telemetryAddress   string
}

// replica describes an exporter. It has no Ready: the tests say what they wait for. Flags that are given win.
func (w *world) replica(t *testing.T, name string, args ...string) *replica {
	t.Helper()
	return w.replicaBare(t, name, func(port, telemetry int) []string {
		return append([]string{fmt.Sprintf("--listen-address=127.0.0.1:%d", port), fmt.Sprintf("--telemetry-address=127.0.0.1:%d", telemetry),
			"--cluster=e2e", "--max-sample-age=1m"}, args...)
	})
}

// replicaBare is one whose arguments say on which ports it serves.
func (w *world) replicaBare(t *testing.T, name string, args func(port, telemetry int) []string) *replica {
	t.Helper()
	var port, telemetry int
	if err := ports(&port, &telemetry); err != nil {
		t.Fatal(err)
	}
	r := &replica{
		Process: cluster.NewProcess(w.Dir, cluster.Spec{Name: strings.ReplaceAll(t.Name(), "/", "-") + "-" + name, Path: binary("exporter"),
			Args: append([]string{"--nats-url=" + w.natsURL}, args(port, telemetry)...)}),
		metrics:   fmt.Sprintf("http://127.0.0.1:%d/metrics", port),
		telemetry: fmt.Sprintf("http://127.0.0.1:%d", telemetry),
	}
	r.telemetryAddress = host(r.telemetry)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, r.Tail(20))
		}
		r.Kill()
	})
	return r
}

// serve starts exporters and waits until they are ready.
func serve(t *testing.T, replicas ...*replica) {
	t.Helper()
	for _, r := range replicas {
		start(t, r.Process)
	}
	for _, r := range replicas {
		isReady(t, time.Minute, r.telemetry)
	}
}

// view is a part of an answer, sorted, a series a line.
type view func(body string) []string

// still is the namespace whose objects no test changes.
const still = "still"

// ofNamespaces are the series of namespaces, with their values as far as these tell of objects: usage is without.
func ofNamespaces(names ...string) view {
	return func(body string) []string {
		return filter(body, func(line string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(line, `namespace="`+n+`"`) })
		})
	}
}

// everything are all series, without their values: somewhere in a cluster there is always a clock.
func everything(body string) []string {
	all := filter(body, func(string) bool { return true })
	for i, line := range all {
		all[i] = key(line)
	}
	return all
}

func filter(body string, keep func(line string) bool) []string {
	var all []string
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' || !keep(line) {
			continue
		}
		if !strings.HasPrefix(line, "kube_") {
			line = key(line)
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

// key is a line of a sample without its value.
func key(line string) string {
	if end := strings.LastIndexByte(line, '}'); end >= 0 {
		return line[:end+1]
	}
	name, _, _ := strings.Cut(line, " ")
	return name
}

// count tells how many series of a family a view has.
func count(lines []string, family string) int {
	n := 0
	for _, line := range lines {
		if strings.HasPrefix(line, family+"{") {
			n++
		}
	}
	return n
}

// differ says how two views differ; nil if they don't.
func differ(want, got []string) error {
	wanted, had := map[string]bool{}, map[string]bool{}
	for _, line := range want {
		wanted[line] = true
	}
	var surplus, missing []string
	for _, line := range got {
		if had[line] {
			return fmt.Errorf("%s is there twice", line)
		}
		if had[line] = true; !wanted[line] {
			surplus = append(surplus, line)
		}
	}
	for _, line := range want {
		if !had[line] {
			missing = append(missing, line)
		}
	}
	if len(surplus)+len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("of %d series %d are missing, such as %q, and %d are too many, such as %q", len(want), len(missing), first(missing), len(surplus), first(surplus))
}

func first(lines []string) []string { return lines[:min(3, len(lines))] }

// see is a view of what an exporter answers now.
func see(v view, urls ...string) ([]string, error) {
	var all []string
	for _, url := range urls {
		body, err := get(url)
		if err != nil {
			return nil, err
		}
		all = append(all, v(body)...)
	}
	slices.Sort(all)
	return all, nil
}

// together compares what some exporters answer, put together, with what one does that has everything. A series that two of
// them have is a difference.
func together(v view, whole string, parts ...string) error {
	want, err := see(v, whole)
	if err != nil {
		return err
	}
	got, err := see(v, parts...)
	if err != nil {
		return err
	}
	return differ(want, got)
}

var quietOnce sync.Once

const stillPods, stillConfigMaps = 8, 12

// quiet waits until the namespace still is there, with all that happens to it behind it, and returns its view.
func (w *world) quiet(t *testing.T) []string {
	t.Helper()
	quietOnce.Do(func() {
		var b strings.Builder
		b.WriteString(deployment(still, "web", stillPods))
		for i := range stillConfigMaps {
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: %[1]s, name: settings-%[2]d}\n", still, i)
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Secret\nmetadata: {namespace: %[1]s, name: secret-%[2]d}\n", still, i)
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: %[1]s, name: service-%[2]d}\nspec: {selector: {app: other}, ports: [{port: 80}]}\n", still, i)
		}
		if err := w.Apply(t.Context(), b.String()); err != nil {
			t.Fatal(err)
		}
		w.running(t, still, stillPods)
	})
	var lines []string
	var since time.Time
	eventually(t, time.Minute, func() error {
		now, err := see(ofNamespaces(still), w.metrics)
		if err != nil {
			return err
		}
		if err := differ(lines, now); err != nil {
			lines, since = now, time.Now()
			return err
		}
		if pods, usage := count(lines, "kube_pod_info"), count(lines, "container_cpu_usage_seconds_total"); pods != stillPods || usage != 2*stillPods {
			return fmt.Errorf("%d pods, %d containers with usage", pods, usage)
		}
		if time.Since(since) < resolution/2 {
			return fmt.Errorf("it stands still for %v only", time.Since(since))
		}
		return nil
	})
	return lines
}

// onlooker scrapes an exporter all the time.
type onlooker struct {
	url    string
	view   view
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	answers int
	seen    [][]string // the views, as often as they changed
	failed  []string   // what was no answer
}

// onlook begins to scrape, until the test or the onlooker ends. It returns when the first answer is there, so that what a
// test does next comes after it.
func onlook(t *testing.T, url string, v view) *onlooker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	o := &onlooker{url: url, view: v, cancel: cancel, ended: make(chan struct{})}
	go o.run(ctx)
	t.Cleanup(func() { cancel(); <-o.ended })
	eventually(t, 10*time.Second, func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.answers+len(o.failed) == 0 {
			return errNothing
		}
		return nil
	})
	return o
}

// sees waits until the latest answer is this one, so that what a test does next comes after it.
func (o *onlooker) sees(t *testing.T, view []string) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.seen) == 0 {
			return errNothing
		}
		return differ(view, o.seen[len(o.seen)-1])
	})
}

func (o *onlooker) run(ctx context.Context) {
	defer close(o.ended)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}} // with gzip, as Prometheus has it
	defer client.CloseIdleConnections()
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for ctx.Err() == nil {
		body, err := o.scrape(client)
		now := o.view(body)
		o.mu.Lock()
		switch {
		case err != nil:
			o.failed = append(o.failed, err.Error())
		default:
			o.answers++
			if len(o.seen) == 0 || differ(o.seen[len(o.seen)-1], now) != nil {
				o.seen = append(o.seen, now)
			}
		}
		o.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
}

// scrape is not interrupted when the test is over, so that every request that was begun has an answer.
func (o *onlooker) scrape(client *http.Client) (string, error) {
	response, err := client.Get(o.url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %.200s", o.url, response.Status, body)
	}
	return string(body), err
}

// saw ends the looking when the last of these views is there, and wants all of them to have been answered, in this order, and
// nothing else.
func (o *onlooker) saw(t *testing.T, what string, want ...[]string) {
	t.Helper()
	o.sees(t, want[len(want)-1])
	o.cancel()
	<-o.ended
	if len(o.failed) > 0 {
		t.Errorf("%s: %d scrapes of %d failed: %s", what, len(o.failed), len(o.failed)+o.answers, o.failed[0])
	}
	for i, got := range o.seen {
		if i >= len(want) {
			t.Errorf("%s: after all was as it should be it became something else: %v", what, differ(want[len(want)-1], got))
			return
		}
		if err := differ(want[i], got); err != nil {
			t.Errorf("%s: of %d answers the one that should be state %d of %d is another: %v", what, o.answers, i+1, len(want), err)
			return
		}
	}
	if len(o.seen) < len(want) {
		t.Errorf("%s: %d states were seen in %d answers, want %d", what, len(o.seen), o.answers, len(want))
	}
	t.Logf("%s: %d answers, %d states", what, o.answers, len(o.seen))
}
