package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOnlyRegularFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.WriteFile(path("file"), []byte("text"), 0o600), os.Symlink("file", path("link")),
		syscall.Mkfifo(path("fifo"), 0o600), os.Symlink("fifo", path("link-to-fifo")), os.Mkdir(path("folder"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "link"} {
		if data, err := Read(path(name), 4); err != nil || string(data) != "text" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for name, want := range map[string]string{"fifo": "a named pipe", "link-to-fifo": "a named pipe", "folder": "a folder"} {
		_, err := Read(path(name), 4)
		for _, err := range []error{err, Check("", path("file"), path("missing"), path(name))} {
			if err == nil || !strings.Contains(err.Error(), path(name)+" is no regular file but "+want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if err := Check(os.DevNull); err == nil || !strings.Contains(err.Error(), "a device") {
		t.Error(err)
	}
	if _, err := Read(path("file"), 3); err == nil || !strings.Contains(err.Error(), "larger than 3 bytes") {
		t.Error(err)
	}
	if _, err := Read(path("missing"), 4); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := Check("", path("file"), path("link"), path("missing")); err != nil {
		t.Error(err)
	}
}

// What was opened is looked at, too: it may have taken the place of what was looked at before.
func TestAPipeThatWasOpenedIsNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := content(f, path, 4); err == nil || !strings.Contains(err.Error(), path+" is no regular file but a named pipe") {
		t.Error(err)
	}
}
