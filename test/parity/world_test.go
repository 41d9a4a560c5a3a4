package parity

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/promtext"
	"github.com/headwater-metrics/headwater/test/pins"
)

// world is a control plane with Headwater's state service on it, and what it takes to start kube-state-metrics and the
// exporter beside each other, each pair with the flags that are compared.
type world struct {
	*cluster.Cluster
	api
	tools

	differences *differences
	natsURL     string
	peer        string // the path of kube-state-metrics
	whole       *pair  // without any filter
	objects     []object
	barriers    int
	barrier     []object // the latest
}

var (
	once    sync.Once
	started *world
	failed  error

	// spare is how long both sides have to agree after a change: an idle machine needs seconds.
	spare = 3 * time.Minute
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	code := m.Run()
	if started != nil {
		if code != 0 {
			fmt.Fprintln(os.Stderr, started.Tails(15))
		}
		if err := started.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	// Only a run of everything can tell that nothing needs a line.
	if f := flag.Lookup("test.run"); code == 0 && (f == nil || f.Value.String() == "") && listed != nil {
		if unused := listed.unused(); len(unused) > 0 {
			fmt.Fprintf(os.Stderr, "nothing needs these lines of differences.txt, delete them: %s\n", strings.Join(unused, ", "))
			return 1
		}
	}
	return code
}

// shared is the world of all tests of this run, with the objects in it.
func shared(t *testing.T) *world {
	t.Helper()
	with, d := buildTools(t), readDifferences(t)
	once.Do(func() { started, failed = newWorld(with, d) })
	if failed != nil {
		t.Fatal(failed)
	}
	return started
}

func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// quiet turns off the controllers that write what the tests write, so that statuses stay as they are.
var quiet = "--controllers=" + strings.Join([]string{
	"-certificatesigningrequest-approving-controller", "-certificatesigningrequest-cleaner-controller", "-certificatesigningrequest-signing-controller",
	"-cronjob-controller", "-daemonset-controller", "-deployment-controller", "-disruption-controller", "-endpoints-controller", "-endpointslice-controller",
	"-endpointslice-mirroring-controller", "-ephemeral-volume-controller", "-garbage-collector-controller", "-horizontal-pod-autoscaler-controller", "-job-controller",
	"-persistentvolume-attach-detach-controller", "-persistentvolume-binder-controller", "-persistentvolume-expander-controller", "-pod-garbage-collector-controller",
	"-replicaset-controller", "-replicationcontroller-controller", "-resourceclaim-controller", "-resourcequota-controller", "-statefulset-controller",
	"-ttl-after-finished-controller", "-validatingadmissionpolicy-status-controller",
}, ",")

// newWorld starts everything. The world that it returns has to be closed even if there is an error beside it.
func newWorld(with tools, d *differences) (*world, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	paths, err := pins.Build(ctx, os.Stderr, "nats-server", "kube-state-metrics")
	if err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, cluster.Config{Log: logf, ControllerManagerArgs: []string{quiet}})
	if err != nil {
		return nil, err
	}
	w := &world{Cluster: c, tools: with, differences: d, peer: paths["kube-state-metrics"]}
	client, err := dynamic.NewForConfig(c.REST)
	if err != nil {
		return w, err
	}
	w.api = api{client}
	if w.objects, err = readObjects(); err != nil {
		return w, err
	}
	nats, err := cluster.FreePort()
	if err != nil {
		return w, err
	}
	w.natsURL = fmt.Sprintf("nats://127.0.0.1:%d", nats)
	if _, err := c.Run(ctx, cluster.Spec{Name: "nats-server", Path: paths["nats-server"],
		Args:  []string{"-a", "127.0.0.1", "-p", fmt.Sprint(nats), "-js", "-sd", filepath.Join(c.Dir, "nats")},
		Ready: func(ctx context.Context) error { return dial(ctx, nats) }}); err != nil {
		return w, err
	}
	if err := w.startState(ctx); err != nil {
		return w, err
	}
	if err := w.make(ctx, before); err != nil {
		return w, err
	}
	if w.whole, err = w.start(ctx, setting{name: "whole"}); err != nil {
		return w, err
	}
	return w, nil
}

// before is what must be there before the objects.
const before = `
apiVersion: v1
kind: Namespace
metadata: {name: ` + home + `}
---
apiVersion: v1
kind: Namespace
metadata: {name: quiet, labels: {team: a}}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: sandbox}
handler: sandbox
overhead: {podFixed: {cpu: 250m, memory: 120Mi}}
`

// make creates the objects of a manifest. It does not apply them, because the annotation that kubectl leaves behind then is
// left out of the log.
func (w *world) make(ctx context.Context, manifest string) error {
	_, err := w.KubectlInput(ctx, strings.NewReader(manifest), "create", "-f", "-")
	return err
}

func (w *world) startState(ctx context.Context) error {
	port, err := cluster.FreePort()
	if err != nil {
		return err
	}
	_, err = w.Run(ctx, cluster.Spec{Name: "state", Path: binary("state"),
		Args: []string{"--kubeconfig=" + w.Kubeconfig, "--nats-url=" + w.natsURL, "--cluster=parity", "--objects-max-bytes=1073741824",
			"--custom-resources=*.example.com,*.other.example.org",
			fmt.Sprintf("--telemetry-address=127.0.0.1:%d", port)},
		Ready: cluster.HTTPReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", port))})
	return err
}

// setting is a configuration that both sides run with.
type setting struct {
	name string
	// flags are those of both, ours and peers those of one.
	flags, ours, peers []string
	// resources are those exported; all, where empty.
	resources []string
	// plain leaves out the flags that let all labels, annotations and opt-in families through.
	plain bool
	// nothing says that there may be no series, which would be suspicious otherwise.
	nothing bool
}

// pair is kube-state-metrics and the exporter with the same configuration.
type pair struct {
	setting
	w                *world
	oursURL, peerURL string
	ours, theirs     *cluster.Process
}

// start starts a pair.
func (w *world) start(ctx context.Context, s setting) (*pair, error) {
	p := &pair{setting: s, w: w}
	var ports [4]int
	for i := range ports {
		var err error
		if ports[i], err = cluster.FreePort(); err != nil {
			return nil, err
		}
	}
	wanted := func(k kind) bool { return len(s.resources) == 0 || slices.Contains(s.resources, k.Resource) }
	flags := slices.Clone(s.flags)
	if !s.plain {
		flags = append(flags, everything...)
	}
	zone := []string{"TZ=America/New_York"}
	p.oursURL, p.peerURL = fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[0]), fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[2])
	ours := append([]string{"--nats-url=" + w.natsURL, "--cluster=parity", "--usage=false", "--resources=" + names(wanted),
		fmt.Sprintf("--listen-address=127.0.0.1:%d", ports[0]), fmt.Sprintf("--telemetry-address=127.0.0.1:%d", ports[1])}, append(flags, s.ours...)...)
	theirs := append([]string{"--kubeconfig=" + w.Kubeconfig, "--resources=" + names(func(k kind) bool { return k.peer && wanted(k) }),
		"--host=127.0.0.1", "--telemetry-host=127.0.0.1", fmt.Sprintf("--port=%d", ports[2]), fmt.Sprintf("--telemetry-port=%d", ports[3])}, append(flags, s.peers...)...)
	var wait sync.WaitGroup
	var errs [2]error
	wait.Go(func() {
		p.ours, errs[0] = w.Run(ctx, cluster.Spec{Name: "exporter-" + s.name, Path: binary("exporter"), Args: ours, Env: zone,
			Ready: cluster.HTTPReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", ports[1]))})
	})
	wait.Go(func() {
		p.theirs, errs[1] = w.Run(ctx, cluster.Spec{Name: "kube-state-metrics-" + s.name, Path: w.peer, Args: theirs, Env: zone,
			Ready: cluster.HTTPReady(fmt.Sprintf("http://127.0.0.1:%d/healthz", ports[2]))})
	})
	wait.Wait()
	return p, errors.Join(errs[0], errs[1])
}

// stop ends both sides.
func (p *pair) stop() {
	for _, process := range []*cluster.Process{p.ours, p.theirs} {
		if process != nil {
			process.Kill()
		}
	}
}

// get asks for a page.
func get(ctx context.Context, url, accept string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", url, response.Status, text)
	}
	return text, err
}

// answers are what both sides say, one shortly after the other.
type answers struct{ ours, theirs []byte }

func (p *pair) ask(ctx context.Context, query string) (*answers, error) {
	var a answers
	var wait sync.WaitGroup
	var errs [2]error
	wait.Go(func() { a.ours, errs[0] = get(ctx, p.oursURL+query, "") })
	wait.Go(func() { a.theirs, errs[1] = get(ctx, p.peerURL+query, "") })
	wait.Wait()
	return &a, errors.Join(errs[0], errs[1])
}

// agree waits until both sides say the same to a query, such as "?resources=pods", and returns what that is.
func (p *pair) agree(t *testing.T, query string) *promtext.Scrape {
	t.Helper()
	var got *promtext.Scrape
	if err := cluster.Eventually(t.Context(), spare, func() (err error) {
		got, err = p.compare(t.Context(), query)
		return err
	}); err != nil {
		t.Fatalf("%s%s: %v", p.name, query, err)
	}
	if len(got.Series) == 0 && !p.nothing {
		t.Errorf("%s%s: there is nothing to compare", p.name, query)
	}
	return got
}

// compare is nil if both sides say the same now.
func (p *pair) compare(ctx context.Context, query string) (*promtext.Scrape, error) {
	a, err := p.ask(ctx, query)
	if err != nil {
		return nil, err
	}
	got, want := promtext.Parse(a.ours), promtext.Parse(a.theirs)
	if len(got.Problems) > 0 {
		return got, fmt.Errorf("ours is not valid: %s", strings.Join(got.Problems, "; "))
	}
	d := p.w.differences
	told := func(key string) bool { return !d.older(promtext.Name(key)) }
	for key := range got.Series {
		if name := promtext.Name(key); d.older(name) && want.Series[key] != got.Series[key] {
			d.use(name)
		}
	}
	if diff := promtext.Compare(want.Only(told), got.Only(told)); !diff.Empty() {
		return got, diff
	}
	// What the older release can't tell, the oracle does, of all objects together.
	if p == p.w.whole && query == "" {
		if want, err = p.w.later(ctx); err != nil {
			return got, err
		}
		judged := func(key string) bool { return d.older(promtext.Name(key)) && !d.unknown(promtext.Name(key)) }
		if diff := promtext.Compare(want.Only(judged), got.Only(judged)); !diff.Empty() {
			return got, fmt.Errorf("compared with what the newer release is known to say: %w", diff)
		}
	}
	return got, nil
}

// later is what the oracle says of all objects of those resources that have families which the older release can't tell.
func (w *world) later(ctx context.Context) (*promtext.Scrape, error) {
	var questions strings.Builder
	for _, k := range kinds {
		if !slices.Contains(changedResources, k.Resource) {
			continue
		}
		path := "/apis/" + k.Group + "/" + k.Version + "/" + k.Resource
		if k.Group == "" {
			path = "/api/" + k.Version + "/" + k.Resource
		}
		raw, err := w.Client.Discovery().RESTClient().Get().AbsPath(path).DoRaw(ctx)
		if err != nil {
			return nil, fmt.Errorf("couldn't list %s: %w", k.Resource, err)
		}
		if err := each(raw, func(item []byte) { fmt.Fprintf(&questions, `{"resource":%q,"object":%s}`+"\n", k.Resource, item) }); err != nil {
			return nil, err
		}
	}
	verdicts, err := ask(ctx, w.oracle, []byte(questions.String()))
	if err != nil {
		return nil, err
	}
	s := &promtext.Scrape{Types: map[string]string{}, Series: map[string]string{}, Twice: map[string]int{}}
	for _, v := range verdicts {
		for _, f := range v.Families {
			s.Types[f.Name] = f.Type
			for line := range strings.Lines(f.Text) {
				key, value, err := promtext.Line(strings.TrimSuffix(line, "\n"))
				if err != nil {
					return nil, err
				}
				s.Series[key] = value
			}
		}
	}
	return s, nil
}

// changedResources have a line in differences.txt.
var changedResources = []string{"cronjobs", "endpointslices", "horizontalpodautoscalers", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
	"nodes", "persistentvolumes", "pods", "validatingadmissionpolicies", "validatingadmissionpolicybindings"}

// caughtUp makes an object of each kind, deletes that of the time before, and waits until both sides show that. A watch
// tells in order, so that both then know all that was done before.
func (w *world) caughtUp(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	w.barriers++
	seen := map[string]bool{}
	var now []object
	for _, o := range w.objects {
		if seen[o.Resource] {
			continue
		}
		seen[o.Resource] = true
		c := object{o.kind, o.DeepCopy()}
		c.SetName(fmt.Sprintf("barrier-%d-%s", w.barriers, o.Resource))
		c.SetOwnerReferences(nil) // there are no such owners, which is for the garbage collector to see
		c.SetLabels(nil)          // nor does a controller find its own
		if err := w.create(ctx, c); err != nil {
			t.Fatal(err)
		}
		now = append(now, c)
	}
	var gone []object
	for _, o := range w.barrier {
		if o.Resource == "namespaces" {
			continue // it takes seconds to go
		}
		if err := w.remove(ctx, o); err != nil {
			t.Fatal(err)
		}
		gone = append(gone, o)
	}
	w.barrier = now
	if err := cluster.Eventually(ctx, spare, func() error {
		a, err := w.whole.ask(ctx, "")
		if err != nil {
			return err
		}
		for side, text := range map[string]string{"the exporter": string(a.ours), "kube-state-metrics": string(a.theirs)} {
			for _, o := range now {
				if !strings.Contains(text, `="`+o.GetName()+`"`) && (o.peer || side == "the exporter") {
					return fmt.Errorf("%s lacks %s", side, o)
				}
			}
			for _, o := range gone {
				if strings.Contains(text, `="`+o.GetName()+`"`) {
					_, err := w.of(o.GroupVersionResource, o.GetNamespace()).Get(ctx, o.GetName(), metav1.GetOptions{})
					return fmt.Errorf("%s still has %s, of which the API server says: %w", side, o, err)
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// valid holds an answer of the exporter to what readers of both formats demand.
func (p *pair) valid(t *testing.T) {
	t.Helper()
	text, err := get(t.Context(), p.oursURL, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := output(t.Context(), p.w.promtool, text, "check", "metrics"); err != nil {
		t.Errorf("%s: promtool: %v", p.name, err)
	}
	text, err = get(t.Context(), p.oursURL, "application/openmetrics-text; version=1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	count, err := output(t.Context(), p.w.openmetrics, text)
	if err != nil {
		t.Errorf("%s: OpenMetrics: %v", p.name, err)
	} else if strings.TrimSpace(string(count)) == "0" && !p.nothing {
		t.Errorf("%s: there is no series in OpenMetrics", p.name)
	}
}

// families counts the series of each family.
func families(s *promtext.Scrape) map[string]int {
	n := map[string]int{}
	for key := range s.Series {
		n[promtext.Name(key)]++
	}
	return n
}
