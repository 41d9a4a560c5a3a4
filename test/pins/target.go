package pins

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// target is one pin module on this machine: where its sources are, how it is compiled, and where its programs go.
type target struct {
	// source is the folder with the pin's go.mod.
	source string

	// version is the release, as go.mod requires it.
	version string

	// flags are the flags of go build which decide the outcome.
	flags []string

	// folder is where the executables are kept.
	folder string
}

// locate finds the folder of this package in the checkout that the caller works in. The pins cannot be embedded,
// because they are modules of their own, and a binary built with -trimpath does not know where it came from; so it
// looks upwards from the working directory, which is inside the checkout for go run, go test and make.
func locate() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("couldn't find the working directory: %w", err)
	}
	for dir := wd; ; {
		for _, candidate := range []string{filepath.Join(dir, "pins"), filepath.Join(dir, "test", "pins")} {
			if _, err := os.Stat(filepath.Join(candidate, "kubernetes", "go.mod")); err == nil {
				return candidate, nil
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("couldn't find test/pins in or above %s: run this inside a Headwater checkout", wd)
		}
		dir = parent
	}
}

// cache returns the folder that holds all builds.
func cache() (string, error) {
	base := os.Getenv("HEADWATER_CACHE")
	if base == "" {
		var err error
		if base, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("couldn't find a cache folder, set HEADWATER_CACHE to one: %w", err)
		}
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return "", fmt.Errorf("couldn't resolve HEADWATER_CACHE: %w", err)
	}
	return filepath.Join(base, "headwater", "bin"), nil
}

// resolve describes the named pin module.
func resolve(module string) (*target, error) {
	root, err := locate()
	if err != nil {
		return nil, err
	}
	bin, err := cache()
	if err != nil {
		return nil, err
	}
	rel := releases[module]
	t := &target{source: filepath.Join(root, module)}
	if t.version, err = required(filepath.Join(t.source, "go.mod"), rel.path); err != nil {
		return nil, err
	}
	ldflags := []string{"-s", "-w"}
	for _, x := range rel.stamps(t.version) {
		ldflags = append(ldflags, "-X", x)
	}
	t.flags = []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-tags=" + rel.tags, "-ldflags=" + strings.Join(ldflags, " ")}
	sum, err := t.hash()
	if err != nil {
		return nil, err
	}
	t.folder = filepath.Join(bin, fmt.Sprintf("%s-%s-%s", module, t.version, sum))
	return t, nil
}

// required returns the version of path in a go.mod file. It reads only what go mod tidy writes: one requirement per
// line.
func required(gomod, path string) (string, error) {
	content, err := os.ReadFile(gomod)
	if err != nil {
		return "", fmt.Errorf("couldn't read a pin: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == path && strings.HasPrefix(fields[1], "v") {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("couldn't find a version of %s in %s: require it there", path, gomod)
}

// hash identifies the outcome of a build by all that goes into it. Sources of other modules are covered by go.sum.
func (t *target) hash() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintln(h, strings.Join(t.flags, "\n"))
	var files []string
	err := filepath.WalkDir(t.source, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("couldn't list a pin: %w", err)
	}
	slices.Sort(files)
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("couldn't read a pin: %w", err)
		}
		name, err := filepath.Rel(t.source, path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.ToSlash(name), len(content))
		h.Write(content)
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:12], nil
}

// Source returns the folder with the sources of the release that has the named program, in the Go module cache: its manifests
// are there.
func Source(ctx context.Context, name string) (string, error) {
	programs, err := find([]string{name})
	if err != nil {
		return "", err
	}
	t, err := resolve(programs[0].Module)
	if err != nil {
		return "", err
	}
	module := programs[0].Release
	if module == "" {
		module = releases[programs[0].Module].path
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir, cmd.Env = t.source, append(os.Environ(), "GOWORK=off", "PWD="+t.source)
	dir, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("couldn't find the sources of %s, build it first: %w", name, err)
	}
	return strings.TrimSpace(string(dir)), nil
}

// path returns where the program's executable is, or will be.
func (t *target) path(p Program) string {
	return filepath.Join(t.folder, p.Name)
}

// built says whether the program is there already.
func (t *target) built(p Program) (bool, error) {
	_, err := os.Stat(t.path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
