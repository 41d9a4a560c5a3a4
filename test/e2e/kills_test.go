package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// killedNamespace is that of killedWhileItIsServed.
const killedNamespace = "killed"

// lives is how many kinds of pods there are: what a pod uses follows from its label life.
const lives = 40

// usageOfLife tells pods apart whose names are the same.
func usageOfLife(life int) cluster.Usage {
	return cluster.Usage{CPU: 100 + 25*float64(life), Memory: uint64(50+5*life) << 20}
}

// killedWhileItIsServed: ingest, metricsapi, nats-server and state are killed in turn, while pods are made again under
// their names, and readers and a watcher look on. No answer and no event is ever wrong: no usage of an earlier pod under a
// later one's labels, no time that goes back; and soon after each everything is complete again.
func killedWhileItIsServed(t *testing.T, u *usageWorld) {
	u.agents(t, killedNamespace, "well", wellNodes)
	for life := range lives {
		u.Kubelets.SetUsage(cluster.Match{Namespace: killedNamespace, Labels: map[string]string{"life": strconv.Itoa(life)}}, usageOfLife(life))
	}
	o := u.own(t, killedNamespace)
	ingest := o.ingester("ingest", "group=well", 0)
	api, port := o.server("metricsapi", "--enable-watch")
	start(t, o.nats, o.state, api, ingest.Process)
	agents := map[string]map[string]cluster.Usage{}
	for _, p := range u.Kubelets.Pods() {
		if p.Namespace == killedNamespace {
			agents[p.Name] = p.Containers
		}
	}
	ask := o.direct(t, port)
	complete := func() ([]podMetrics, error) {
		items, err := decodeAnswer(ask(t.Context()))
		if err != nil {
			return nil, err
		}
		return items, u.truthIn(killedNamespace, items)
	}
	eventually(t, 30*time.Second, func() error { _, err := complete(); return err })

	churn := &churn{t: t, pods: u.Client.CoreV1().Pods(killedNamespace), running: func(name string) bool {
		_, ok := u.Kubelets.Pod(killedNamespace, name)
		return ok
	}}
	judge := func(items []podMetrics) error {
		seen := 0
		for i := range items {
			if err := rightLife(&items[i], agents); err != nil {
				return err
			}
			if agents[items[i].Metadata.Name] != nil {
				seen++
			}
		}
		if seen != len(agents) {
			return fmt.Errorf("%d of %d pods that never changed", seen, len(agents))
		}
		return nil
	}
	churn.begin()
	readers := []*onlookerOfPods{lookOn(t, killedNamespace, ask, judge), lookOn(t, killedNamespace, ask, judge)}
	watcher := o.watchPods(port, agents)
	for _, p := range []*cluster.Process{ingest.Process, api, o.nats, o.state} {
		until(t, time.Now().Add(resolution))
		for _, reader := range readers {
			reader.holdUp(p == o.nats)
		}
		p.Kill()
		killed := time.Now()
		until(t, killed.Add(resolution/4))
		start(t, p)
		churn.pause()
		eventually(t, 20*time.Second, func() error {
			items, err := complete()
			if err != nil {
				return err
			}
			for _, item := range items {
				if item.Metadata.Namespace == killedNamespace && item.Timestamp.Before(killed) {
					return fmt.Errorf("%s is of %v", item.Metadata.Name, item.Timestamp)
				}
			}
			if err := watcher.agrees(items); err != nil {
				return fmt.Errorf("after the death of %s: %w; %s", p.Name(), err, watcher)
			}
			return nil
		})
		t.Logf("%s: complete and new, for the watcher too, %v after it was killed", p.Name(), time.Since(killed).Round(time.Millisecond))
		churn.begin()
	}
	// A slow machine makes fewer pods in the same time.
	eventually(t, time.Minute, func() error {
		if n := churn.made.Load(); n < lives/4 {
			return fmt.Errorf("only %d pods were made", n)
		}
		return nil
	})
	churn.pause()
	for _, reader := range readers {
		reader.end(t, true)
	}
	watcher.end()
}

// rightLife compares a pod's usage with what its labels say.
func rightLife(p *podMetrics, agents map[string]map[string]cluster.Usage) error {
	if want := agents[p.Metadata.Name]; want != nil {
		return p.has(want)
	}
	// A counter that went backwards has no rate, as in metrics-server: the API knows starts in whole seconds, and the played
	// kubelets no better, so that a pod made anew within one looks like the old one.
	if len(p.Containers) == 0 {
		return nil
	}
	life, err := strconv.Atoi(p.Metadata.Labels["life"])
	if err != nil {
		return fmt.Errorf("%s has labels %v", p.Metadata.Name, p.Metadata.Labels)
	}
	return p.has(map[string]cluster.Usage{"main": usageOfLife(life)})
}

// churn makes pods again and again under the same names, each time with another life.
type churn struct {
	t    *testing.T
	pods interface {
		Create(context.Context, *corev1.Pod, metav1.CreateOptions) (*corev1.Pod, error)
		Delete(context.Context, string, metav1.DeleteOptions) error
		Get(context.Context, string, metav1.GetOptions) (*corev1.Pod, error)
	}
	running func(name string) bool
	made    atomic.Int64

	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (c *churn) begin() {
	ctx, cancel := context.WithCancel(c.t.Context())
	c.cancel = cancel
	c.done.Go(func() {
		pace := time.NewTicker(700 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
			n := int(c.made.Load())
			if err := c.again(fmt.Sprintf("again-%d", n%5), n%lives); err != nil {
				c.t.Errorf("couldn't make a pod again: %v", err)
				return
			}
			c.made.Add(1)
		}
	})
	c.t.Cleanup(c.pause)
}

// pause waits until no pod is being made.
func (c *churn) pause() {
	c.cancel()
	c.done.Wait()
}

func (c *churn) again(name string, life int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	now := int64(0)
	if err := c.pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err := cluster.Eventually(ctx, time.Minute, func() error {
		_, err := c.pods.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("%s is still there: %w", name, err)
	}); err != nil {
		return err
	}
	_, err := c.pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"life": strconv.Itoa(life)}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"group": "well"},
			Containers:   []corev1.Container{{Name: "main", Image: "registry.example/main:1"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return cluster.Eventually(ctx, time.Minute, func() error {
		if !c.running(name) {
			return fmt.Errorf("%s doesn't run", name)
		}
		return nil
	})
}

// podWatcher is a client that lists once and watches from then on, as an informer does.
type podWatcher struct {
	t      *testing.T
	client *http.Client
	base   string
	agents map[string]map[string]cluster.Usage

	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	pods    map[string]podMetrics
	version string
	events  map[string]int
	lists   int
	broken  int
	refused map[string]int
	wrong   []string
}

// watchPods begins to watch.
func (o *own) watchPods(port int, agents map[string]map[string]cluster.Usage) *podWatcher {
	o.t.Helper()
	config := rest.CopyConfig(o.REST)
	config.TLSClientConfig.CAFile, config.TLSClientConfig.CAData, config.TLSClientConfig.Insecure = "", nil, true
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(o.t.Context())
	w := &podWatcher{
		t: o.t, client: &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true}},
		base:   fmt.Sprintf("https://127.0.0.1:%d/apis/metrics.k8s.io/v1beta1/namespaces/%s/pods", port, killedNamespace),
		agents: agents, cancel: cancel, pods: map[string]podMetrics{}, events: map[string]int{}, refused: map[string]int{},
	}
	w.done.Go(func() {
		for ctx.Err() == nil {
			if err := w.session(ctx); err != nil && ctx.Err() == nil {
				w.mu.Lock()
				w.broken++
				w.mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		}
	})
	o.t.Cleanup(func() { cancel(); w.done.Wait() })
	return w
}

// session lists where there is no version to go on from, and watches until the answer ends.
func (w *podWatcher) session(ctx context.Context) error {
	w.mu.Lock()
	version := w.version
	w.mu.Unlock()
	if version == "" {
		if err := w.list(ctx); err != nil {
			return err
		}
	}
	w.mu.Lock()
	query := url.Values{"watch": {"true"}, "resourceVersion": {w.version}, "allowWatchBookmarks": {"true"}}
	w.mu.Unlock()
	response, err := w.get(ctx, "?"+query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusGone {
		w.mu.Lock()
		w.version = ""
		w.refused[response.Status]++
		w.mu.Unlock()
		return nil
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	lines := json.NewDecoder(bufio.NewReader(response.Body))
	for {
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if err := lines.Decode(&event); err != nil {
			return err
		}
		if err := w.apply(event.Type, event.Object); err != nil {
			return err
		}
	}
}

func (w *podWatcher) get(ctx context.Context, query string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+query, nil)
	if err != nil {
		return nil, err
	}
	return w.client.Do(request)
}

func (w *podWatcher) list(ctx context.Context) error {
	response, err := w.get(ctx, "")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %v", response.Status, err)
	}
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []podMetrics
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lists++
	w.version = list.Metadata.ResourceVersion
	clear(w.pods)
	for _, p := range list.Items {
		w.pods[p.Metadata.Name] = p
	}
	return nil
}

// apply does what an event says, and looks at it.
func (w *podWatcher) apply(kind string, object json.RawMessage) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events[kind]++
	if kind == "ERROR" {
		var status metav1.Status
		if err := json.Unmarshal(object, &status); err != nil {
			return err
		}
		w.refused[status.Message]++
		if status.Code == http.StatusGone {
			w.version = ""
		}
		return errors.New(status.Message)
	}
	var version struct {
		Metadata struct{ ResourceVersion string }
	}
	var p podMetrics
	if err := errors.Join(json.Unmarshal(object, &version), json.Unmarshal(object, &p)); err != nil {
		return err
	}
	w.version = version.Metadata.ResourceVersion
	name := p.Metadata.Name
	before, known := w.pods[name]
	fault := ""
	switch kind {
	case "BOOKMARK":
		return nil
	case "DELETED":
		if !known {
			fault = "deleted and was not there"
		}
		delete(w.pods, name)
	case "ADDED", "MODIFIED":
		if err := rightLife(&p, w.agents); err != nil {
			fault = err.Error()
		}
		if before.Metadata.Labels["life"] == p.Metadata.Labels["life"] && p.Timestamp.Before(before.Timestamp) {
			fault = fmt.Sprintf("its time went back from %v to %v", before.Timestamp, p.Timestamp)
		}
		w.pods[name] = p
	default:
		fault = "an event of a kind that there isn't"
	}
	if fault != "" {
		w.wrong = append(w.wrong, fmt.Sprintf("%s %s %s: %s", time.Now().Format(time.StampMilli), kind, name, fault))
	}
	return nil
}

// agrees compares what the watcher has with an answer: it may be a sample ahead or behind.
func (w *podWatcher) agrees(items []podMetrics) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, item := range items {
		if item.Metadata.Namespace != killedNamespace {
			continue
		}
		n++
		has, ok := w.pods[item.Metadata.Name]
		if !ok || has.Metadata.Labels["life"] != item.Metadata.Labels["life"] {
			return fmt.Errorf("the watcher has %+v, and the answer %+v", has, item)
		}
		if off := has.Timestamp.Sub(item.Timestamp).Abs(); off > resolution+time.Second {
			return fmt.Errorf("the watcher's %s is %v away", item.Metadata.Name, off)
		}
	}
	if n != len(w.pods) {
		return fmt.Errorf("the watcher has %d pods, the answer %d", len(w.pods), n)
	}
	return nil
}

// String tells what happened to it.
func (w *podWatcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("the watcher: events %v, %d lists, %d broken connections, refused %v, at version %s", w.events, w.lists, w.broken, w.refused, w.version)
}

func (w *podWatcher) end() {
	w.t.Helper()
	w.cancel()
	w.done.Wait()
	if len(w.wrong) > 0 {
		w.t.Errorf("%d events were wrong: %v", len(w.wrong), w.wrong[:min(5, len(w.wrong))])
	}
	w.t.Log(w)
	if w.events["MODIFIED"] == 0 || w.events["ADDED"] == 0 || w.events["DELETED"] == 0 {
		w.t.Error("kinds of events are missing")
	}
}
