package stream_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// The last sample of a node is found also in a stream that somebody made, and it is told apart where there is none.
func TestLastUsageOfOtherStreams(t *testing.T) {
	for name, settings := range map[string]string{"direct": `,"allow_direct":true`, "not direct": "", "none": "no stream"} {
		t.Run(name, func(t *testing.T) {
			cfg := testenv.NATS(t)
			conn := connect(t, cfg)
			nc, err := nats.Connect(cfg.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			subject := schemas.UsageSubject{Cluster: cluster, Node: "a.b"}.String()
			if settings != "no stream" {
				name := "K8S_" + cluster + "_USAGE"
				config := `{"name":"` + name + `","subjects":["` + schemas.AllUsage(cluster) + `"],"retention":"limits","storage":"file","max_msgs_per_subject":2` + settings + `}`
				if _, err := nc.Request("$JS.API.STREAM.CREATE."+name, []byte(config), 5*time.Second); err != nil {
					t.Fatal(err)
				}
				for _, data := range []string{"first", "second"} {
					if _, err := nc.Request(subject, []byte(data), 5*time.Second); err != nil {
						t.Fatal(err)
					}
				}
				if data, err := last(t, conn, "a.b"); err != nil || data != "second" {
					t.Errorf("%q, %v", data, err)
				}
			}
			if data, err := last(t, conn, "nobody"); !errors.Is(err, stream.ErrNoMessage) {
				t.Errorf("%q, %v", data, err)
			}
		})
	}
}

func last(t testing.TB, conn *stream.Conn, node string) (string, error) {
	data, err := stream.LastUsage(t.Context(), conn, cluster, node)
	return string(data), err
}
