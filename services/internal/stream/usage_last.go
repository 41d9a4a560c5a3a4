package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater-metrics/headwater/schemas"
)

// LastUsage reads the newest sample of one node: what an ingester needs to compute its first rate. ErrNoMessage where
// the node has none, or the stream does not exist. While NATS is away it tries again until the context ends, and logs
// nothing: thousands may wait at once.
func LastUsage(ctx context.Context, c *Conn, cluster, node string) ([]byte, error) {
	subject := schemas.UsageSubject{Cluster: cluster, Node: node}.String()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		data, err := c.directLast(ctx, usageStream(cluster), subject)
		switch {
		case err == nil:
			return data, nil
		case ctx.Err() != nil || !again(err):
			return nil, fmt.Errorf("couldn't read the last usage of node %s: %w", node, explain(err))
		}
		pause(ctx, wait, c.reconnected())
	}
}

// AllLastUsage calls f with the newest sample of every node. data is valid only during the call. No error where the
// stream does not exist.
func AllLastUsage(ctx context.Context, c *Conn, cluster string, f func(subject string, data []byte) error) error {
	err := retry(ctx, c, "read the state of the usage stream", func(ctx context.Context) error {
		_, err := c.info(ctx, usageStream(cluster))
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var last map[string][]byte
	r, err := newReplay(ReplayConfig{
		Conn: c, Cluster: cluster, Name: "last-usage",
		Begin: func() Sink {
			last = map[string][]byte{}
			return SinkFunc(func(e Event) error {
				if !IsUsage(cluster, e.Subject) {
					return nil
				}
				last[e.Subject] = append(last[e.Subject][:0], e.Data...)
				return nil
			})
		},
	}, true)
	if err != nil {
		return err
	}
	if err := r.run(ctx, true); err != nil {
		return err
	}
	for subject, data := range last {
		if err := f(subject, data); err != nil {
			return err
		}
	}
	return nil
}

// directLast reads the newest message of a subject from any server that has the stream, as it is: a third of the cost of
// asking the leader, which sends it within JSON. What was stored in the last moments may be missing where the stream has
// replicas. ErrNoMessage where there is none.
func (c *Conn) directLast(ctx context.Context, stream, subject string) ([]byte, error) {
	bounded, cancel := c.request(ctx)
	defer cancel()
	m, err := c.nc.RequestWithContext(bounded, "$JS.API.DIRECT.GET."+stream+"."+subject, nil)
	switch {
	case errors.Is(err, nats.ErrNoResponders): // no such stream, or one that somebody made without direct access
		last, err := c.lastMessage(ctx, stream, subject)
		if err != nil {
			return nil, err
		}
		return last.Data, nil
	case err != nil:
		return nil, err
	}
	switch status := m.Header.Get("Status"); status {
	case "":
		return m.Data, nil
	case "404":
		return nil, fmt.Errorf("%w: %s", ErrNoMessage, m.Header.Get("Description"))
	default:
		return nil, fmt.Errorf("the server answers %s %s", status, m.Header.Get("Description"))
	}
}
