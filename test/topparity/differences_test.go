package topparity

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// differences are what may differ on purpose: names that scripts use, with their reasons.
type differences struct {
	mu    sync.Mutex
	lines map[string]string
	used  map[string]bool
}

func readDifferences() (*differences, error) {
	text, err := os.ReadFile(filepath.Join("testdata", "differences.txt"))
	if err != nil {
		return nil, err
	}
	return parseDifferences(string(text))
}

func parseDifferences(text string) (*differences, error) {
	d := &differences{lines: map[string]string{}, used: map[string]bool{}}
	for line := range strings.Lines(text) {
		name, why, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" || name[0] == '#' {
			continue
		}
		if why = strings.TrimSpace(why); why == "" {
			return nil, fmt.Errorf("differences.txt: %s has no reason", name)
		}
		if d.lines[name] != "" {
			return nil, fmt.Errorf("differences.txt: %s is there twice", name)
		}
		d.lines[name] = why
	}
	return d, nil
}

// use notes that a line was needed; it is an error if there is none.
func (d *differences) use(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lines[name] == "" {
		return fmt.Errorf("%s is no line of differences.txt", name)
	}
	d.used[name] = true
	return nil
}

// unused are the lines that nothing needed.
func (d *differences) unused() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for name := range d.lines {
		if !d.used[name] {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}
