package watcher

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
)

// AddFlags binds what is watched, and how it is written, to flags. The defaults are those that c holds. --kubeconfig
// is not among them: a process has one for all of its parts.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&c.Resources, "resources", c.Resources,
		"Kinds to watch, comma-separated, for example \"nodes,pods,deployments\"; all that Headwater knows where empty. What the log has of other kinds is deleted there.")
	fs.Var(&c.CustomResources, "custom-resources",
		"Custom resources to watch besides, comma-separated, as kubectl names them: \"foos.example.com\", \"foos.v1.example.com\", or \"*.example.com\" for all of a group. What the log has of others is deleted there.")
	c.CustomResourceState.AddConfigFlags(fs)
	fs.Var(&c.Pace, "pace",
		"Least time between two states of one object in the log, by kind, for example \"leases=30s,foos.example.com=5s\". The newest state is written at the latest that much later; creations and deletions at once.")
	fs.IntVar(&c.SnapshotEvents, "snapshot-events", c.SnapshotEvents,
		"Write a snapshot after this many events.")
	fs.DurationVar(&c.SnapshotInterval, "snapshot-interval", c.SnapshotInterval,
		"Write a snapshot after this time at the latest, if anything has changed. Keep it well below --objects-max-age.")
	fs.IntVar(&c.MaxBuffered, "max-buffered-bytes", c.MaxBuffered,
		"Size of the buffer for events that NATS has not acknowledged. Beyond it only the newest state of each object is kept for the log.")
	fs.DurationVar(&c.RetryLast, "retry-max-interval", c.RetryLast,
		"Longest time between two tries at a kind that the API server doesn't give.")
}

// AddLeaderElectionFlags binds the election to flags that are named as those of Kubernetes' own components.
func (c *Config) AddLeaderElectionFlags(fs *pflag.FlagSet) {
	l := &c.LeaderElection
	fs.BoolVar(&l.Enabled, "leader-elect", l.Enabled,
		"Write only while holding a Lease, so that a second process can stand by. Needed wherever more than one runs.")
	fs.DurationVar(&l.LeaseDuration, "leader-elect-lease-duration", l.LeaseDuration,
		"How long others wait before they take a Lease that is no longer renewed.")
	fs.DurationVar(&l.RenewDeadline, "leader-elect-renew-deadline", l.RenewDeadline,
		"How long the leader tries to renew the Lease before it stops writing; less than the lease duration.")
	fs.DurationVar(&l.RetryPeriod, "leader-elect-retry-period", l.RetryPeriod,
		"Time between two tries to take or renew the Lease.")
	fs.StringVar(&l.Name, "leader-elect-resource-name", l.Name,
		"Name of the Lease. One for each log.")
	fs.StringVar(&l.Namespace, "leader-elect-resource-namespace", l.Namespace,
		"Namespace of the Lease.")
}

// CustomResources is a flag's value of the form "foos.example.com,*.example.org".
type CustomResources []customresource.Pattern

// String is what Set takes.
func (c *CustomResources) String() string {
	var all []string
	for _, p := range *c {
		all = append(all, p.String())
	}
	return strings.Join(all, ",")
}

// Set adds the patterns of a comma-separated list.
func (c *CustomResources) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		p, err := customresource.ParsePattern(part)
		if err != nil {
			return fmt.Errorf("couldn't read the custom resources: %w", err)
		}
		*c = append(*c, p)
	}
	return nil
}

// Type names the form, for --help.
func (c *CustomResources) Type() string { return "plural.group,..." }
