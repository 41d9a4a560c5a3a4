package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cost is what a process has used since its start.
type cost struct {
	cpu    time.Duration
	waited time.Duration // that its threads, together, were ready to run and had no core: what else goes on here
	peak   int64         // of its resident memory, in bytes

	resident int64 // memory now, in bytes
}

// costOf reads it where Linux keeps it. CPU time is counted there in hundredths of a second.
func costOf(pid int) (c cost, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return c, fmt.Errorf("couldn't see what a process uses: %w", err)
	}
	// The second field is the program's name in parentheses, which may hold anything; user and system time are the 14th
	// and 15th.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return c, fmt.Errorf("couldn't read what process %d uses: %q", pid, stat)
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return c, fmt.Errorf("couldn't read what process %d uses: %w", pid, err)
		}
		c.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return c, err
	}
	for _, file := range threads {
		// Nanoseconds on a core, nanoseconds of waiting for one. A thread may have ended meanwhile.
		if content, err := os.ReadFile(file); err == nil {
			if fields := strings.Fields(string(content)); len(fields) > 1 {
				ns, _ := strconv.ParseInt(fields[1], 10, 64)
				c.waited += time.Duration(ns)
			}
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return c, fmt.Errorf("couldn't see what a process uses: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		for name, into := range map[string]*int64{"VmHWM:": &c.peak, "VmRSS:": &c.resident} {
			if text, ok := strings.CutPrefix(line, name); ok {
				kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
				if err != nil {
					return c, fmt.Errorf("couldn't read what process %d uses: %w", pid, err)
				}
				*into = kilobytes << 10
			}
		}
	}
	return c, nil
}
