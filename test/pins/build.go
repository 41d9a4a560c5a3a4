package pins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Status says where a program is and whether it is there yet.
type Status struct {
	Name    string
	Version string
	Path    string
	Built   bool
}

// List describes the named programs, or all that are not optional when none is named, in order and without building
// anything.
func List(names ...string) ([]Status, error) {
	programs, err := find(names)
	if err != nil {
		return nil, err
	}
	targets := make(map[string]*target)
	var list []Status
	for _, p := range programs {
		t, ok := targets[p.Module]
		if !ok {
			if t, err = resolve(p.Module); err != nil {
				return nil, err
			}
			targets[p.Module] = t
		}
		built, err := t.built(p)
		if err != nil {
			return nil, fmt.Errorf("couldn't look for %s: %w", p.Name, err)
		}
		version := t.version
		if p.Release != "" {
			if version, err = required(filepath.Join(t.source, "go.mod"), p.Release); err != nil {
				return nil, err
			}
		}
		list = append(list, Status{Name: p.Name, Version: version, Path: t.path(p), Built: built})
	}
	return list, nil
}

// Build builds what is missing of the named programs, or of all that are not optional when none is named, and returns
// their paths by name. Progress goes to log, and nothing does when nothing is missing. It may be called concurrently,
// from several processes too: the second waits for the first and then finds its work done.
func Build(ctx context.Context, log io.Writer, names ...string) (map[string]string, error) {
	programs, err := find(names)
	if err != nil {
		return nil, err
	}
	var order []string
	byModule := make(map[string][]Program)
	for _, p := range programs {
		if byModule[p.Module] == nil {
			order = append(order, p.Module)
		}
		byModule[p.Module] = append(byModule[p.Module], p)
	}
	paths := make(map[string]string, len(programs))
	for _, module := range order {
		t, err := resolve(module)
		if err != nil {
			return nil, err
		}
		if err := t.build(ctx, log, byModule[module]); err != nil {
			return nil, err
		}
		for _, p := range byModule[module] {
			paths[p.Name] = t.path(p)
		}
	}
	return paths, nil
}

// missing returns those programs which are not built.
func (t *target) missing(programs []Program) ([]Program, error) {
	var missing []Program
	for _, p := range programs {
		built, err := t.built(p)
		if err != nil {
			return nil, fmt.Errorf("couldn't look for %s: %w", p.Name, err)
		}
		if !built {
			missing = append(missing, p)
		}
	}
	return missing, nil
}

// build makes the given programs of one module, all but tests by one go command, which compiles what they share once. They
// are linked into a folder of their own and then renamed, so that a path never holds half an executable.
func (t *target) build(ctx context.Context, log io.Writer, programs []Program) error {
	missing, err := t.missing(programs)
	if err != nil || len(missing) == 0 {
		return err
	}
	if err := os.MkdirAll(t.folder, 0o755); err != nil {
		return fmt.Errorf("couldn't make a folder for builds: %w", err)
	}
	unlock, err := lock(ctx, log, filepath.Join(t.folder, ".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if missing, err = t.missing(programs); err != nil || len(missing) == 0 {
		return err
	}

	// Whoever left such a folder was killed, because the lock is ours.
	work := filepath.Join(t.folder, ".building")
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o755)); err != nil {
		return fmt.Errorf("couldn't prepare a folder for a build: %w", err)
	}
	defer os.RemoveAll(work)

	commands := [][]string{append(append([]string{"build"}, t.flags...), "-o", work+string(filepath.Separator))}
	names := make([]string, len(missing))
	for i, p := range missing {
		names[i] = p.Name
		if p.Test {
			commands = append(commands, append(append([]string{"test", "-c"}, t.flags...), "-o", filepath.Join(work, p.Name), p.Package))
		} else {
			commands[0] = append(commands[0], p.Package)
		}
	}
	if tests := len(commands) - 1; tests == len(missing) {
		commands = commands[1:]
	}
	fmt.Fprintf(log, "building %s %s (once; the first build compiles for some minutes)\n", strings.Join(names, ", "), t.version)
	begin := time.Now()
	for _, args := range commands {
		if err := t.run(ctx, log, args); err != nil {
			return fmt.Errorf("couldn't build %s, the go command's output says why (it needs the Go module proxy): %w", strings.Join(names, ", "), err)
		}
	}
	for _, p := range missing {
		if err := os.Rename(filepath.Join(work, p.executable()), t.path(p)); err != nil {
			return fmt.Errorf("couldn't keep the build of %s: %w", p.Name, err)
		}
	}
	fmt.Fprintf(log, "built %s in %s\n", strings.Join(names, ", "), time.Since(begin).Round(time.Second))
	return nil
}

// run runs the go command in the pin's folder.
func (t *target) run(ctx context.Context, log io.Writer, args []string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = t.source
	// Static executables run in an image that holds nothing else, and need no C compiler. A workspace would refuse a
	// module that it does not list.
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "PWD="+t.source)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

// lock takes the exclusive lock on the file at path. The kernel gives it up when the process ends, however it ends.
func lock(ctx context.Context, log io.Writer, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("couldn't open a lock: %w", err)
	}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for told := false; ; {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("couldn't lock %s: %w", path, err)
		}
		if !told {
			fmt.Fprintln(log, "waiting for another process that builds the same")
			told = true
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("gave up waiting for another build: %w", ctx.Err())
		case <-poll.C:
		}
	}
}
