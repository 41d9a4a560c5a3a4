package parity

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// differences are the families that may differ, because the kube-state-metrics that can be built is older than the one
// that Headwater follows. A line of the file is
//
//	new     FAMILY  why     the older release lacks it
//	changed FAMILY  why     the older release has it in another form
//
//	calmed  FAMILY  why     the older release panics where the newer one tells a value or leaves it out
//
// Of the first two, "uncertain" in front of the reason says that the oracle does not know the newer form either.
type differences struct {
	lines map[string]*difference

	mu   sync.Mutex
	used map[string]bool
}

type difference struct {
	family    string
	what      string
	uncertain bool
}

// listed is the list that all tests of a run share, for what they need of it.
var listed *differences

func readDifferences(t *testing.T) *differences {
	t.Helper()
	if listed != nil {
		return listed
	}
	text, err := os.ReadFile(filepath.Join("testdata", "differences.txt"))
	if err != nil {
		t.Fatal(err)
	}
	d := &differences{lines: map[string]*difference{}, used: map[string]bool{}}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 4 || !slices.Contains([]string{"new", "changed", "calmed"}, fields[0]) {
			t.Fatalf("differences.txt: %q is not: new, changed or calmed, a family, the reason", strings.TrimSpace(line))
		}
		if d.lines[fields[1]] != nil {
			t.Fatalf("differences.txt: %s is there twice", fields[1])
		}
		d.lines[fields[1]] = &difference{fields[1], fields[0], fields[2] == "uncertain:"}
	}
	listed = d
	return d
}

// allows tells whether a family may differ even from what the oracle says, and notes that it did.
func (d *differences) allows(family string) bool {
	l := d.lines[family]
	if l == nil || !l.uncertain {
		return false
	}
	d.use(family)
	return true
}

// older tells whether the older release can't be asked about a family.
func (d *differences) older(family string) bool {
	l := d.lines[family]
	return l != nil && (l.what == "new" || l.what == "changed" && !l.uncertain)
}

// unknown tells whether the oracle can't be asked about a family either.
func (d *differences) unknown(family string) bool {
	l := d.lines[family]
	return l != nil && l.uncertain
}

// calmed tells whether a panic of the older release says nothing of the newer one, and notes that there was one.
func (d *differences) calmed(family string) bool {
	l := d.lines[family]
	if l == nil || l.what != "calmed" && !l.uncertain {
		return false
	}
	d.use(family)
	return true
}

// use notes that a line was needed.
func (d *differences) use(family string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used[family] = true
}

// unused are the lines that nothing needed.
func (d *differences) unused() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for family := range d.lines {
		if !d.used[family] {
			all = append(all, family)
		}
	}
	return all
}
