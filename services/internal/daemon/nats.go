package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// NATS are the flags by which a service finds its server and its cluster's streams.
type NATS struct {
	// Cluster is the cluster's name, a token of every subject.
	Cluster string
	// Conn says how to reach NATS.
	Conn stream.ConnConfig
}

// Add declares the flags.
func (n *NATS) Add(fs *pflag.FlagSet) {
	AddCluster(fs, &n.Cluster)
	fs.StringVar(&n.Conn.URL, "nats-url", "nats://127.0.0.1:4222", "Address of the NATS server with JetStream; several, comma-separated, for a cluster of servers.")
	fs.StringVar(&n.Conn.Creds, "nats-creds", "", "File with the user's credentials (JWT and nkey seed) for NATS.")
	fs.StringVar(&n.Conn.TLSCA, "nats-tls-ca", "", "File with the CA certificates that the NATS server's certificate is checked against; the system's where empty.")
	fs.StringVar(&n.Conn.TLSCert, "nats-tls-cert", "", "File with the client certificate for NATS; --nats-tls-key goes with it.")
	fs.StringVar(&n.Conn.TLSKey, "nats-tls-key", "", "File with the client certificate's key.")
}

// AddCluster declares --cluster.
func AddCluster(fs *pflag.FlagSet, cluster *string) {
	fs.StringVar(cluster, "cluster", "default", "Name of the cluster: a token of every subject and part of the streams' names. Letters, digits and dashes.")
}

// Connect opens the connection under the service's name. A server that is away is no error: the connection is made
// when it comes.
func (n *NATS) Connect(ctx context.Context, service string, log *slog.Logger) (*stream.Conn, error) {
	if err := stream.CheckCluster(n.Cluster); err != nil {
		return nil, err
	}
	cfg := n.Conn
	cfg.Name, cfg.Log = "headwater-"+service, log
	return stream.Connect(ctx, cfg)
}

// LogStreams are the flags of the streams that the state service keeps.
type LogStreams struct {
	replicas int
	maxAge   time.Duration
	maxBytes int64
}

// Add declares the flags.
func (l *LogStreams) Add(fs *pflag.FlagSet) {
	addReplicas(fs, &l.replicas)
	fs.DurationVar(&l.maxAge, "objects-max-age", stream.DefaultObjectsMaxAge, "How long the log of object changes keeps an event. It must outlast the time between two snapshots.")
	fs.Int64Var(&l.maxBytes, "objects-max-bytes", stream.DefaultObjectsMaxBytes, "Largest size of the log of object changes on disk, bytes; the oldest events go first. The NATS server reserves it.")
}

// Settings are the streams as the flags say.
func (l *LogStreams) Settings(cluster string) stream.Streams {
	return stream.Streams{Cluster: cluster, Replicas: l.replicas, ObjectsMaxAge: l.maxAge, ObjectsMaxBytes: l.maxBytes}
}

// UsageStream are the flags of the stream that the ingest service keeps.
type UsageStream struct {
	replicas int
	maxAge   time.Duration
}

// Add declares the flags.
func (u *UsageStream) Add(fs *pflag.FlagSet) {
	addReplicas(fs, &u.replicas)
	u.maxAge = stream.DefaultUsageMaxAge
	fs.Var((*usageAge)(&u.maxAge), "usage-max-age", "How long the last usage of a node that no longer reports is kept on NATS; at least 1m, and twice --metric-resolution.")
}

// Settings are the streams as the flags say.
func (u *UsageStream) Settings(cluster string) stream.Streams {
	return stream.Streams{Cluster: cluster, Replicas: u.replicas, UsageMaxAge: u.maxAge}
}

func addReplicas(fs *pflag.FlagSet, count *int) {
	*count = 1
	fs.Var((*replicas)(count), "nats-replicas", "Number of NATS servers that hold each stream: 1, or 3 in a cluster of servers; at most 5.")
}

// replicas is a number of servers that NATS can hold a stream on.
type replicas int

// Set implements pflag.Value.
func (r *replicas) Set(text string) error {
	const most = 5
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return fmt.Errorf("it must be a number from 1 to %d", most)
	}
	*r = replicas(n)
	return nil
}

// String implements pflag.Value.
func (r *replicas) String() string { return strconv.Itoa(int(*r)) }

// Type implements pflag.Value.
func (r *replicas) Type() string { return "int" }

// usageAge is how long usage may be kept. With less than a few resolutions, samples would be gone before the next ones.
type usageAge time.Duration

// Set implements pflag.Value.
func (a *usageAge) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	if d < time.Minute {
		return errors.New("it must be at least 1m, and some times --metric-resolution")
	}
	*a = usageAge(d)
	return nil
}

// String implements pflag.Value.
func (a *usageAge) String() string { return time.Duration(*a).String() }

// Type implements pflag.Value.
func (a *usageAge) Type() string { return "duration" }
