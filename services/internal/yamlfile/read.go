package yamlfile

import "github.com/headwater-metrics/headwater/services/internal/files"

// MaxSize is the most bytes that Read takes, far beyond what a ConfigMap can hold.
const MaxSize = 16 << 20

// Read reads a file for Parse. What is no regular file, nor a link to one, is an error at once instead of a wait for what
// never comes; so is a file beyond MaxSize. Others are those of os.Open.
func Read(path string) ([]byte, error) { return files.Read(path, MaxSize) }
