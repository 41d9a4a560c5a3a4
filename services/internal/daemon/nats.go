package daemon

import (
	"context"
	"log/slog"
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
	fs.DurationVar(&u.maxAge, "usage-max-age", stream.DefaultUsageMaxAge, "How long the last usage of a node that no longer reports is kept on NATS.")
}

// Settings are the streams as the flags say.
func (u *UsageStream) Settings(cluster string) stream.Streams {
	return stream.Streams{Cluster: cluster, Replicas: u.replicas, UsageMaxAge: u.maxAge}
}

func addReplicas(fs *pflag.FlagSet, replicas *int) {
	fs.IntVar(replicas, "nats-replicas", 1, "Number of NATS servers that hold each stream: 1, or 3 in a cluster of servers.")
}
