package stream

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater-metrics/headwater/schemas"
)

// Streams are the settings of a cluster's streams. The zero value of every field but Cluster means its default.
type Streams struct {
	// Cluster is part of the streams' names and a token of their subjects: 1 to 63 letters, digits and dashes.
	Cluster string
	// Replicas is the number of servers that hold each stream; default 1. Use 3 in a NATS cluster of 3 or more.
	Replicas int
	// ObjectsMaxAge is how much history the log keeps; default 24 h. It must be longer than the time between two
	// snapshots, or a consumer that starts has to wait for the next one.
	ObjectsMaxAge time.Duration
	// ObjectsMaxBytes bounds the log on disk, bytes; default 8 GiB, a day of 60 events a
	// second. The oldest events go first. The server reserves it:
	// where JetStream is allowed less, the stream cannot be created.
	ObjectsMaxBytes int64
	// UsageMaxAge is how long the usage of a node that no longer reports is kept; default 10 min.
	UsageMaxAge time.Duration
}

// Defaults of Streams.
const (
	DefaultObjectsMaxAge   = 24 * time.Hour
	DefaultObjectsMaxBytes = 8 << 30
	DefaultUsageMaxAge     = 10 * time.Minute

	// For an embedded server on one machine.
	EmbeddedObjectsMaxAge   = time.Hour
	EmbeddedObjectsMaxBytes = 1 << 30
)

// UsagePerNode is how many samples of each node the usage stream keeps: the newest, and the one before, so that a
// reader can compute a rate itself, and so that a replay under writing misses no node. It keeps as many scrape reports.
const UsagePerNode = 2

var clusterName = regexp.MustCompile(`^[a-zA-Z0-9-]{1,63}$`)

// CheckCluster says why name cannot be the name of a cluster; nil where it can.
func CheckCluster(name string) error {
	if !clusterName.MatchString(name) {
		return fmt.Errorf("%w: the cluster name %q must be 1 to 63 letters, digits and dashes, as it is part of stream names and subjects", ErrConfig, name)
	}
	return nil
}

func objectsStream(cluster string) string   { return "K8S_" + cluster + "_OBJECTS" }
func snapshotsStream(cluster string) string { return "K8S_" + cluster + "_SNAPSHOTS" }
func usageStream(cluster string) string     { return "K8S_" + cluster + "_USAGE" }

// EnsureLog creates the log and its snapshots, or changes them to these settings; the state service calls it before it
// writes. While NATS is away or has no leader it tries again, until the context ends. Other errors are final and say
// what to change.
func EnsureLog(ctx context.Context, c *Conn, s Streams) error {
	if err := CheckCluster(s.Cluster); err != nil {
		return err
	}
	if err := ensure(ctx, c, s.objects()); err != nil {
		return err
	}
	return ensure(ctx, c, s.snapshots())
}

// EnsureUsage is EnsureLog for the usage stream; the ingest service calls it before it writes.
func EnsureUsage(ctx context.Context, c *Conn, s Streams) error {
	if err := CheckCluster(s.Cluster); err != nil {
		return err
	}
	return ensure(ctx, c, s.usage())
}

// Ensure is EnsureLog and EnsureUsage.
func Ensure(ctx context.Context, c *Conn, s Streams) error {
	if err := EnsureLog(ctx, c, s); err != nil {
		return err
	}
	return EnsureUsage(ctx, c, s)
}

// Recreate deletes the log with its snapshots and creates them empty. Every consumer notices and rebuilds. It is what a
// writer does that can't replay the log (ErrTrimmed): whatever vanished unseen would otherwise never be deleted. All
// history is lost.
func Recreate(ctx context.Context, c *Conn, s Streams) error {
	if err := CheckCluster(s.Cluster); err != nil {
		return err
	}
	for _, name := range []string{snapshotsStream(s.Cluster), objectsStream(s.Cluster)} {
		err := retry(ctx, c, "delete the stream "+name, func(ctx context.Context) error {
			err := c.js.DeleteStream(ctx, name)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return EnsureLog(ctx, c, s)
}

func (s Streams) objects() jetstream.StreamConfig {
	config := s.common(objectsStream(s.Cluster), "Headwater: every change of every object, in order", schemas.AllObjects(s.Cluster))
	config.MaxAge = or(s.ObjectsMaxAge, DefaultObjectsMaxAge)
	config.MaxBytes = or(s.ObjectsMaxBytes, DefaultObjectsMaxBytes)
	return config
}

func (s Streams) snapshots() jetstream.StreamConfig {
	config := s.common(snapshotsStream(s.Cluster), "Headwater: the objects as of a position of the log", schemas.AllSnapshots(s.Cluster))
	config.MaxMsgsPerSubject = 1
	return config
}

func (s Streams) usage() jetstream.StreamConfig {
	config := s.common(usageStream(s.Cluster), "Headwater: the latest usage of every node", schemas.AllUsage(s.Cluster), schemas.AllScrapes(s.Cluster))
	config.MaxMsgsPerSubject = UsagePerNode
	config.MaxAge = or(s.UsageMaxAge, DefaultUsageMaxAge)
	return config
}

// common is what all three share. No compression: it makes streams with a limit per subject ten times slower, and the
// snapshots are compressed already. File storage: the log must survive the server.
func (s Streams) common(name, description string, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              name,
		Description:       description,
		Subjects:          subjects,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		Storage:           jetstream.FileStorage,
		Compression:       jetstream.NoCompression,
		Replicas:          or(s.Replicas, 1),
		MaxBytes:          -1,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: -1,
		AllowDirect:       true,
	}
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func ensure(ctx context.Context, c *Conn, config jetstream.StreamConfig) error {
	err := retry(ctx, c, "create or update the stream "+config.Name, func(ctx context.Context) error {
		_, err := c.js.CreateOrUpdateStream(ctx, config)
		return err
	})
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == errStorageResources || api.ErrorCode == errInsufficientResources) {
		return fmt.Errorf("%w: JetStream may not use as much storage as the stream reserves (%d bytes): "+
			"lower the log's limit, or raise the server's max_file_store", err, config.MaxBytes)
	}
	return err
}

// errBehind: the stream ends before what was read of it, but may only seem to; see leaderLag.
var errBehind = errors.New("the stream's leader is behind")

// Error codes of JetStream that the client library does not name.
const (
	errInsufficientResources jetstream.ErrorCode = 10023 // the server has no room
	errStorageResources      jetstream.ErrorCode = 10047 // the account or the server has no storage left
	errAccountResources      jetstream.ErrorCode = 10002 // the account's limit is reached
	errStreamStore           jetstream.ErrorCode = 10077 // storing failed: the stream's limit is reached
)

// retry repeats a request until it succeeds, fails for good, or the context ends. It logs when it begins to wait.
func retry(ctx context.Context, c *Conn, what string, request func(context.Context) error) error {
	logged := false
	last := errors.New("there was no time to try")
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		attempt, cancel := c.request(ctx)
		err := request(attempt)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("couldn't %s: %w: %w", what, ctx.Err(), explain(last))
		case !again(err):
			return fmt.Errorf("couldn't %s: %w", what, explain(err))
		}
		last = err
		if !logged {
			logged = true
			c.log.Warn("waiting for NATS to "+what, "error", explain(err))
		}
		pause(ctx, wait, c.reconnected())
	}
}

// pause waits for d, or until the channel closes or the context ends.
func pause(ctx context.Context, d time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
	}
}

// StreamInfo is what a stream's leader says of it.
type StreamInfo struct {
	Name string
	// Created is the identity of the stream: another time means another stream of the same name.
	Created time.Time
	// First is the sequence of the oldest message; Last of the newest ever written, also where it is gone.
	First, Last uint64
	Messages    uint64
	Bytes       uint64
	// Replicas is the number of servers that hold it.
	Replicas int
}

// leaderLag is how long a replica that has just become the leader may tell of an older end of the stream than the one
// before it did. Only after that time is a stream of several replicas that ends too early one that went back.
const leaderLag = 2 * time.Second

// wentBack tells whether a stream that ends before what was read of it went back. since is when it was first seen to.
func (i StreamInfo) wentBack(since *time.Time) bool {
	if since.IsZero() {
		*since = time.Now()
	}
	return i.Replicas <= 1 || time.Since(*since) > leaderLag
}

// Info reads the state of the cluster's streams, for health pages. A stream that does not exist is left out.
func Info(ctx context.Context, c *Conn, cluster string) ([]StreamInfo, error) {
	var infos []StreamInfo
	for _, name := range []string{objectsStream(cluster), snapshotsStream(cluster), usageStream(cluster)} {
		info, err := c.info(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			return nil, fmt.Errorf("couldn't read the state of the stream %s: %w", name, err)
		default:
			infos = append(infos, info)
		}
	}
	return infos, nil
}

// info asks the stream's leader once.
func (c *Conn) info(ctx context.Context, stream string) (StreamInfo, error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return StreamInfo{}, err
	}
	info := s.CachedInfo()
	return StreamInfo{
		Name: stream, Created: info.Created, First: info.State.FirstSeq, Last: info.State.LastSeq,
		Messages: info.State.Msgs, Bytes: info.State.Bytes, Replicas: info.Config.Replicas,
	}, nil
}
