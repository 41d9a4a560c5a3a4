package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// target is a server of /metrics whose answers are measured.
type target struct {
	server
	client string // its name in User-Agent headers
	ready  func(context.Context) error
	series int // in a complete answer; 0 while that isn't known
}

// scrapeClient reads at full speed. Every scrape has a connection of its own: servers die between them.
var scrapeClient = &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true, ReadBufferSize: 1 << 20}}

// await asks again and again whether the server is ready.
func (t *target) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		err := t.ready(ctx)
		if err == nil {
			return nil
		}
		if !t.Running() {
			return fmt.Errorf("%s ended before it was ready; its log ends with\n%s", t.Name(), t.Tail(10))
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("%s isn't ready: %w", t.Name(), err)
		}
	}
}

// scraped is one answer.
type scraped struct {
	took, cpu time.Duration // of the server
	bytes     int
	series    int // 0 in gzip, which isn't unpacked
	peak      int64
}

// settle is how long what a server still does after an answer counts as the answer's.
const settle = 100 * time.Millisecond

// scrape reads an answer to its end and keeps nothing of it.
func (t *target) scrape(ctx context.Context, encoding string) (s scraped, err error) {
	before, err := costOf(t.Pid())
	if err != nil {
		return s, err
	}
	begin := time.Now()
	body, err := t.open(ctx, encoding)
	if err != nil {
		return s, err
	}
	defer body.Close()
	buffer, after := make([]byte, 1<<20), byte('\n')
	for {
		n, err := body.Read(buffer)
		chunk := buffer[:n]
		s.bytes += n
		if encoding == "identity" && n > 0 {
			s.series += bytes.Count(chunk, []byte{'\n'}) - bytes.Count(chunk, []byte("\n#"))
			if after == '\n' && chunk[0] == '#' {
				s.series--
			}
			after = chunk[n-1]
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s, fmt.Errorf("couldn't read the answer of %s to its end: %w", t.Name(), err)
		}
	}
	s.took = time.Since(begin)
	if err := pause(ctx, settle); err != nil {
		return s, err
	}
	cost, err := costOf(t.Pid())
	s.cpu, s.peak = cost.cpu-before.cpu, cost.peak
	return s, err
}

func (t *target) open(ctx context.Context, encoding string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.at+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "text/plain;version=0.0.4")
	request.Header.Set("Accept-Encoding", encoding)
	response, err := scrapeClient.Do(request)
	if err != nil {
		return nil, err
	}
	got := response.Header.Get("Content-Encoding")
	if response.StatusCode != http.StatusOK || got != encoding && (encoding != "identity" || got != "") {
		response.Body.Close()
		return nil, fmt.Errorf("%s answers %s in %q", t.Name(), response.Status, got)
	}
	return response.Body, nil
}

// whole says what is missing in an answer.
func (t *target) whole(s scraped) error {
	if t.series != 0 && s.series != t.series {
		return fmt.Errorf("%s answers with %d series, and has %d", t.Name(), s.series, t.series)
	}
	return nil
}

// summary has the median of the times, and the mean of the CPU time, because that is counted in hundredths of a second.
func summary(all []scraped) (f scrapeFigures) {
	slices.SortFunc(all, func(a, b scraped) int { return int(a.took - b.took) })
	n := len(all)
	f.took, f.bytes = (all[(n-1)/2].took+all[n/2].took)/2, all[n-1].bytes
	for _, s := range all {
		f.cpu += s.cpu
	}
	f.cpu /= time.Duration(n)
	return f
}

// count reads a whole answer and counts the series of each family.
func (t *target) count(ctx context.Context) (families, int, error) {
	body, err := t.open(ctx, "identity")
	if err != nil {
		return nil, 0, err
	}
	defer body.Close()
	found, size := map[string]*int{}, 0
	for lines := bufio.NewReaderSize(body, 1<<20); ; {
		line, err := lines.ReadSlice('\n')
		size += len(line)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, fmt.Errorf("couldn't read the answer of %s: %w", t.Name(), err)
		}
		if line[0] == '#' {
			continue
		}
		name := line[:max(bytes.IndexAny(line, "{ "), 0)]
		if n := found[string(name)]; n != nil {
			*n++
		} else {
			one := 1
			found[string(name)] = &one
		}
	}
	all := families{}
	for name, n := range found {
		all[name] = *n
	}
	return all, size, nil
}

// newer are prefixes of the families that the exporter has as kube-state-metrics 2.20 does, and 2.18 hasn't: new ones, and
// those of kinds that it doesn't watch by default.
var newer = []string{"kube_mutatingadmissionpolicy", "kube_validatingadmissionpolicy", "kube_node_spec_pod_cidrs", "kube_persistentvolume_access_mode"}

// compare asserts that both have the same families with the same number of series, but for what is newer.
func (s *scale) compare(ctx context.Context, c *comparison) error {
	var of [2]families
	for i, t := range []*target{s.exporter, s.peer} {
		// What the log brings last may still be on its way.
		err := cluster.Eventually(ctx, time.Minute, func() (err error) {
			var size int
			if of[i], size, err = t.count(ctx); err != nil {
				return err
			}
			if info := of[i]["kube_pod_info"]; info < s.pods {
				return fmt.Errorf("%s has %d series of kube_pod_info for %d pods", t.Name(), info, s.pods)
			}
			t.series = of[i].total()
			if t == s.exporter {
				c.series, c.text = t.series, size
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	ours, theirs := of[0], of[1]
	for family, n := range ours {
		if theirs[family] != n && !slices.ContainsFunc(newer, func(prefix string) bool { return strings.HasPrefix(family, prefix) }) {
			c.differences = append(c.differences, fmt.Sprintf("%s: %d series here, %d there", family, n, theirs[family]))
		}
	}
	for family, n := range theirs {
		if ours[family] == 0 {
			c.differences = append(c.differences, fmt.Sprintf("%s: none here, %d there", family, n))
		}
	}
	slices.Sort(c.differences)
	if len(c.differences) > 0 {
		return fmt.Errorf("exporter and kube-state-metrics answer differently:\n%s", strings.Join(c.differences, "\n"))
	}
	return nil
}
