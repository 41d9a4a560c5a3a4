package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// tolerance is how far an answer may be from the truth.
const tolerance = 0.02

const podsPath = "/apis/metrics.k8s.io/v1beta1/pods"

// podMetrics is what a user of the API reads of one pod.
type podMetrics struct {
	Metadata struct {
		Namespace, Name string
		Labels          map[string]string
	}
	Timestamp  time.Time
	Window     string
	Containers []struct {
		Name  string
		Usage map[string]resource.Quantity
	}
}

// pods asks for all pods as a user would.
func (w *world) pods(ctx context.Context) ([]podMetrics, error) {
	out, err := w.Kubectl(ctx, "get", "--raw", podsPath)
	if err != nil {
		return nil, err
	}
	return decodePods([]byte(out))
}

func decodePods(body []byte) ([]podMetrics, error) {
	var list struct{ Items []podMetrics }
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("couldn't read the answer: %w", err)
	}
	return list.Items, nil
}

// correct compares an answer with the truth: the same pods, the same containers, each within the tolerance.
func (w *world) correct(items []podMetrics) error {
	truth := w.Kubelets.Pods()
	if len(truth) == 0 {
		return errNothing
	}
	got := map[string]podMetrics{}
	for _, item := range items {
		got[item.Metadata.Namespace+"/"+item.Metadata.Name] = item
	}
	for _, want := range truth {
		name := want.Namespace + "/" + want.Name
		item, ok := got[name]
		if !ok {
			return fmt.Errorf("%s is missing among %d of %d pods", name, len(items), len(truth))
		}
		delete(got, name)
		if len(item.Containers) != len(want.Containers) {
			return fmt.Errorf("%s has %d containers, want %d", name, len(item.Containers), len(want.Containers))
		}
		for _, c := range item.Containers {
			cpu, memory := c.Usage["cpu"], c.Usage["memory"]
			if err := near(name+" "+c.Name, cpu.AsApproximateFloat64()*1000, memory.AsApproximateFloat64(), want.Containers[c.Name]); err != nil {
				return err
			}
		}
	}
	for name := range got {
		return fmt.Errorf("%s doesn't run but is answered", name)
	}
	return nil
}

// near compares CPU in millicores and memory in bytes with the truth.
func near(what string, cpu, memory float64, want cluster.Usage) error {
	if math.Abs(cpu-want.CPU) > want.CPU*tolerance {
		return fmt.Errorf("%s: %.1fm CPU, want %.1fm", what, cpu, want.CPU)
	}
	if bytes := float64(want.Memory); math.Abs(memory-bytes) > bytes*tolerance {
		return fmt.Errorf("%s: %.0f bytes, want %.0f", what, memory, bytes)
	}
	return nil
}

// column reads a cell as kubectl top prints it: 250m, 2, 64Mi.
func column(cell string) (float64, error) {
	if cell == "<unknown>" {
		return 0, fmt.Errorf("the cell says %s", cell)
	}
	q, err := resource.ParseQuantity(cell)
	if err != nil {
		return 0, fmt.Errorf("couldn't read the cell %q: %w", cell, err)
	}
	return q.AsApproximateFloat64(), nil
}

// rows splits a table that kubectl printed, without its head.
func rows(out string) [][]string {
	var all [][]string
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if i > 0 {
			all = append(all, strings.Fields(line))
		}
	}
	return all
}

func dial(port int) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
