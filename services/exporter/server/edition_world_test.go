package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// configMap is a folder of files as the kubelet mounts a ConfigMap: links through a link that is replaced as a whole.
type configMap struct {
	testing.TB
	dir  string
	sets int
}

func newConfigMap(t testing.TB, files map[string]string) *configMap {
	t.Helper()
	c := &configMap{TB: t, dir: t.TempDir()}
	c.set(files)
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), c.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *configMap) path(name string) string { return filepath.Join(c.dir, name) }

// set replaces the content.
func (c *configMap) set(files map[string]string) {
	c.Helper()
	c.sets++
	version := fmt.Sprintf("..%d", c.sets)
	if err := os.Mkdir(c.path(version), 0o755); err != nil {
		c.Fatal(err)
	}
	for name, text := range files {
		write(c, filepath.Join(c.dir, version, name), text)
	}
	if err := errors.Join(os.Symlink(version, c.path("..new")), os.Rename(c.path("..new"), c.path("..data"))); err != nil {
		c.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// have writes count pods with a container each.
func (w *world) have(count int) {
	w.Helper()
	for i := range count {
		change := changeOf(w, counting(i, 0), schemas.Applied)
		w.append(subjectOf(&change), change.Marshal())
	}
	if err := w.log.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// counting is a pod whose container was restarted so many times.
func counting(i, restarts int) *corev1.Pod {
	p := pod(fmt.Sprint("p-", i), fmt.Sprint(i), "node")
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", RestartCount: int32(restarts), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	return p
}

// served waits until so many editions have been put in service.
func (w *world) served(count int) {
	w.Helper()
	w.metric("headwater_exporter_editions_total", `result="served"`, float64(count))
}

// looking scrapes again and again, and gives each text to check, until the returned function is called; that gives the
// first error. An answer that is not 200 is one.
func (w *world) looking(check func(text string) error) (stop func()) {
	w.Helper()
	ended, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			response, body := w.get("/metrics", "Accept", acceptText)
			err := check(string(body))
			if response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", response.Status, body)
			}
			if err != nil {
				done <- fmt.Errorf("scrape %d: %w", n, err)
				return
			}
			select {
			case <-ended:
				done <- nil
				return
			default:
			}
		}
	}()
	return func() {
		w.Helper()
		close(ended)
		if err := <-done; err != nil {
			w.Error(err)
		}
	}
}

var restarts = regexp.MustCompile(`(?m)^kube_pod_container_status_restarts_total\{namespace="shop",pod="(p-\d+)".*\} (\d+)$`)

// whole checks that a text has of each of some families all pods or none, and all containers' restarts, none less than
// before.
func whole(count int, families ...string) func(string) error {
	last := map[string]int{}
	return func(text string) error {
		found := restarts.FindAllStringSubmatch(text, -1)
		if len(found) != count {
			return fmt.Errorf("%d of %d pods", len(found), count)
		}
		for _, m := range found {
			n, _ := strconv.Atoi(m[2])
			if n < last[m[1]] {
				return fmt.Errorf("%s went back from %d to %d restarts", m[1], last[m[1]], n)
			}
			last[m[1]] = n
		}
		for _, f := range families {
			if n := strings.Count("\n"+text, "\n"+f+"{"); n != 0 && n != count {
				return fmt.Errorf("%s of %d of %d pods", f, n, count)
			}
		}
		return nil
	}
}

// restarting restarts containers in the order of the pods until the returned function is called, which waits until the exporter
// has read it all.
func (w *world) restarting(count int) (stop func()) {
	ended := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := count; ; i++ {
			select {
			case <-ended:
				return
			default:
			}
			change := changeOf(w, counting(i%count, i/count), schemas.Applied)
			if _, err := w.log.Append(subjectOf(&change), change.Marshal()); err != nil {
				w.Error(err)
				return
			}
			if i%50 == 0 {
				if err := w.log.Flush(w.Context()); err != nil {
					w.Error(err)
					return
				}
			}
		}
	})
	return func() {
		w.Helper()
		close(ended)
		writer.Wait()
		if err := w.log.Flush(w.Context()); err != nil {
			w.Fatal(err)
		}
		testenv.Eventually(w, patience, func() error {
			if p := w.service.position(); p.Sequence != w.log.Acked().Sequence {
				return fmt.Errorf("at %d of %d", p.Sequence, w.log.Acked().Sequence)
			}
			return nil
		})
	}
}

// server is NATS that can be away for a time.
type server struct {
	testing.TB
	config embedded.Config
	*embedded.Server
}

func newServer(t testing.TB) *server {
	s := &server{TB: t, config: embedded.Config{Dir: t.TempDir(), Address: testenv.Address(t), Log: testenv.Logger(t)}}
	s.begin()
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	s.config.Address = u.Host
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *server) begin() {
	s.Helper()
	testenv.Eventually(s, patience, func() error {
		started, err := embedded.Start(s.config)
		if err == nil {
			s.Server = started // else the one before, which is closed
		}
		return err
	})
}
