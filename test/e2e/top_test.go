package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// TestKubectlTop: what kubectl top prints is the truth within 2 %.
func TestKubectlTop(t *testing.T) {
	w := shared
	w.apply(t, deployment("top", "web", 5))
	w.Kubelets.SetUsage(cluster.Match{Namespace: "top", Container: "main"}, cluster.Usage{CPU: 400, Memory: 256 << 20})
	w.Kubelets.SetUsage(cluster.Match{Namespace: "top", Container: "side"}, cluster.Usage{CPU: 1500, Memory: 1 << 30})
	w.running(t, "top", 5)

	eventually(t, 30*time.Second, func() error {
		out, err := w.Kubectl(t.Context(), "top", "pod", "-A", "--containers")
		if err != nil {
			return err
		}
		truth := map[string]cluster.Usage{}
		for _, p := range w.Kubelets.Pods() {
			for name, usage := range p.Containers {
				truth[p.Namespace+" "+p.Name+" "+name] = usage
			}
		}
		for _, row := range rows(out) {
			if len(row) != 5 {
				return fmt.Errorf("row %q", row)
			}
			name := row[0] + " " + row[1] + " " + row[2]
			want, ok := truth[name]
			if !ok {
				return fmt.Errorf("%s is printed but doesn't run", name)
			}
			delete(truth, name)
			if err := nearRow(name, row[3], row[4], want); err != nil {
				return err
			}
		}
		if len(truth) > 0 {
			return fmt.Errorf("not printed: %v", truth)
		}
		return nil
	})

	out, err := w.Kubectl(t.Context(), "top", "pod", "-n", "top", "-l", "app=web")
	if err != nil || len(rows(out)) != 5 {
		t.Errorf("top -l app=web: %v\n%s", err, out)
	}
	if out, err = w.Kubectl(t.Context(), "top", "pod", "-n", "top", "-l", "app=other"); err != nil || len(rows(out)) != 0 {
		t.Errorf("top -l app=other: %v\n%s", err, out)
	}

	eventually(t, 30*time.Second, func() error {
		out, err := w.Kubectl(t.Context(), "top", "node")
		if err != nil {
			return err
		}
		table := rows(out)
		if len(table) != len(w.Kubelets.Nodes()) {
			return fmt.Errorf("%d rows for %d nodes:\n%s", len(table), len(w.Kubelets.Nodes()), out)
		}
		for _, row := range table {
			want, ok := w.Kubelets.Node(row[0])
			if !ok || len(row) != 5 {
				return fmt.Errorf("row %q", row)
			}
			if err := nearRow(row[0], row[1], row[3], want); err != nil {
				return err
			}
		}
		return nil
	})
}

// nearRow compares what kubectl printed: CPU rounded up to millicores, memory cut to mebibytes.
func nearRow(name, cpuCell, memoryCell string, want cluster.Usage) error {
	cpu, err := column(cpuCell)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	memory, err := column(memoryCell)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if cpu *= 1000; cpu > want.CPU && cpu-want.CPU <= 1 {
		cpu = want.CPU // rounding, not error
	}
	return near(name, cpu, memory, want)
}
