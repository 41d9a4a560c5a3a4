package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Spec says how to run a program.
type Spec struct {
	// Name is what errors and the log file are called after. It is unique in a cluster.
	Name string

	// Path is the executable, Args its arguments without the program's name.
	Path string
	Args []string

	// Env is added to the environment of this process, as KEY=value.
	Env []string

	// Ready returns nil once the program does its work; it is asked again and again until then. Without it, a program
	// counts as ready when it has been started.
	Ready func(context.Context) error

	// ReadyTimeout bounds the wait for Ready. Default: three minutes, of which an idle machine needs seconds.
	ReadyTimeout time.Duration

	// Grace is how long Stop waits after SIGTERM before it kills. Default: a minute.
	Grace time.Duration
}

// Process is a program that can be started, killed and started again with the same arguments. Its output of all runs is
// appended to one log file. Methods may be called concurrently.
type Process struct {
	spec Spec
	log  string

	// mu guards the current run.
	mu  sync.Mutex
	run *run
}

// run is one life of a process.
type run struct {
	cmd *exec.Cmd

	// ended is closed when the process is gone; err may be read after that.
	ended chan struct{}
	err   error
}

// NewProcess describes a process that logs to a file in the folder. It is not started.
func NewProcess(folder string, spec Spec) *Process {
	if spec.ReadyTimeout == 0 {
		spec.ReadyTimeout = 3 * time.Minute
	}
	if spec.Grace == 0 {
		spec.Grace = time.Minute
	}
	return &Process{spec: spec, log: filepath.Join(folder, spec.Name+".log")}
}

// Start runs the program and waits until it is ready. A program that ends before it is ready, or is not ready in time,
// is stopped, and the error holds the end of its log.
func (p *Process) Start(ctx context.Context) error {
	r, err := p.start()
	if err != nil {
		return err
	}
	if p.spec.Ready == nil {
		return nil
	}
	ready, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-r.ended:
			cancel(errors.New("it ended"))
		case <-ready.Done():
		}
	}()
	err = Eventually(ready, p.spec.ReadyTimeout, func() error {
		attempt, done := context.WithTimeout(ready, 5*time.Second)
		defer done()
		return p.spec.Ready(attempt)
	})
	if err == nil {
		return nil
	}
	select {
	case <-r.ended:
		err = fmt.Errorf("it ended before it was ready (%v)", r.exit())
	default:
	}
	p.Kill()
	return fmt.Errorf("couldn't start %s: %w; its log ends with\n%s", p.spec.Name, err, p.Tail(50))
}

// start runs the program without waiting for it to be ready.
func (p *Process) start() (*run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil && !p.run.over() {
		return nil, fmt.Errorf("couldn't start %s: it is running; stop or kill it first", p.spec.Name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("couldn't open the log of %s: %w", p.spec.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.spec.Path, p.spec.Args...)
	cmd.Env = append(os.Environ(), p.spec.Env...)
	cmd.Dir = filepath.Dir(p.log)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = bound()
	if err := spawn(cmd); err != nil {
		return nil, fmt.Errorf("couldn't start %s: %w", p.spec.Name, err)
	}
	r := &run{cmd: cmd, ended: make(chan struct{})}
	go func() {
		r.err = cmd.Wait()
		close(r.ended)
	}()
	p.run = r
	return r, nil
}

// spawner runs functions on a thread that lives as long as this process. Linux delivers the parent's death signal when
// the thread that started the child ends, not the process, and the Go runtime ends threads as it likes; so children are
// started from a thread that belongs to one goroutine for ever.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// spawn starts the command from the spawner's thread.
func spawn(cmd *exec.Cmd) error {
	result := make(chan error)
	spawner() <- func() { result <- cmd.Start() }
	return <-result
}

// over says whether the run has ended.
func (r *run) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// exit says in words how the run ended.
func (r *run) exit() string {
	if r.err == nil {
		return "exit status 0"
	}
	return r.err.Error()
}

// current returns the latest run, or nil.
func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// Running says whether the program has been started and has not ended.
func (p *Process) Running() bool {
	r := p.current()
	return r != nil && !r.over()
}

// Pid returns the process id of the latest run, or 0 if there was none.
func (p *Process) Pid() int {
	if r := p.current(); r != nil {
		return r.cmd.Process.Pid
	}
	return 0
}

// Kill ends the program and its children with SIGKILL and waits until it is gone. Killing what does not run is no error.
func (p *Process) Kill() {
	r := p.current()
	if r == nil || r.over() {
		return
	}
	// The program leads a process group, see bound. It may have ended by now, which is as good.
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	<-r.ended
}

// Stop ends the program with SIGTERM, and with SIGKILL if it has not ended within its grace period, which is an error.
func (p *Process) Stop() error {
	r := p.current()
	if r == nil || r.over() {
		return nil
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.ended:
		return nil
	case <-time.After(p.spec.Grace):
		p.Kill()
		return fmt.Errorf("%s had to be killed: it was still there %s after SIGTERM", p.spec.Name, p.spec.Grace)
	}
}

// Wait waits until the current run has ended and returns how: nil for exit status 0, else an [exec.ExitError].
func (p *Process) Wait(ctx context.Context) error {
	r := p.current()
	if r == nil {
		return fmt.Errorf("couldn't wait for %s: it was never started", p.spec.Name)
	}
	select {
	case <-r.ended:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("gave up waiting for %s to end: %w", p.spec.Name, ctx.Err())
	}
}

// Name returns the name in the process's Spec.
func (p *Process) Name() string { return p.spec.Name }

// Log returns the path of the log file.
func (p *Process) Log() string { return p.log }

// Tail returns the last n lines of the log, or says why it cannot.
func (p *Process) Tail(n int) string {
	file, err := os.Open(p.log)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	defer file.Close()
	// Control plane logs grow large, and their end is enough.
	const most = 256 << 10
	if info, err := file.Stat(); err == nil && info.Size() > most {
		_, _ = file.Seek(-most, io.SeekEnd)
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	lines := bytes.Split(bytes.TrimRight(content, "\n"), []byte("\n"))
	lines = lines[max(0, len(lines)-n):]
	return string(bytes.Join(lines, []byte("\n")))
}
