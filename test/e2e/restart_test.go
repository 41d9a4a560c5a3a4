package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRestartAsksTheAPIServerNothing: exporters that have credentials for the API server are started, killed and started
// again, one and then two of them, and the API server's audit log has no request of theirs, nor one for all objects of a
// kind by another part of Headwater. An exporter with --auth-filter shows that a request would be in the log.
func TestRestartAsksTheAPIServerNothing(t *testing.T) {
	w := shared
	w.quiet(t)
	exporter := func(name string, args ...string) *replica {
		kubeconfig, err := w.KubeconfigFor(name, exporters)
		if err != nil {
			t.Fatal(err)
		}
		return w.replica(t, name, append(args, "--kubeconfig="+kubeconfig)...)
	}
	a, b, asks := exporter("exporter-a"), exporter("exporter-b"), exporter("exporter-asks", "--auth-filter")
	ofUs := func(q request) bool {
		return strings.HasPrefix(q.User.Username, "exporter-") ||
			strings.HasPrefix(q.UserAgent, "headwater") && q.User.Username == "admin" && q.lists()
	}
	if len(w.audit.since(t, 0, ofUs)) == 0 {
		t.Fatal("the audit log doesn't show how the state service listed the objects")
	}
	place := w.audit.now(t)
	v := ofNamespaces(still)
	serve(t, a)
	eventually(t, 10*time.Second, func() error { return together(v, w.metrics, a.metrics) })
	for range 3 {
		begin := restart(t, a.Process)
		isReady(t, 30*time.Second, a.telemetry)
		ready := time.Since(begin)
		if err := together(v, w.metrics, a.metrics); err != nil {
			t.Errorf("restarted, it is ready and not complete: %v", err)
		}
		t.Logf("ready %v after the start", ready.Round(time.Millisecond))
	}
	serve(t, b)
	eventually(t, 10*time.Second, func() error { return together(v, w.metrics, b.metrics) })
	if asked := w.audit.since(t, place, ofUs); len(asked) > 0 {
		t.Errorf("the API server was asked %d times: %v", len(asked), asked)
	}

	serve(t, asks)
	if status, said, _ := w.get(t, visitor{token: w.token(t, "default", "default")}, asks.metrics); status != http.StatusServiceUnavailable {
		t.Errorf("an exporter that may not review tokens answers %d: %s", status, said)
	}
	eventually(t, 10*time.Second, func() error {
		if len(w.audit.since(t, place, ofUs)) == 0 {
			return errNothing
		}
		return nil
	})
}
