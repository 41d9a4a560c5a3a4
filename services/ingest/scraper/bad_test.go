package scraper

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// dropped is how often something was dropped for a reason.
func (w *world) dropped(reason string) int {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "headwater_ingest_dropped_total" && m.GetLabel()[0].GetValue() == reason {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	w.t.Fatalf("no counter for %s", reason)
	return 0
}

// answers answers with a text of the moment.
func answers(body func(now time.Time) string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body(time.Now())) }
}

// two is a node with two pods, of which ns/p's figures are as given.
func two(now time.Time, cpu, memory string) string {
	at := now.UnixMilli()
	return fmt.Sprintf("node_cpu_usage_seconds_total 1 %d\nnode_memory_working_set_bytes 1 %d\n", at, at) +
		cpu1 + cpu + "\n" + `container_cpu_usage_seconds_total{container="c",namespace="ns",pod="other"} 1` + "\n" +
		mem1 + memory + "\n" + `container_memory_working_set_bytes{container="c",namespace="ns",pod="other"} 1` + "\n"
}

// floods answers with what repeats until the client has enough.
func floods(begin, again string) http.HandlerFunc {
	return hijacked(func(c net.Conn) {
		defer c.Close()
		if _, err := io.WriteString(c, begin); err != nil {
			return
		}
		for {
			if _, err := io.WriteString(c, again); err != nil {
				return
			}
		}
	})
}

// says answers with raw bytes and closes.
func says(raw string) http.HandlerFunc {
	return hijacked(func(c net.Conn) {
		io.WriteString(c, raw)
		c.Close()
	})
}

// Whatever a kubelet does costs itself that scrape: the failure has its reason, its counter, and a report that says what to
// do; and another node is scraped on as if nothing were.
func TestKubeletsThatFail(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	w.config.KubeletMaxBodyBytes = 1 << 20
	w.timeout = 6 * time.Second
	zeros() // packing them takes a while
	elsewhere, _ := newKubelet(t, func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") })
	at := func(d time.Duration) http.HandlerFunc {
		return answers(func(now time.Time) string {
			then := fmt.Sprint(" 1 ", now.Add(d).UnixMilli(), "\n")
			return "node_cpu_usage_seconds_total" + then + "node_memory_working_set_bytes" + then + strings.TrimSpace(cpu1) + then + strings.TrimSpace(mem1) + then
		})
	}
	tests := map[string]struct {
		bent   http.HandlerFunc
		want   result
		advice string
	}{
		"a-byte-now-and-then":  {trickle, resultTimeout, "--kubelet-request-timeout"},
		"hangs":                {hang, resultTimeout, "--kubelet-request-timeout"},
		"gzip-bomb":            {bomb, resultTooLarge, "--kubelet-max-body-bytes"},
		"headers-without-end":  {floods("HTTP/1.1 200 OK\r\n", "X: "+strings.Repeat("y", 1<<12)+"\r\n"), resultRead, "kubelet's log"},
		"one-header-line":      {floods("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("y", 1<<12)), resultRead, "kubelet's log"},
		"early-hints":          {floods("", "HTTP/1.1 103 Early Hints\r\n\r\n"), resultRead, "kubelet's log"},
		"continues":            {floods("", "HTTP/1.1 100 Continue\r\n\r\n"), resultRead, "kubelet's log"},
		"no-status":            {says("node_cpu_usage_seconds_total 1\n"), resultRead, "kubelet's log"}, // HTTP/0.9
		"a-status-that-isnt":   {says("HTTP/1.1 two hundred\r\n\r\n"), resultRead, "kubelet's log"},
		"chunks-that-arent":    {says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnode"), resultRead, "kubelet's log"},
		"chunks-beyond":        {says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nnode"), resultRead, "kubelet's log"},
		"closes-early":         {says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnode"), resultRead, "kubelet's log"},
		"negative-length":      {says("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nnode"), resultRead, "kubelet's log"},
		"redirects":            {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, resultRedirect, "not followed"},
		"forbidden":            {status(403, "Forbidden"), resultStatus, "nodes/metrics"},
		"of-1970":              {answers(func(time.Time) string { return nodes + cpu1 + "1 1000\n" + mem1 + "1 1000\n" }), resultEmpty, "clocks"},
		"of-next-year":         {at(365 * 24 * time.Hour), resultEmpty, "clocks"},
		"no-numbers":           {answers(func(time.Time) string { return strings.ReplaceAll(nodes, " 1 ", " NaN ") }), resultEmpty, "negative or no numbers"},
		"scrape-error":         {status(200, "# TYPE scrape_error gauge\nscrape_error 1\n"), resultEmpty, "scrape_error"},
		"a-negative-timestamp": {answers(func(now time.Time) string { return two(now, "1 -62135596800000", "1") }), resultDecode, pathAnnotation},
		"no-labels":            {answers(func(now time.Time) string { return two(now, "1", "1") + "container_cpu_usage_seconds_total 1\n" }), resultLabels, "--kubelet-port"},
	}
	good := runKubelet(t, "good")
	w.put(schemas.Applied, good.node())
	got := w.reports()
	for name, test := range tests {
		k := runKubelet(t, name)
		k.bend(test.bent)
		w.put(schemas.Applied, k.node())
	}
	_, stop := w.run()
	before := w.next(good.name, nil)
	for name, test := range tests {
		r := got.wait(t, name, func(r schemas.ScrapeReport) error {
			if r.Failures < 2 {
				return errors.New("want 2 failures")
			}
			return nil
		})
		if r.Result != string(test.want) || !strings.Contains(r.Error, test.advice) {
			t.Errorf("%s: %s, want %s and %q: %s", name, r.Result, test.want, test.advice, r.Error)
		}
		if len(r.Error) > schemas.MaxScrapeError || strings.ContainsAny(r.Error, "\n\r\x00") || strings.Contains(r.Error, token) {
			t.Errorf("%s: %q", name, r.Error)
		}
		if r.LastSuccess != 0 || w.last(name) != nil || w.scrapes(test.want) == 0 {
			t.Errorf("%s: last success %d, sample %v, counted %d", name, r.LastSuccess, w.last(name), w.scrapes(test.want))
		}
	}
	halfACore(t, w.next(good.name, before), 0)
	stop()
}

// zeros are 16 MB of them, packed.
var zeros = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(make([]byte, 16<<20))
	z.Close()
	return b.Bytes()
})

// bomb is 1 GB of zeros, packed, if somebody reads it.
func bomb(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	for range 1 << 6 {
		if _, err := w.Write(zeros()); err != nil {
			return
		}
	}
}

// What is wrong with one pod costs that pod; the node, and the other pod, are published. It is counted and reported.
func TestFiguresThatAreWrong(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	ms := func(now time.Time, d time.Duration) int64 { return now.Add(d).UnixMilli() }
	tests := map[string]struct {
		body    func(now time.Time) string
		counted string
		reason  string // in the report, for the container c of ns/p; "" where the pod is published all the same
		cpu     uint64 // of ns/p where it is published, core-seconds
	}{
		"cpu-zero":     {func(n time.Time) string { return two(n, "0", "1") }, "pod_container_without_cpu", "pod_container_without_cpu", 0},
		"memory-zero":  {func(n time.Time) string { return two(n, "1", "0") }, "pod_container_without_memory", "pod_container_without_memory", 0},
		"not-a-number": {func(n time.Time) string { return two(n, "NaN", "1") }, "series_not_finite", "series_not_finite", 0},
		"infinite":     {func(n time.Time) string { return two(n, "1", "+Inf") }, "series_not_finite", "series_not_finite", 0},
		"negative":     {func(n time.Time) string { return two(n, "1", "-5") }, "series_negative", "series_negative", 0},
		"huge":         {func(n time.Time) string { return two(n, "1e20", "1") }, "series_out_of_range", "series_out_of_range", 0},
		"1970":         {func(n time.Time) string { return two(n, "1 1000", "1 1000") }, "series_too_old", "series_too_old", 0},
		"next-year":    {func(n time.Time) string { return two(n, "1", fmt.Sprint("1 ", ms(n, 365*24*time.Hour))) }, "series_in_future", "series_in_future", 0},
		"3m-ahead":     {func(n time.Time) string { return two(n, fmt.Sprint("1 ", ms(n, 3*time.Minute)), "1") }, "series_in_future", "series_in_future", 0},
		"1m-ahead":     {func(n time.Time) string { return two(n, fmt.Sprint("1 ", ms(n, time.Minute)), "1") }, "", "", 1},
		"11m-behind":   {func(n time.Time) string { return two(n, fmt.Sprint("1 ", ms(n, -11*time.Minute)), "1") }, "series_too_old", "series_too_old", 0},
		"9m-behind":    {func(n time.Time) string { return two(n, fmt.Sprint("1 ", ms(n, -9*time.Minute)), "1") }, "", "", 1},
		"twice":        {func(n time.Time) string { return two(n, "1", "1") + cpu1 + "7\n" }, "series_duplicate", "", 7},
		"a-stale-twin": {func(n time.Time) string { return two(n, "1", "1") + cpu1 + "7 1000\n" + mem1 + "7 1000\n" }, "series_too_old", "", 1},
		"old-starts":   {func(n time.Time) string { return two(n, "1", "1") + start + "1e9 1000000000000\n" }, "", "", 1},
		"a-bad-second": {func(n time.Time) string { return two(n, "1", "1") + strings.Replace(start, `"c"`, `"d"`, 1) + "5\n" }, "pod_container_without_cpu", "pod_container_without_cpu", 0},
		"scrape-error": {func(n time.Time) string { return two(n, "1", "1") + "scrape_error 1\nresource_scrape_error 1\n" }, "", "", 1},
		"not-only-ours": {func(n time.Time) string {
			return two(n, "1", "1") + strings.ReplaceAll(two(n, "2", "2"), `pod="`, `pod="elsewhere-`)
		}, "", "", 1},
	}
	got := w.reports()
	for name, test := range tests {
		k := runKubelet(t, name)
		k.bend(answers(test.body))
		w.put(schemas.Applied, k.node())
	}
	_, stop := w.run()
	for name, test := range tests {
		s := w.next(name, w.next(name, nil))
		if s.Point == nil {
			t.Errorf("%s: the node isn't published", name)
		}
		other := false
		for _, p := range s.Pods {
			other = other || p.Name == "other" && len(p.Containers) == 1 && p.Containers[0].Point.CPU == 1e9
		}
		if !other {
			t.Errorf("%s: the other pod isn't published: %+v", name, s.Pods)
		}
		if test.counted != "" && w.dropped(test.counted) < 1 {
			t.Errorf("%s: %s isn't counted", name, test.counted)
		}
		p := point(s)
		if test.reason == "" {
			if p == nil || p.CPU != test.cpu*1e9 {
				t.Errorf("%s: %+v, want %d core-seconds", name, p, test.cpu)
			}
			if all := got.all(name); len(all) > 0 {
				t.Errorf("%s: reported: %+v", name, all)
			}
			continue
		}
		if p != nil {
			t.Errorf("%s: published: %+v", name, p)
		}
		container := "c"
		if name == "a-bad-second" {
			container = "d"
		}
		r := got.wait(t, name, func(schemas.ScrapeReport) error { return nil })
		if diff := cmp.Diff([]schemas.DroppedUsage{{Namespace: "ns", Pod: "p", Container: container, Reason: test.reason}}, r.Dropped); diff != "" || r.Result != schemas.ScrapeSuccess {
			t.Errorf("%s: %s %s", name, r.Result, diff)
		}
	}
	stop()
}

// A node with so many containers that its sample is larger than NATS takes keeps those that fit: the same ones every time.
func TestMoreContainersThanFitAMessage(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	w.config.MetricResolution, w.config.KubeletRequestTimeout = 60*time.Second, 50*time.Second
	const containers = 50_000
	var body strings.Builder
	for _, family := range []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes"} {
		for i := range containers {
			fmt.Fprintf(&body, "%s{container=\"c\",namespace=\"ns-%d\",pod=\"pod-%d\"} 1\n", family, i%7, i)
		}
	}
	body.WriteString("node_cpu_usage_seconds_total 1\nnode_memory_working_set_bytes 1\n")
	k := runKubelet(t, "crowded")
	k.bend(status(200, body.String()))
	got := w.reports()
	w.put(schemas.Applied, k.node())
	s, stop := w.run()
	var sample *schemas.UsageSample
	testenv.Eventually(t, 50*time.Second, func() error {
		if sample = w.last(k.name); sample == nil {
			return errors.New("no sample")
		}
		return nil
	})
	published := len(sample.Pods)
	if size := len(sample.Marshal()); sample.Point == nil || size > w.conn.MaxPayload() || size < w.conn.MaxPayload()*99/100 {
		t.Errorf("%d pods in %d bytes, node %+v", published, size, sample.Point)
	}
	if got := w.dropped("message_too_large"); got != containers-published {
		t.Errorf("%d pods counted, %d left out", got, containers-published)
	}
	r := got.wait(t, k.name, func(schemas.ScrapeReport) error { return nil })
	if len(r.Dropped) != schemas.MaxDropped || int(r.More) != containers-published-schemas.MaxDropped || r.Dropped[0].Reason != "message_too_large" || r.Dropped[0].Container != "" {
		t.Errorf("%d dropped and %d more, the first %+v", len(r.Dropped), r.More, r.Dropped[0])
	}
	// The kubelet names them in another order: the same ones stay, and have rates.
	lines := strings.SplitAfter(body.String(), "\n")
	var turned strings.Builder
	for i := range lines {
		turned.WriteString(lines[len(lines)-1-i])
	}
	line := &timeline{node: k.name}
	for range 2 {
		m, err := s.sample(line, []byte(turned.String()), nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var again schemas.UsageSample
		if err := again.Unmarshal(m.payload); err != nil {
			t.Fatal(err)
		}
		for i := range min(len(again.Pods), published) - 20 { // figures have more or fewer digits
			if a, b := &again.Pods[i], &sample.Pods[i]; a.Name != b.Name || a.Namespace != b.Namespace {
				t.Fatalf("pod %d is %s/%s, was %s/%s", i, a.Namespace, a.Name, b.Namespace, b.Name)
			}
		}
		if m.pods != len(again.Pods) || m.pods < published*8/10 || m.pods > published*12/10 {
			t.Errorf("%d pods, %d", m.pods, len(again.Pods))
		}
	}
	stop()
}

// A pod that is too large by itself costs nothing but itself.
func TestAPodThatFitsNoMessage(t *testing.T) {
	d := new(decoder)
	s := &schemas.UsageSample{Node: "n", Point: &schemas.Point{CPU: 1}}
	for i := range 100 {
		s.Pods = append(s.Pods, schemas.PodUsage{Namespace: "ns", Name: fmt.Sprintf("pod-%02d", 99-i), Containers: []schemas.ContainerUsage{{Name: "c"}}})
	}
	s.Pods[50].Containers[0].Name = strings.Repeat("x", 10_000)
	large := s.Pods[50].Name
	whole := s.Marshal()
	limit := len(whole) - 9_000
	payload := d.fit(s, limit, whole)
	var got schemas.UsageSample
	if err := got.Unmarshal(payload); err != nil || len(payload) > limit || len(got.Pods) != 99 || got.Point == nil || got.Node != "n" {
		t.Fatalf("%d bytes, %d pods, %v", len(payload), len(got.Pods), err)
	}
	if diff := cmp.Diff([]schemas.DroppedUsage{{Namespace: "ns", Pod: large, Reason: "message_too_large"}}, d.drops.list); diff != "" || d.refused[dropTooLarge] != 1 {
		t.Error(diff, d.refused[dropTooLarge])
	}
	// And where nothing fits, the node alone is left.
	if payload := d.fit(s, 30, payload); len(payload) > 30 || got.Unmarshal(payload) != nil || len(got.Pods) != 0 || got.Point == nil {
		t.Errorf("%d bytes, %+v", len(payload), got)
	}
}

// IPv6 addresses get brackets; addresses that are none of a host's cost their node alone.
func TestAddressesThatAreOdd(t *testing.T) {
	c := DefaultConfig()
	a, err := newAddressing(&c)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"10.0.0.1":    "https://10.0.0.1:10250/metrics/resource",
		"fd00::1":     "https://[fd00::1]:10250/metrics/resource",
		"fe80::1%eth": "https://[fe80::1%25eth]:10250/metrics/resource",
		"node-1":      "https://node-1:10250/metrics/resource",
	} {
		var n node
		n.Metadata.Name = "n"
		n.Status.Addresses = append(n.Status.Addresses, struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		}{"InternalIP", address})
		target, ok := a.target(&n)
		if !ok || target.Err != nil || target.URL.String() != want {
			t.Errorf("%s: %v, %+v", address, ok, target)
		}
	}
	// What isn't an address at all is an error of the request, not of the process.
	_, config := newKubelet(t, nil)
	config = config.complete()
	k, err := newKubelets(&config)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"a b:10250", "\x00:1", "[::1:10250", "kubelet.invalid:10250", ":10250x"} {
		u := &url.URL{Scheme: "https", Host: host, Path: metricsPath}
		err := k.get(t.Context(), u, func([]byte) error { return nil })
		if got := resultOf(err, ""); got != resultConnect && got != resultRead && got != resultInternal {
			t.Errorf("%q: %s: %v", host, got, err)
		}
	}
}
