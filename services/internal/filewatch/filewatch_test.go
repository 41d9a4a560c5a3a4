package filewatch

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

const (
	patience = 20 * time.Second
	never    = time.Hour // to look only when told
)

// begin starts a watch and takes its first token.
func begin(t *testing.T, look time.Duration, paths ...string) *Watch {
	t.Helper()
	w := Start(look, testenv.Logger(t), paths...)
	t.Cleanup(w.Close)
	await(t, w)
	return w
}

// await waits for a token.
func await(t *testing.T, w *Watch) {
	t.Helper()
	select {
	case <-w.Changed():
	case <-time.After(patience):
		t.Fatal("no token")
	}
}

// awaitContent waits for a token after which the file has this content; "" for no file.
func awaitContent(t *testing.T, w *Watch, path, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case <-w.Changed():
			if text, _ := os.ReadFile(path); string(text) == want {
				return
			}
		case <-late:
			t.Fatalf("no token that finds %q", want)
		}
	}
}

func do(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }

// put makes a file in a single step, which is told of once.
func put(t *testing.T, path, text string) {
	t.Helper()
	made := filepath.Join(t.TempDir(), "made")
	do(t, write(made, text), os.Rename(made, path))
}

func TestFilesThatChange(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	w := begin(t, never, path)
	do(t, write(path, "come"))
	awaitContent(t, w, path, "come")
	do(t, write(path, "written"))
	awaitContent(t, w, path, "written")
	do(t, write(path+".new", "replaced"), os.Rename(path+".new", path))
	awaitContent(t, w, path, "replaced")
	do(t, os.Remove(path))
	awaitContent(t, w, path, "")
	do(t, write(path, "back"))
	awaitContent(t, w, path, "back")
}

// TestConfigMap swaps links as the kubelet does.
func TestConfigMap(t *testing.T) {
	folder := t.TempDir()
	at := func(name string) string { return filepath.Join(folder, name) }
	set := func(version, text string) {
		do(t, os.Mkdir(at(version), 0o755), write(filepath.Join(at(version), "file"), text), os.Symlink(version, at("..new")), os.Rename(at("..new"), at("..data")))
	}
	set("..1", "first")
	do(t, os.Symlink(filepath.Join("..data", "file"), at("file")))
	w := begin(t, never, at("file"))
	for _, version := range []string{"..2", "..3"} {
		set(version, version)
		awaitContent(t, w, at("file"), version)
	}
}

// TestFolders: nobody tells of a folder that isn't there, so it is looked at.
func TestFolders(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "folder")
	path := filepath.Join(folder, "file")
	w := begin(t, 20*time.Millisecond, path)
	for _, text := range []string{"come", "back"} {
		do(t, os.Mkdir(folder, 0o755), write(path, text))
		awaitContent(t, w, path, text)
		do(t, os.RemoveAll(folder))
		awaitContent(t, w, path, "")
	}
}

func TestOtherFiles(t *testing.T) {
	before, after := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "file")
	w := begin(t, never, before)
	w.Set(after)
	await(t, w) // it may have changed before
	put(t, after, "other")
	awaitContent(t, w, after, "other")
	w.Set(after, after+"2") // the same folder: nothing that wasn't told
	do(t, write(before, "unwatched"))
	select {
	case <-w.Changed():
		t.Error("a token for a file that isn't watched any more, or was watched before")
	case <-time.After(3 * settleTime):
	}
	do(t, write(after+"2", "second"))
	awaitContent(t, w, after+"2", "second")
}

// TestSettling: a token comes when files are left alone, or when that takes too long.
func TestSettling(t *testing.T) {
	for name, test := range map[string]struct {
		settle, limit time.Duration
		whole         bool
	}{
		"left alone": {time.Second, time.Hour, true},
		"never":      {time.Hour, 300 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			path := filepath.Join(folder, "file")
			w := start(never, test.settle, test.limit, testenv.Logger(t), []string{path})
			defer w.Close()
			await(t, w)
			var writing sync.WaitGroup
			stop := make(chan struct{})
			text := ""
			var mu sync.Mutex
			last, pause := time.Now(), time.Duration(0) // the longest that the file was left alone, also where the machine stood still
			step := func() {
				mu.Lock()
				defer mu.Unlock()
				now := time.Now()
				last, pause = now, max(pause, now.Sub(last))
			}
			writing.Go(func() {
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for steps := 0; steps < 20 || !test.whole; steps++ {
					select {
					case <-stop:
						return
					case <-tick.C:
					}
					step()
					text += "x"
					if err := write(path, text); err != nil {
						t.Error(err)
					}
				}
			})
			await(t, w)
			step()
			got, err := os.ReadFile(path)
			mu.Lock()
			if test.whole && (err != nil || len(got) != 20) && pause < test.settle {
				t.Errorf("the token came after %d of 20 steps, no longer than %v apart: %v", len(got), pause, err)
			}
			mu.Unlock()
			close(stop)
			writing.Wait()
		})
	}
}

// TestClose: it ends everything, whenever it comes, and may come twice.
func TestClose(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	before := runtime.NumGoroutine()
	for range 50 {
		w := Start(time.Millisecond, testenv.Logger(t), path)
		var busy sync.WaitGroup
		busy.Go(func() { w.Set(filepath.Join(folder, "folder", "file")) })
		busy.Go(w.Close)
		w.Close()
		busy.Wait()
		for len(w.changed) > 0 {
			<-w.changed
		}
		w.Set(path)
		if len(w.changed) > 0 {
			t.Fatal("a token after the end")
		}
	}
	testenv.Eventually(t, patience, func() error {
		if n := runtime.NumGoroutine(); n > before+2 {
			return errors.New("goroutines are left behind")
		}
		return nil
	})
}

// TestNothingToWatch: without files nothing is asked of the system, and nothing is told but at each look.
func TestNothingToWatch(t *testing.T) {
	w := Start(never, testenv.Logger(t))
	defer w.Close()
	select {
	case <-w.Changed():
		t.Error("a token for no file")
	case <-time.After(3 * settleTime):
	}
	path := filepath.Join(t.TempDir(), "file")
	w.Set(path)
	await(t, w)
	do(t, write(path, "come"))
	awaitContent(t, w, path, "come")
}
