package parity

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/test/internal/promtext"
	"github.com/headwater-metrics/headwater/test/pins"
)

// The sizes of what is random. A run with -short compares a fifth.
var (
	fuzzObjects = flag.Int("objects", 1000, "random objects of each kind")
	fuzzSeed    = flag.Uint64("seed", 1, "seed of the random objects")
)

func size() int {
	if testing.Short() {
		return *fuzzObjects / 5
	}
	return *fuzzObjects
}

// verdict is what the oracle says of one object.
type verdict struct {
	Families []struct{ Name, Type, Text string }
	Panics   []string
}

// ask has the oracle judge objects, given as its input. stdin and args are those of the program.
func ask(ctx context.Context, oracle string, stdin []byte, args ...string) ([]verdict, error) {
	out, err := output(ctx, oracle, stdin, args...)
	if err != nil {
		return nil, err
	}
	var all []verdict
	lines := bufio.NewReader(bytes.NewReader(out))
	for decoder := json.NewDecoder(lines); decoder.More(); {
		var v verdict
		if err := decoder.Decode(&v); err != nil {
			return nil, fmt.Errorf("couldn't read the oracle's answer: %w", err)
		}
		all = append(all, v)
	}
	return all, nil
}

// output runs a program that ends by itself, in a time zone whose clocks change, as both sides' must be the same.
func output(ctx context.Context, program string, stdin []byte, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "TZ=America/New_York")
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("couldn't run %s: %w: %.2000s", filepath.Base(program), err, stderr.String())
	}
	if left := stderr.String(); left != "" && !strings.HasPrefix(left, "left out ") {
		return nil, fmt.Errorf("%s said: %.2000s", filepath.Base(program), left)
	}
	return append(stdout.Bytes(), notes(stderr.String())...), nil
}

// notes carries how many series "exporter render" left out behind its exposition: those that an object does not say enough
// for, and those that it says again.
func notes(stderr string) string {
	m := leftOut.FindStringSubmatch(stderr)
	if m == nil {
		return ""
	}
	return skippedMark + m[1] + "\n"
}

var leftOut = regexp.MustCompile(`(?m)^left out ([0-9]+) series that the objects do not say enough for, or say again$`)

const skippedMark = "# skipped "

// each takes the items of a list apart.
func each(raw []byte, do func(item []byte)) error {
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("couldn't read a list: %w", err)
	}
	for _, item := range list.Items {
		do(item)
	}
	return nil
}

func dial(ctx context.Context, port int) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}

// tools are the programs that are compared without a cluster.
type tools struct{ oracle, exporter, promtool, openmetrics string }

func buildTools(t *testing.T) tools {
	t.Helper()
	paths, err := pins.Build(t.Context(), os.Stderr, "oracle", "promtool", "openmetrics")
	if err != nil {
		t.Fatal(err)
	}
	return tools{paths["oracle"], binary("exporter"), paths["promtool"], paths["openmetrics"]}
}

// binary is the path of one of Headwater's own programs, which make build puts into bin/.
func binary(name string) string {
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	if err != nil {
		return name
	}
	return path
}

// everything are the flags under which the exporter leaves out nothing that the oracle renders.
var everything = []string{"--metric-labels-allowlist=*=[*]", "--metric-annotations-allowlist=*=[*]", "--metric-opt-in-list=."}

// TestFuzz compares what both make of random objects of every kind.
func TestFuzz(t *testing.T) {
	with := buildTools(t)
	differences := readDifferences(t)
	slots := make(chan struct{}, 4)
	for _, k := range kinds {
		t.Run(k.Resource, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			objects := make([][]byte, size())
			for n := range objects {
				var err error
				if objects[n], err = newRandom(*fuzzSeed, k.Resource, n).object(k, n); err != nil {
					t.Fatal(err)
				}
			}
			with.judge(t, k.Resource, objects, differences, nil, append([]string{"--resources=" + k.Resource}, everything...))
		})
	}
}

// judge compares the two sides' series of objects whose names are prefix + resource + "-" + their index. What
// kube-state-metrics says twice of an object is to be there once.
func (with *tools) judge(t *testing.T, resource string, objects [][]byte, differences *differences, oracleFlags, renderFlags []string) {
	t.Helper()
	var questions, list bytes.Buffer
	for _, object := range objects {
		fmt.Fprintf(&questions, `{"resource":%q,"object":%s}`+"\n", resource, object)
		list.Write(object)
		list.WriteByte('\n')
	}
	verdicts, err := ask(t.Context(), with.oracle, questions.Bytes(), oracleFlags...)
	if err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != len(objects) {
		t.Fatalf("the oracle judged %d of %d objects", len(verdicts), len(objects))
	}
	text, err := output(t.Context(), with.exporter, list.Bytes(), append(append([]string{"render"}, renderFlags...), "-")...)
	if err != nil {
		t.Fatal(err)
	}
	text, skipped := cutSkipped(text)

	want, types, panics, panicked := map[string]int{}, map[string]string{}, map[string]bool{}, map[string]int{}
	for n, v := range verdicts {
		for _, f := range v.Families {
			types[f.Name] = f.Type
			if differences.older(f.Name) {
				differences.use(f.Name) // the oracle tells it in its newer form
			}
			for line := range strings.Lines(f.Text) {
				key, value, err := promtext.Line(strings.TrimSuffix(line, "\n"))
				if err != nil {
					t.Fatalf("the oracle's line of %s: %v", f.Name, err)
				}
				want[key+" "+value]++
			}
		}
		for _, name := range v.Panics {
			panicked[name]++
			panics[fmt.Sprintf("%s %d", name, n)] = true
		}
	}
	indexOf := regexp.MustCompile(`="` + prefix + resource + `-([0-9]+)"`)
	index := func(line string) int {
		if m := indexOf.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			return n
		}
		return -1
	}
	scrape := promtext.Parse(text)
	wrong := map[string][]string{}
	note := func(what, line string) {
		name := promtext.Name(line)
		if n := index(line); !panics[fmt.Sprintf("%s %d", name, n)] && !differences.allows(name) {
			wrong[name] = append(wrong[name], what+" "+line)
		}
	}
	got := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if key, value, err := promtext.Line(strings.TrimSuffix(line, "\n")); err == nil {
			got[key+" "+value]++
		}
	}
	for line := range want {
		// Ours is there once where kube-state-metrics says a thing twice, even with several values.
		key := line[:strings.LastIndexByte(line, ' ')]
		if got[line] > 1 || got[line] == 0 && want[key+" "+scrape.Series[key]] == 0 {
			note(fmt.Sprintf("%d times instead of once:", got[line]), line)
		}
	}
	for line, n := range got {
		if want[line] == 0 {
			note(fmt.Sprintf("%d times instead of 0:", n), line)
		}
	}
	for name, kind := range types {
		if got := scrape.Types[name]; got != kind && !(got == "gauge" && (kind == "info" || kind == "stateset")) {
			t.Errorf("%s is a %s, want a %s", name, got, kind)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		lines := wrong[name]
		slices.Sort(lines)
		n := index(lines[0])
		for _, line := range lines {
			if i := index(line); i >= 0 && (n < 0 || len(objects[i]) < len(objects[n])) {
				n = i
			}
		}
		var of []string
		for _, line := range lines {
			if index(line) == n {
				of = append(of, line)
			}
		}
		object := "no object"
		if n >= 0 {
			object = string(objects[n])
		}
		t.Errorf("%s: %d lines differ; of one object:\n\t%.1500s\n\t%.6000s", name, len(lines), strings.Join(of, "\n\t"), object)
	}
	counted, again, keys := 0, 0, map[string]bool{}
	for line, n := range want {
		key := line[:strings.LastIndexByte(line, ' ')]
		if keys[key] {
			again++
		}
		keys[key] = true
		again += n - 1
	}
	for name, n := range panicked {
		if !differences.calmed(name) {
			counted += n
		}
	}
	if skipped < counted+again {
		t.Errorf("kube-state-metrics panics on %d families of these objects and repeats %d series, but only %d were counted as left out", counted, again, skipped)
	}
	for _, problem := range scrape.Problems {
		t.Errorf("not valid: %s", problem)
	}
	t.Logf("%d objects, %d series, %d families, panics of kube-state-metrics: %v", len(objects), len(want), len(types), panicked)
}

func cutSkipped(text []byte) ([]byte, int) {
	i := bytes.LastIndex(text, []byte(skippedMark))
	if i < 0 {
		return text, 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text[i+len(skippedMark):])))
	return text[:i], n
}
