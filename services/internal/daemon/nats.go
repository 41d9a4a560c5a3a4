package daemon

import (
	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// NATS are the flags by which a service finds its server and its cluster's streams.
type NATS struct {
	Cluster string
	Conn    stream.ConnConfig
}

// Add declares the flags.
func (n *NATS) Add(fs *pflag.FlagSet) {
	fs.StringVar(&n.Cluster, "cluster", "default", "Name of the cluster: a token of every subject and part of the streams' names. Letters, digits and dashes.")
	fs.StringVar(&n.Conn.URL, "nats-url", "nats://127.0.0.1:4222", "Address of the NATS server with JetStream; several, comma-separated, for a cluster of servers.")
	fs.StringVar(&n.Conn.Creds, "nats-creds", "", "File with the user's credentials (JWT and nkey seed) for NATS.")
	fs.StringVar(&n.Conn.TLSCA, "nats-tls-ca", "", "File with the CA certificates that the NATS server's certificate is checked against; the system's where empty.")
	fs.StringVar(&n.Conn.TLSCert, "nats-tls-cert", "", "File with the client certificate for NATS; --nats-tls-key goes with it.")
	fs.StringVar(&n.Conn.TLSKey, "nats-tls-key", "", "File with the client certificate's key.")
}
