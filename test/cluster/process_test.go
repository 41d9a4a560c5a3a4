package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parentVariable makes this test binary play a parent: it starts a child, says its process id, and waits to be killed.
const parentVariable = "HEADWATER_TEST_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentVariable); dir != "" {
		p := NewProcess(dir, shell("child", "exec sleep 1000"))
		if err := p.Start(context.Background()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.Pid())
		select {}
	}
	os.Exit(m.Run())
}

// shell describes a process that runs a script.
func shell(name, script string) Spec {
	return Spec{Name: name, Path: "/bin/sh", Args: []string{"-c", script}}
}

// exists is ready when the file is there.
func exists(path string) func(context.Context) error {
	return func(context.Context) error {
		_, err := os.Stat(path)
		return err
	}
}

func TestProcessStartsAgainAfterKill(t *testing.T) {
	dir := t.TempDir()
	flag := filepath.Join(dir, "flag")
	spec := shell("program", "echo hello; touch flag; exec sleep 1000")
	spec.Ready = exists(flag)
	p := NewProcess(dir, spec)
	for range 2 {
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !p.Running() {
			t.Fatal("a process that is ready doesn't run")
		}
		if err := p.Start(t.Context()); err == nil {
			t.Fatal("a running process was started again")
		}
		p.Kill()
		var exit *exec.ExitError
		if err := p.Wait(t.Context()); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the killed process ended with %v", err)
		}
		if err := os.Remove(flag); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := p.Tail(50), "hello\nhello"; got != want {
		t.Errorf("the log is %q, want %q", got, want)
	}
}

func TestProcessThatEndsBeforeItIsReady(t *testing.T) {
	spec := shell("program", "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; done; exit 3")
	spec.Ready = exists("/nowhere/at/all")
	begin := time.Now()
	err := NewProcess(t.TempDir(), spec).Start(t.Context())
	if err == nil {
		t.Fatal("it was called ready")
	}
	for _, want := range []string{"couldn't start program", "exit status 3", "line 11\n", "line 60"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error doesn't hold %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "line 10\n") {
		t.Error("the error holds more than the last 50 lines")
	}
	if waited := time.Since(begin); waited > 30*time.Second {
		t.Errorf("the end was noticed after %s", waited)
	}
}

func TestProcessThatIsNeverReadyIsStopped(t *testing.T) {
	spec := shell("program", "exec sleep 1000")
	spec.Ready = exists("/nowhere/at/all")
	spec.ReadyTimeout = 100 * time.Millisecond
	p := NewProcess(t.TempDir(), spec)
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "still failing") {
		t.Errorf("Start returned %v", err)
	}
	if p.Running() {
		t.Error("it was left running")
	}
}

func TestStopKillsWhatIgnoresIt(t *testing.T) {
	dir := t.TempDir()
	spec := shell("program", "trap '' TERM; touch flag; while true; do sleep 1000; done")
	spec.Ready, spec.Grace = exists(filepath.Join(dir, "flag")), 50*time.Millisecond
	p := NewProcess(dir, spec)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err == nil {
		t.Error("Stop didn't say that it had to kill")
	}
	if p.Running() {
		t.Error("it was left running")
	}
}

// TestChildrenDieWithTheirParent kills a parent that has no chance to clean up.
func TestChildrenDieWithTheirParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux binds a child's life to its parent's")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), parentVariable+"="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var line string
	_, scanErr := fmt.Fscanln(out, &line)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	child, err := strconv.Atoi(line)
	if err != nil || scanErr != nil {
		t.Fatalf("the parent said %q", line)
	}
	err = Eventually(t.Context(), time.Minute, func() error {
		if ended(child) {
			return nil
		}
		return fmt.Errorf("process %d is still there", child)
	})
	if err != nil {
		t.Error(err)
	}
}

// ended says whether a process is gone, or dead and only not yet reaped by whoever adopted it.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestEventually(t *testing.T) {
	calls := 0
	if err := Eventually(t.Context(), time.Minute, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil || calls != 3 {
		t.Errorf("after %d calls: %v", calls, err)
	}
	reason := errors.New("never")
	if err := Eventually(t.Context(), time.Millisecond, func() error { return reason }); !errors.Is(err, reason) {
		t.Errorf("the last reason isn't in %v", err)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 3 * blockSize {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was given twice", port)
		}
		seen[port] = true
	}
}

// TestBlocksAreHeld looks whether another process would find this one's blocks taken.
func TestBlocksAreHeld(t *testing.T) {
	if _, err := FreePort(); err != nil {
		t.Fatal(err)
	}
	portsMu.Lock()
	defer portsMu.Unlock()
	for _, claim := range claims {
		first := claim.Addr().(*net.TCPAddr).Port
		if (first-firstPort)%blockSize != 0 {
			t.Errorf("port %d is held, which is not the first of a block", first)
		}
		if listener, err := net.Listen("tcp", ":"+strconv.Itoa(first)); err == nil {
			listener.Close()
			t.Errorf("nobody holds port %d", first)
		}
	}
	if last := (nextPort - 1 - firstPort) / blockSize; len(claims) == 0 || last != (endPort-1-firstPort)/blockSize {
		t.Errorf("ports are given up to %d, of a block that ends before %d", nextPort, endPort)
	}
}

func TestListener(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	if said := Listener(port); runtime.GOOS == "linux" && !strings.HasPrefix(said, fmt.Sprintf("process %d (", os.Getpid())) {
		t.Errorf("port %d is said to be of %s", port, said)
	}
}
