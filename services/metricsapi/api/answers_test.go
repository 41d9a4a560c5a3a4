package api

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPathsAnswerAsThoseOfMetricsServer asks for everything that the library serves, or did or will in another version of it.
func TestPathsAnswerAsThoseOfMetricsServer(t *testing.T) {
	s := start(t, small)
	seen := 0
	for line := range strings.Lines(reference(t, "answers.txt")) {
		fields := strings.Fields(line)
		want, err := strconv.Atoi(fields[0])
		if err != nil || len(fields) != 3 {
			t.Fatalf("%q: %v", line, err)
		}
		if got, body := s.get(fields[1], header{"Accept", fields[2]}); got != want {
			t.Errorf("%s (%s): %d %.200s, want %d", fields[1], fields[2], got, body, want)
		}
		seen++
	}
	if seen < 40 {
		t.Errorf("%d paths", seen)
	}
}

// TestTheIndexIsThatOfMetricsServer: it lists the same paths, and version v1.
func TestTheIndexIsThatOfMetricsServer(t *testing.T) {
	s := start(t, small)
	index := func(text string) (paths []string) {
		t.Helper()
		var index struct{ Paths []string }
		if err := json.Unmarshal([]byte(text), &index); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return index.Paths
	}
	_, body := s.get("/", header{"Accept", "application/json"})
	want := append(index(reference(t, "index.json")), groupV1)
	slices.Sort(want)
	if diff := cmp.Diff(want, index(body)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
