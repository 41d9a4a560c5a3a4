// Package files reads small files that a user names, without ever waiting for one.
//
// What flows in: paths from flags and configuration. What flows out: their content, or an error that says what is there
// instead: a named pipe that nobody writes to would hold a process up for ever, without a word.
package files

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Check returns an error that says what it is where one of the paths leads to something else than a regular file or a link to
// one. What isn't there, and "", is passed over: whoever opens it tells.
func Check(paths ...string) error {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			if err := check(path, info); err != nil {
				return err
			}
		}
	}
	return nil
}

// check is Check of what a path leads to.
func check(path string, info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return fmt.Errorf("%s is no regular file but %s; give a file", path, kind(info.Mode()))
}

// Read returns the content of a regular file, or of a link to one, of at most limit bytes. Anything else is an error at once.
func Read(path string, limit int64) ([]byte, error) {
	if err := Check(path); err != nil {
		return nil, err
	}
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return content(f, path, limit)
}

// open opens a file without waiting: it may be a named pipe by now.
func open(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) }

// content is Read of a file that is open.
func content(f *os.File, path string, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := check(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes; is it the right file?", path, limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// kind says what is not a regular file.
func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
