package yamlfile

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxSize is the most bytes that Read takes, far beyond what a ConfigMap can hold.
const MaxSize = 16 << 20

// Read reads a file for Parse. What is no regular file, nor a link to one, is an error at once instead of a wait for what
// never comes; so is a file beyond MaxSize. Others are those of os.Open.
func Read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file; give one", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = errors.New(path + " is larger than a configuration can be; is it the right file?")
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
