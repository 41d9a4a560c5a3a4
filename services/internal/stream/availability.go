package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater-metrics/headwater/schemas"
)

// PublishAvailability stores the cluster's availability (schemas.Availability) in the place of the last one. It tries
// once: what failed is out of date by the time of the next try. The stream is that of the snapshots; see EnsureLog.
func PublishAvailability(ctx context.Context, c *Conn, cluster string, data []byte) error {
	if err := CheckCluster(cluster); err != nil {
		return err
	}
	ctx, cancel := c.request(ctx)
	defer cancel()
	// The client library's own second try, where no stream answers, would outlive the moment.
	if _, err := c.js.Publish(ctx, schemas.AvailabilitySubject(cluster), data, jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("couldn't publish which kinds are available: %w", explain(err))
	}
	return nil
}

// WatchAvailability calls f with the cluster's availability: the last one that was published, if there is one, and then
// each as it comes, until the context ends, whose error it returns, or the connection was closed (ErrClosed). It waits
// where NATS is away or there is no stream yet, and goes on where the stream was deleted and created again; what was
// published in between may be left out if something newer was. The same bytes are not told twice in a row. data is valid
// only during the call.
func WatchAvailability(ctx context.Context, c *Conn, cluster string, f func(data []byte)) error {
	if err := CheckCluster(cluster); err != nil {
		return err
	}
	conn, release, err := c.open(ctx, "availability")
	if err != nil {
		return err
	}
	defer release()
	var told []byte
	tell := func(data []byte) {
		if told == nil || !bytes.Equal(data, told) {
			told = append(make([]byte, 0, len(data)), data...)
			f(told)
		}
	}
	for {
		err := watchAvailability(ctx, conn, cluster, tell)
		changed := (*rebuild)(nil)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case conn.nc.IsClosed():
			return ErrClosed
		case !errors.As(err, &changed):
			conn.log.Warn("can't read which kinds are available, trying again", "error", explain(err))
		}
		pause(ctx, 500*time.Millisecond, conn.reconnected())
	}
}

// watchAvailability reads one stream, as long as it is that one. A *rebuild says that it is not, or not there.
func watchAvailability(ctx context.Context, conn *Conn, cluster string, tell func([]byte)) error {
	name := snapshotsStream(cluster)
	var info StreamInfo
	err := retry(ctx, conn, "read the state of the stream "+name, func(ctx context.Context) (err error) {
		info, err = conn.info(ctx, name)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return &rebuild{reason: reasonRecreated, text: "there is no stream " + name}
	case err != nil:
		return err
	}
	t := &tail{conn: conn, stream: name, batch: 16, filter: schemas.AvailabilitySubject(cluster), identity: info.Created}
	defer t.close()
	for {
		m, err := t.next(ctx)
		if err != nil {
			return err
		}
		tell(m.Data)
	}
}
