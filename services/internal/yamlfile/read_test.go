package yamlfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.WriteFile(path("file"), []byte("a: 1"), 0o600), os.Symlink("file", path("link")), os.Symlink("loop", path("loop")),
		syscall.Mkfifo(path("fifo"), 0o600), os.Symlink("fifo", path("link-to-fifo")),
		os.WriteFile(path("huge"), nil, 0o600), os.Truncate(path("huge"), MaxSize+1),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "link"} {
		if data, err := Read(path(name)); err != nil || string(data) != "a: 1" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for name, want := range map[string]string{
		"fifo": "no regular file", "link-to-fifo": "no regular file", ".": "no regular file", "huge": "larger than", "loop": "too many levels",
	} {
		if _, err := Read(path(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(path("missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
