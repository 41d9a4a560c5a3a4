//go:build !linux

package cluster

import "syscall"

// bound makes a child lead a process group of its own: Ctrl-C at a terminal then reaches only this process, which stops
// its children in order. Other systems than Linux cannot bind a child's life to its parent's.
func bound() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
