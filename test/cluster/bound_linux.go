package cluster

import "syscall"

// bound makes a child die with its parent, and lead a process group of its own: Ctrl-C at a terminal then reaches only
// this process, which stops its children in order.
func bound() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
