package sim_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// clock is a clock that tests move. It starts now.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// everything lists all objects with their UIDs and versions.
func everything(t *testing.T, c *sim.Cluster) map[string]string {
	t.Helper()
	all := map[string]string{}
	api, err := metadata.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range apiserver.Resources() {
		list, err := api.Resource(gvr(res)).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			all[res.Name+" "+item.Namespace+" "+item.Name] = string(item.UID) + "@" + item.ResourceVersion
		}
	}
	return all
}

// A cluster that is started again is the same one: objects, versions, counters, certificates, addresses.
func TestStartedAgain(t *testing.T) {
	dir, clock := t.TempDir(), newClock()
	options := sim.Options{PodsPerNode: 10, Dir: dir, Seed: 7, Now: clock.now, Log: testenv.Logger(t)}
	first, err := sim.New(options)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	before := everything(t, first)
	pod := runningPod(t, first, 2)
	meter, _ := first.Truth().Container(pod.Namespace, pod.Name, "main")
	counter, at := meter.CPU(clock.now()), clock.now()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := first.WriteKubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	if err := first.DeletePod(pod.Namespace, pod.Name); err != nil {
		t.Fatal(err)
	}
	changed, err := first.Put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	clock.advance(time.Minute)
	second := testenv.Sim(t, options)
	if diff := cmp.Diff(before, everything(t, second)); diff != "" {
		t.Errorf("the objects differ (-before +now):\n%s", diff)
	}
	meter, _ = second.Truth().Container(pod.Namespace, pod.Name, "main")
	if meter.CPU(at) != counter || meter.CPU(clock.now()) <= counter {
		t.Errorf("the counter was %d, is %d at that time, and %d now", counter, meter.CPU(at), meter.CPU(clock.now()))
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("the kubeconfig of the first run: %v", err)
	}
	again, err := second.Put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}})
	if err != nil || again.(*corev1.ConfigMap).ResourceVersion <= changed.(*corev1.ConfigMap).ResourceVersion {
		t.Errorf("a version was given twice: %v, %v", again, err)
	}
}

// Another seed, another size or another epoch never gives another object the version of one that was there before.
func TestVersionsTellClustersApart(t *testing.T) {
	epoch := time.Now()
	seen := everything(t, testenv.Sim(t, sim.Options{Seed: 1, Epoch: epoch}))
	for _, options := range []sim.Options{
		{Seed: 2, Epoch: epoch}, {Seed: 1, Epoch: epoch, Nodes: 4}, {Seed: 1, Epoch: epoch.Add(time.Second)},
	} {
		for key, version := range everything(t, testenv.Sim(t, options)) {
			if seen[key] == version {
				t.Errorf("%+v: %s is again %s", options, key, version)
			}
		}
	}
	same := everything(t, testenv.Sim(t, sim.Options{Seed: 1, Epoch: epoch}))
	maps.DeleteFunc(same, func(key, version string) bool { return seen[key] == version })
	for key := range same {
		// Ports and the authority are drawn anew without a directory.
		if !strings.HasPrefix(key, "nodes ") && key != "configmaps kube-system extension-apiserver-authentication" {
			t.Errorf("%s is another one with the same seed and epoch", key)
		}
	}
}

func TestBadOptions(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := testenv.Sim(t, sim.Options{Bare: true})
	for name, options := range map[string]sim.Options{
		"nodes":     {Nodes: -1},
		"pods":      {PodsPerNode: 5000},
		"churn":     {Churn: -1},
		"address":   {Address: "nowhere"},
		"directory": {Dir: dir},
		"in use":    {Bare: true, Address: strings.TrimPrefix(taken.URL(), "https://")},
	} {
		c, err := sim.New(options)
		if err == nil {
			c.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		if !strings.Contains(err.Error(), "couldn't") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Leases are renewed and pods churn without anybody losing sight.
func TestBackground(t *testing.T) {
	c := testenv.Sim(t, sim.Options{PodsPerNode: 10, LeaseInterval: 100 * time.Millisecond, Churn: 300})
	pods := podInformer(t, c)
	leases := client(t, c).CoordinationV1().Leases("kube-node-lease")
	for _, node := range c.Truth().Nodes() {
		lease, err := leases.Get(t.Context(), node, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, soon, func() error {
			now, err := leases.Get(t.Context(), node, metav1.GetOptions{})
			if err == nil && !now.Spec.RenewTime.After(lease.Spec.RenewTime.Time) {
				err = errNotYet
			}
			return err
		})
	}
	before := truthOf(t, c)
	testenv.Eventually(t, soon, func() error {
		changed := 0
		for key, version := range truthOf(t, c) {
			if before[key] != version {
				changed++
			}
		}
		if changed < 10 {
			return errNotYet
		}
		return nil
	})
	// The informer sees versions of the past while things happen, but only such as were there.
	if len(pods.GetStore().List()) == 0 {
		t.Error("the informer is empty")
	}
	// As many pods run as at first: each that went was replaced.
	testenv.Eventually(t, soon, func() error {
		if n := len(c.Truth().Pods()); n != 30 {
			return errNotYet
		}
		return nil
	})
}

// With a host name, other machines reach everything under it, each kubelet on a port of its own.
func TestHost(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Host: "localhost", PodsPerNode: 3})
	if !strings.HasPrefix(c.URL(), "https://localhost:") {
		t.Errorf("the URL is %s", c.URL())
	}
	ports := map[string]bool{}
	for _, node := range c.Truth().Nodes() {
		url := kubeletURL(t, c, node)
		ports[url] = true
		code, body, err := scrape(t.Context(), c, scraper(c), url)
		if err != nil || code != 200 || len(parse(t, body)["pod_cpu_usage_seconds_total"].GetMetric()) != 3 {
			t.Errorf("%s at %s: %d, %v", node, url, code, err)
		}
	}
	if len(ports) != 3 {
		t.Errorf("the kubelets are at %v", ports)
	}
}
