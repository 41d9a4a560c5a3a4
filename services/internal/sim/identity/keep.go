package identity

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Keep is what a simulated cluster is known by, and keeps over restarts.
type Keep struct {
	// CA signs the serving certificates of the API server and the kubelets, and the client certificates.
	CA *Authority
	// FrontProxy signs the certificate with which the API server calls aggregated APIs.
	FrontProxy *Authority
	// Token is the administrator's bearer token.
	Token string
	// Epoch is the moment the cluster was first started, in whole seconds.
	Epoch time.Time

	dir string
}

// LoadKeep reads all of it from dir, making what is missing; now becomes the epoch of a new cluster. An empty dir keeps
// everything in memory.
func LoadKeep(dir string, now time.Time) (*Keep, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("couldn't make the simulated cluster's directory: %w", err)
		}
	}
	ca, err := LoadAuthority(dir, "ca", "sim-ca")
	if err != nil {
		return nil, err
	}
	frontProxy, err := LoadAuthority(dir, "front-proxy-ca", "sim-front-proxy-ca")
	if err != nil {
		return nil, err
	}
	token, err := keepText(dir, "token", NewToken())
	if err != nil {
		return nil, err
	}
	text, err := keepText(dir, "epoch", now.UTC().Format(time.RFC3339))
	if err != nil {
		return nil, err
	}
	epoch, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w; remove it to start the simulated cluster anew", filepath.Join(dir, "epoch"), err)
	}
	return &Keep{CA: ca, FrontProxy: frontProxy, Token: token, Epoch: epoch, dir: dir}, nil
}

// Recall reads a port that Remember wrote, or 0.
func (k *Keep) Recall(name string) int {
	if k.dir == "" {
		return 0
	}
	b, err := os.ReadFile(filepath.Join(k.dir, name))
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || port < 0 || port > 65535 {
		return 0
	}
	return port
}

// Remember writes a port for the next run.
func (k *Keep) Remember(name string, port int) error {
	if k.dir == "" {
		return nil
	}
	return writeFile(filepath.Join(k.dir, name), []byte(strconv.Itoa(port)+"\n"), 0o644)
}

// NewToken draws a bearer token.
func NewToken() string {
	b := make([]byte, 20)
	rand.Read(b) // never fails
	return "sim-" + hex.EncodeToString(b)
}

func keepText(dir, name, fallback string) (string, error) {
	if dir == "" {
		return fallback, nil
	}
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("couldn't read %s: %w", path, err)
	}
	return fallback, writeFile(path, []byte(fallback+"\n"), 0o600)
}
