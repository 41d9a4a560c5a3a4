package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// Three servers hold three copies of each stream; the one that leads the log goes away in the middle of appending and
// another one takes over. Nothing that was appended is lost, repeated or out of order, for the log and for who reads it.
func TestClusterLosesItsLeader(t *testing.T) {
	const events = 3000
	servers, url := newCluster(t, 3)
	c := connect(t, stream.ConnConfig{URL: url, Log: testenv.Logger(t)})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := stream.Ensure(ctx, c, stream.Streams{Cluster: cluster, Replicas: 3, ObjectsMaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 100)
	r, views := replay(t, c, "live")
	for i := range events {
		if err := w.set(t.Context(), i%500); err != nil {
			t.Fatal(err)
		}
		if i == events/2 {
			leader(t, servers).Shutdown()
		}
	}
	flush(t, a)
	compareLog(t, c, w)
	testenv.Eventually(t, 20*time.Second, func() error { return reached(r, events) })
	if err := views.served().check(w.at(events)); err != nil {
		t.Error("the live reader:", err)
	}
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	testenv.Eventually(t, 20*time.Second, func() error {
		_, err := sw.Write(t.Context(), a.Acked().Sequence, w.chunks())
		return err
	})
	p, v, err := replayOnce(t, c, "reader", 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.check(w.at(p.Sequence)); err != nil || v.snapshot == 0 {
		t.Errorf("%d objects from the snapshot: %v", v.snapshot, err)
	}
}

// newCluster runs servers that know each other, until the test ends, and tells how to reach them.
func newCluster(t *testing.T, n int) (servers []*server.Server, url string) {
	t.Helper()
	var clients, peers []int
	var routes, urls []string
	for range n {
		clients, peers = append(clients, testenv.Port(t)), append(peers, testenv.Port(t))
	}
	for _, port := range peers {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	for i := range n {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: clients[i], JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "C", Host: "127.0.0.1", Port: peers[i]}, Routes: server.RoutesFromStr(strings.Join(routes, ",")),
		})
		if err != nil {
			t.Fatal(err)
		}
		go s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	testenv.Eventually(t, 30*time.Second, func() error {
		leaders := 0
		for _, s := range servers {
			if !s.ReadyForConnections(time.Second) || !s.JetStreamIsCurrent() {
				return errors.New("a server is not ready")
			}
			if s.JetStreamIsLeader() {
				leaders++
			}
		}
		if leaders != 1 {
			return fmt.Errorf("%d leaders", leaders)
		}
		return nil
	})
	for _, s := range servers {
		urls = append(urls, "nats://"+s.Addr().String())
	}
	return servers, strings.Join(urls, ",")
}

// leader is the server that leads the log.
func leader(t *testing.T, servers []*server.Server) *server.Server {
	t.Helper()
	var found *server.Server
	testenv.Eventually(t, 10*time.Second, func() error {
		for _, s := range servers {
			if s.JetStreamIsStreamLeader("$G", "K8S_test_OBJECTS") {
				found = s
				return nil
			}
		}
		return errors.New("the log has no leader")
	})
	return found
}
