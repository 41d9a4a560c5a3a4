package watcher

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/kubeconfig"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Config is what the state service needs to know. DefaultConfig gives the defaults; AddFlags and AddLeaderElectionFlags
// bind it to flags.
type Config struct {
	// Conn is the connection to NATS. The service doesn't close it.
	Conn *stream.Conn
	// Streams are the settings of the cluster's streams. The service creates the log and its snapshots, or changes them
	// to these.
	Streams stream.Streams

	// Rest is how the API server is reached; nil: as Kubeconfig says.
	Rest *rest.Config
	// Kubeconfig is a file; "" for the service account of the pod that the process runs in.
	Kubeconfig string

	// Resources are the kinds to watch, by resource name ("pods"); empty for all of objects.Kinds. What the log has of
	// other kinds is deleted there: two services that disagree on this must not write to one log.
	Resources []string
	// CustomResources are the custom resources to watch beside Resources, together with those of CustomResourceState. While
	// there are none, CustomResourceDefinitions are not even asked for, and what the log has of custom resources is deleted
	// there.
	CustomResources CustomResources
	// CustomResourceState says where the configuration of custom resources is, whose kinds are watched, too. A file is
	// followed: what it says is wanted as soon as it changes. What it says of metrics is not looked at.
	CustomResourceState customresource.Options
	// Pace is the least time between two states of one object in the log, by resource, or by "plural.group" of custom
	// resources, for all of their versions; none where absent. The newest
	// state is always written, at the latest that much later. Creations and deletions don't wait. Worth it for Leases,
	// which change every 10 s for each node.
	Pace Pace

	// SnapshotEvents and SnapshotInterval: a snapshot is written after that many events (default 20,000), or after that
	// time (default 5 min) if anything has changed. More often costs writes, less often costs consumers time at their
	// start. The interval must be well below the log's age (Streams.ObjectsMaxAge).
	SnapshotEvents   int
	SnapshotInterval time.Duration

	// MaxBuffered bounds the events that NATS has not yet acknowledged, bytes; default 64 MB. Beyond it, only the newest
	// state of each object is kept for the log.
	MaxBuffered int

	// RetryFirst and RetryLast bound the back-off with which a kind is tried again that the API server doesn't give;
	// default 500 ms and 30 s.
	RetryFirst, RetryLast time.Duration

	// LeaderElection is for more than one service on one log.
	LeaderElection LeaderElection

	Log      *slog.Logger
	Registry prometheus.Registerer // nil for none
}

// LeaderElection says how the services of one log agree on which of them writes: by a Lease at the API server.
type LeaderElection struct {
	// Enabled: wait for the Lease before writing. Without it, a second service on the log makes both of them write in
	// turns, and start over each time: nothing is lost, but much is done in vain.
	Enabled bool
	// Namespace and Name of the Lease; default: the pod's own namespace, or "default", and "headwater-state".
	Namespace, Name string
	// Identity is what the Lease calls this process; default: the host's name and something random.
	Identity string
	// LeaseDuration is how long a Lease that isn't renewed holds off others; default 15 s.
	LeaseDuration time.Duration
	// RenewDeadline is how long the leader tries to renew before it gives up; default 10 s, below LeaseDuration.
	RenewDeadline time.Duration
	// RetryPeriod is the time between two tries; default 2 s.
	RetryPeriod time.Duration
}

// DefaultConfig has the defaults of everything that has one.
func DefaultConfig() Config {
	return Config{
		SnapshotEvents: 20_000, SnapshotInterval: 5 * time.Minute, MaxBuffered: 64 << 20,
		RetryFirst: 500 * time.Millisecond, RetryLast: 30 * time.Second,
		LeaderElection: LeaderElection{
			Namespace: ownNamespace(), Name: "headwater-state",
			LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		},
	}
}

// ownNamespace is the namespace of the pod that the process runs in.
func ownNamespace() string {
	text, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if namespace := strings.TrimSpace(string(text)); err == nil && namespace != "" {
		return namespace
	}
	return "default"
}

// complete puts defaults where there is nothing.
func (c Config) complete() Config {
	d := DefaultConfig()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	fill(&c.SnapshotEvents, d.SnapshotEvents)
	fill(&c.SnapshotInterval, d.SnapshotInterval)
	fill(&c.MaxBuffered, d.MaxBuffered)
	fill(&c.RetryFirst, d.RetryFirst)
	fill(&c.RetryLast, d.RetryLast)
	l, e := &c.LeaderElection, &d.LeaderElection
	fill(&l.Namespace, e.Namespace)
	fill(&l.Name, e.Name)
	fill(&l.LeaseDuration, e.LeaseDuration)
	fill(&l.RenewDeadline, e.RenewDeadline)
	fill(&l.RetryPeriod, e.RetryPeriod)
	return c
}

func fill[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// Validate says what is wrong with the settings; nil for nothing.
func (c *Config) Validate() error {
	if _, err := c.kinds(); err != nil {
		return err
	}
	switch l := c.complete().LeaderElection; {
	case c.Conn == nil:
		return errors.New("there is no connection to NATS")
	case c.SnapshotEvents < 0 || c.SnapshotInterval < 0 || c.MaxBuffered < 0 || c.RetryFirst < 0 || c.RetryLast < 0:
		return errors.New("a number of events or bytes, or a length of time, is negative")
	case c.RetryLast < c.RetryFirst:
		return fmt.Errorf("the back-off's last step, %v, is below its first, %v", c.RetryLast, c.RetryFirst)
	case l.Enabled && (l.LeaseDuration <= l.RenewDeadline || l.RenewDeadline <= l.RetryPeriod*6/5):
		return fmt.Errorf("--leader-elect-lease-duration (%v) must be above --leader-elect-renew-deadline (%v), and that above 1.2 times --leader-elect-retry-period (%v)",
			l.LeaseDuration, l.RenewDeadline, l.RetryPeriod)
	}
	return stream.CheckCluster(c.Streams.Cluster)
}

// kinds are those to watch.
func (c *Config) kinds() ([]objects.Kind, error) {
	all := objects.Kinds()
	if len(c.Resources) == 0 {
		return all, nil
	}
	var kinds []objects.Kind
	for _, resource := range slices.Compact(slices.Sorted(slices.Values(c.Resources))) {
		kind, ok := objects.ByResource(resource)
		if !ok {
			return nil, fmt.Errorf("there is no resource %q to watch; there are: %s", resource, strings.Join(objects.Resources(), ", "))
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// rest is how the API server is reached.
func (c *Config) rest() (*rest.Config, error) {
	if c.Rest != nil {
		return c.Rest, nil
	}
	return kubeconfig.Load(c.Kubeconfig, "--kubeconfig")
}
