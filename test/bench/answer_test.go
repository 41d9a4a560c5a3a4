package bench

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// answer is one that was complete.
type answer struct {
	at     time.Time     // when its last byte was there
	took   time.Duration // since it was asked for
	bytes  int           // as they came over the wire
	cost   cost          // of the server until then
	oldest time.Time     // the oldest timestamp in it
}

// asks a server once. An error says what is missing.
type asks func(context.Context) (answer, error)

// newClient makes one for a single life of a server. It believes any certificate: the servers sign their own.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true}}
}

// get reads a whole answer, in gzip where the server likes to, as kubectl and Prometheus ask for it. The clock stops
// before anything is unpacked.
func get(ctx context.Context, client *http.Client, from server, url, token string) (a answer, body io.Reader, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return a, nil, err
	}
	request.Header.Set("Accept-Encoding", "gzip")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	begin := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return a, nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	a = answer{at: time.Now(), took: time.Since(begin), bytes: len(raw)}
	if err != nil {
		return a, nil, err
	}
	if a.cost, err = costOf(from.Pid()); err != nil {
		return a, nil, err
	}
	body = bytes.NewReader(raw)
	if response.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return a, nil, err
		}
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 500))
		return a, nil, fmt.Errorf("%s: %s", response.Status, text)
	}
	return a, body, nil
}

// ready asks whether a server says that it is ready.
func ready(of server) asks {
	client := newClient()
	return func(ctx context.Context) (answer, error) {
		a, _, err := get(ctx, client, of, of.readyAt, "")
		return a, err
	}
}

// pods asks a server of the Metrics API for all pods, as the administrator, and compares with what runs.
func (w *world) pods(of server) asks {
	client := newClient()
	return func(ctx context.Context) (answer, error) {
		a, body, err := get(ctx, client, of, of.at+"/apis/metrics.k8s.io/v1beta1/pods", w.admin.BearerToken)
		if err != nil {
			return a, err
		}
		var list struct {
			Items []struct {
				Metadata   struct{ Namespace, Name string }
				Timestamp  time.Time
				Containers []struct{ Usage map[string]string }
			}
		}
		if err := json.NewDecoder(body).Decode(&list); err != nil {
			return a, fmt.Errorf("couldn't read the answer: %w", err)
		}
		if len(list.Items) != len(w.running) {
			return a, fmt.Errorf("%d of %d pods", len(list.Items), len(w.running))
		}
		seen := make(map[string]bool, len(list.Items))
		for _, item := range list.Items {
			name := item.Metadata.Namespace + "/" + item.Metadata.Name
			if want, ok := w.running[name]; !ok || seen[name] || len(item.Containers) != want {
				return a, fmt.Errorf("%s has %d containers, want %d; runs: %t, there twice: %t", name, len(item.Containers), want, ok, seen[name])
			}
			seen[name] = true
			for _, c := range item.Containers {
				if c.Usage["cpu"] == "" || c.Usage["memory"] == "" {
					return a, fmt.Errorf("%s has a container without usage", name)
				}
			}
			if a.oldest.IsZero() || item.Timestamp.Before(a.oldest) {
				a.oldest = item.Timestamp
			}
		}
		return a, nil
	}
}

// families counts the series of each family of an exposition.
type families map[string]int

func (f families) total() (n int) {
	for _, series := range f {
		n += series
	}
	return n
}

// exposition asks the exporter for everything and compares with what it had before; nil is compared with what runs.
func (w *world) exposition(before families) (asks, families) {
	client, now := newClient(), families{}
	return func(ctx context.Context) (answer, error) {
		clear(now)
		a, body, err := get(ctx, client, w.exporter, w.exporter.at+"/metrics", "")
		if err != nil {
			return a, err
		}
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if line := lines.Text(); !strings.HasPrefix(line, "#") {
				end := strings.IndexAny(line, "{ ")
				now[strings.Clone(line[:max(end, 0)])]++
			}
		}
		if err := lines.Err(); err != nil {
			return a, fmt.Errorf("couldn't read the answer: %w", err)
		}
		for _, family := range []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes"} {
			if now[family] != w.containers {
				return a, fmt.Errorf("%s has %d series, want one for each of %d containers", family, now[family], w.containers)
			}
		}
		if now["kube_pod_info"] < len(w.running) {
			return a, fmt.Errorf("kube_pod_info has %d series, and %d pods run", now["kube_pod_info"], len(w.running))
		}
		for family, want := range before {
			if now[family] != want {
				return a, fmt.Errorf("%s has %d series, and had %d before", family, now[family], want)
			}
		}
		return a, nil
	}, now
}
