package watcher_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

func TestConfig(t *testing.T) {
	w := newWorld(t)
	good := func() watcher.Config {
		c := watcher.DefaultConfig()
		c.Conn, c.Rest, c.Streams = w.conn, w.front.rest(), stream.Streams{Cluster: cluster}
		return c
	}
	if _, err := watcher.New(good()); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*watcher.Config){
		"no connection":    func(c *watcher.Config) { c.Conn = nil },
		"unknown kind":     func(c *watcher.Config) { c.Resources = []string{"pods", "gadgets"} },
		"cluster name":     func(c *watcher.Config) { c.Streams.Cluster = "a.b" },
		"kubeconfig":       func(c *watcher.Config) { c.Rest, c.Kubeconfig = nil, "no/such/file" },
		"not in a cluster": func(c *watcher.Config) { c.Rest = nil },
		"credentials":      func(c *watcher.Config) { c.Rest.TLSClientConfig.CAFile = "no/such/file" },
		"negative":         func(c *watcher.Config) { c.SnapshotEvents = -1 },
		"back-off":         func(c *watcher.Config) { c.RetryFirst = time.Hour },
		"lease": func(c *watcher.Config) {
			c.LeaderElection.Enabled, c.LeaderElection.RenewDeadline = true, time.Hour
		},
	} {
		c := good()
		spoil(&c)
		if _, err := watcher.New(c); err == nil {
			t.Errorf("%s: New took it", name)
		}
	}
	var p watcher.Pace
	for _, text := range []string{"leases", "gadgets=1s", "*.example.com=1s", "foos.v1.example.com=1s", "foos.=1s", "leases=x", "leases=-1s"} {
		if p.Set(text) == nil {
			t.Errorf("--pace %q was taken", text)
		}
	}
	var custom watcher.CustomResources
	for _, text := range []string{"foos", ".example.com", "foos..com", "*", "foos.example.com,Foos.example.com"} {
		if custom.Set(text) == nil {
			t.Errorf("--custom-resources %q was taken", text)
		}
	}
	custom = nil
	if err := custom.Set("foos.example.com, *.example.org,,bars.v1.example.com"); err != nil || custom.String() != "foos.example.com,*.example.org,bars.v1.example.com" {
		t.Errorf("%v, %v", custom.String(), err)
	}
	if err := p.Set("pods=1m, leases=30s,foos.example.com=5s,"); err != nil || p.String() != "foos.example.com=5s,leases=30s,pods=1m0s" {
		t.Errorf("%v, %v", p.String(), err)
	}
}

func TestFlags(t *testing.T) {
	c := watcher.DefaultConfig()
	fs := pflag.NewFlagSet("state", pflag.ContinueOnError)
	c.AddFlags(fs)
	c.AddLeaderElectionFlags(fs)
	err := fs.Parse(strings.Fields("--resources=nodes,pods --custom-resources=foos.example.com --custom-resources=*.example.org --custom-resource-state-config=c --custom-resource-state-config-file=f --continue-without-custom-resource-state-config-file --pace=leases=30s --snapshot-events=5 --snapshot-interval=1m --max-buffered-bytes=7 " +
		"--retry-max-interval=9s --leader-elect --leader-elect-lease-duration=20s --leader-elect-renew-deadline=15s --leader-elect-retry-period=3s " +
		"--leader-elect-resource-name=n --leader-elect-resource-namespace=ns"))
	if err != nil {
		t.Fatal(err)
	}
	want := watcher.DefaultConfig()
	want.Resources, want.Pace = []string{"nodes", "pods"}, watcher.Pace{"leases": 30 * time.Second}
	want.CustomResources = watcher.CustomResources{{Group: "example.com", Version: "*", Kind: "*", Plural: "foos"}, {Group: "example.org", Version: "*", Kind: "*", Plural: "*"}}
	want.CustomResourceState = customresource.Options{Config: "c", ConfigFile: "f", ContinueWithoutFile: true}
	want.SnapshotEvents, want.SnapshotInterval, want.MaxBuffered, want.RetryLast = 5, time.Minute, 7, 9*time.Second
	want.LeaderElection = watcher.LeaderElection{Enabled: true, Namespace: "ns", Name: "n",
		LeaseDuration: 20 * time.Second, RenewDeadline: 15 * time.Second, RetryPeriod: 3 * time.Second}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if err := fs.Parse([]string{"--pace=gadgets=1s"}); err == nil {
		t.Error("--pace of an unknown kind was taken")
	}
}
