package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Listener says which process of this machine listens on a TCP port, as its id and command line, where the system tells:
// Linux does, of processes of the same user. Otherwise it says that it doesn't know.
func Listener(port int) string {
	const unknown, listens = "a process that this one can't see", "0A"
	var sockets []string // what the links of such a process's open files say
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			// Number, local address, remote address, state, queues, timer, retransmissions, user, time-outs, inode.
			fields := strings.Fields(line)
			if len(fields) > 9 && fields[3] == listens && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				sockets = append(sockets, "socket:["+fields[9]+"]")
			}
		}
	}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, file := range files {
		if to, err := os.Readlink(file); err != nil || !slices.Contains(sockets, to) {
			continue
		}
		process := filepath.Dir(filepath.Dir(file))
		command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		return fmt.Sprintf("process %s (%.200s)", filepath.Base(process), strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " ")))
	}
	return unknown
}
