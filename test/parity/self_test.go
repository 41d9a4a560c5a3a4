package parity

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/promtext"
)

// TestComparisonCanFail starts pairs whose sides differ, and wants that to be seen.
func TestComparisonCanFail(t *testing.T) {
	w := shared(t)
	w.populate(t)
	w.caughtUp(t)
	w.whole.agree(t, "")
	some := []string{"pods", "configmaps"}
	pairs := w.startAll(t, []setting{
		{name: "ours-less", resources: some, ours: []string{"--metric-denylist=kube_pod_info"}},
		{name: "ours-more", resources: some, peers: []string{"--metric-denylist=kube_pod_info"}},
		{name: "other-shard", resources: some, flags: []string{"--total-shards=2"}, ours: []string{"--shard=0"}, peers: []string{"--shard=1"}},
	})
	for i, want := range []string{"missing: kube_pod_info{", "surplus: kube_pod_info{", "surplus: kube_"} {
		// kube-state-metrics answers a moment before it knows anything.
		if err := cluster.Eventually(t.Context(), spare, func() error {
			if _, err := pairs[i].compare(t.Context(), ""); err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Errorf("the comparison says %v, want %q", err, want)
			}
			return nil
		}); err != nil {
			t.Errorf("%s: %v", pairs[i].name, err)
		}
	}
	// The same with what the oracle tells in the older release's place.
	later, err := w.later(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kube_pod_status_reason", "kube_validatingadmissionpolicybinding_validation_action"} {
		if families(later)[name] == 0 {
			t.Errorf("the oracle tells nothing of %s", name)
		}
	}
}

// TestOracle holds what the oracle says to what kube-state-metrics 2.20 said of the same objects.
func TestOracle(t *testing.T) {
	with, differences := buildTools(t), readDifferences(t)
	files, err := filepath.Glob(filepath.Join("..", "..", "services", "exporter", "collector", "testdata", "cases", "*.jsonl.gz"))
	if err != nil || len(files) != len(kinds) {
		t.Fatalf("there are cases of %d kinds, want %d: %v", len(files), len(kinds), err)
	}
	for _, file := range files {
		questions, recorded := readCases(t, file)
		verdicts, err := ask(t.Context(), with.oracle, []byte(questions))
		if err != nil || len(verdicts) != len(recorded) {
			t.Fatalf("%s: the oracle judged %d of %d: %v", filepath.Base(file), len(verdicts), len(recorded), err)
		}
		for i, v := range verdicts {
			lines := map[string]int{} // how often the oracle says it, less how often it was recorded
			for _, f := range v.Families {
				for line := range strings.Lines(f.Text) {
					lines[line]++
				}
			}
			for line := range strings.Lines(recorded[i]) {
				lines[line]--
			}
			for line, n := range lines {
				if n != 0 && line[0] != '#' && !differences.unknown(promtext.Name(line)) {
					t.Errorf("%s, case %d: the oracle says this %+d times more than kube-state-metrics: %s", filepath.Base(file), i, n, line)
				}
			}
		}
	}
}

// readCases reads recorded answers: the questions for the oracle, and the answers.
func readCases(t *testing.T, file string) (questions string, answers []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var c struct{ All []string }
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		questions += lines.Text() + "\n"
		answers = append(answers, strings.Join(c.All, "\n")+"\n")
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return questions, answers
}
