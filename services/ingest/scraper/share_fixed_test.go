package scraper

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestFixedShards(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	r := newRecorder(t, w, shareNodes)
	names := []string{"0", "1", "2"}
	var all []*ingester
	for i, name := range names {
		s := w.start(cfg, name, func(c *Config) { c.Shard, c.TotalShards = i, 3 })
		s.ready(t)
		all = append(all, s)
	}
	owner := r.settled(10*time.Second, names...)
	for node, by := range owner {
		if want := names[fixedSlots(3).owner(hashName(node))]; by != want {
			t.Errorf("%s is scraped by %s, want %s", node, by, want)
		}
	}
	for node, all := range r.since(time.Time{}) {
		for _, a := range all {
			if a.by != owner[node] {
				t.Errorf("%s was once scraped by %s", node, a.by)
			}
		}
	}
	for i, s := range all {
		if n := s.gauge("headwater_ingest_overlapping_ingesters", ""); n != 0 {
			t.Errorf("shard %d overlaps with %v ingesters", i, n)
		}
	}
}

// bucketMissing tells whether anybody has made the members' bucket.
func bucketMissing(t testing.TB, cfg stream.ConnConfig) error {
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	answer, err := nc.Request("$JS.API.STREAM.INFO.KV_K8S_"+clusterName+"_INGEST", nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer.Data), "stream not found") {
		return fmt.Errorf("there is a bucket of members that nobody needs: %s", answer.Data)
	}
	return nil
}

// One ingester per node reads its kubelet where it is told to, whatever the Node object says; but what is no node has no
// sample.
func TestOneNode(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	mine, other := runKubelet(t, "mine"), runKubelet(t, "other")
	w.put(schemas.Applied, other.node())
	bare := mine.node()
	bare.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}
	i := w.start(cfg, token, func(c *Config) {
		c.Node, c.KubeletAddress = "mine", "127.0.0.1"
		c.KubeletUseNodeStatusPort, c.KubeletPort = false, int(bare.Status.DaemonEndpoints.KubeletEndpoint.Port)
	})
	i.ready(t)
	w.put(schemas.Applied, bare)
	halfACore(t, w.next("mine", w.next("mine", nil)), 0)
	if n := other.requests.Load(); n > 0 {
		t.Errorf("%d requests to another node", n)
	}
	w.put(schemas.Deleted, bare)
	testenv.Eventually(t, 10*time.Second, func() error {
		n := 0
		i.schedule.Load().each(func(*timeline) { n++ })
		if n > 0 {
			return errors.New("it is scraped on after its Node was deleted")
		}
		return nil
	})
	if err := bucketMissing(t, cfg); err != nil {
		t.Error(err)
	}
}
