package scraper

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/transport"
)

// A file that is replaced by another one of the same size and time is another file: file systems keep times in steps, and what
// copies files may copy their times.
func TestFilesThatLookTheSame(t *testing.T) {
	folder := t.TempDir()
	at := time.Now().Add(-time.Hour)
	put := func(name string, content []byte) string {
		t.Helper()
		const size = 4 << 10 // lines between certificates are no matter
		path := filepath.Join(folder, name)
		write(t, path, append(content, bytes.Repeat([]byte{'\n'}, size-len(content))...))
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		return path
	}
	clients := newSigner(t, "clients' CA")
	var settings transport.TLSConfig
	pair := func(name string) {
		t.Helper()
		certificate, key := clients.sign(name, time.Now().Add(time.Hour))
		settings.CertFile, settings.KeyFile = put("client.crt", certificate), put("client.key", key)
	}
	settings.CAFile = put("ca.crt", newSigner(t, "one CA").pem)
	pair("one")
	good, bad := 0, 0
	f, err := newTLSFiles(settings, func(_ []byte, err error) {
		if err == nil {
			good++
		} else {
			bad++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	looks := func(wantGood, wantBad int, generation uint64) {
		t.Helper()
		for range 2 { // what was told of once isn't again
			f.look()
		}
		if _, now := f.get(); good != wantGood || bad != wantBad || now != generation {
			t.Errorf("%d changes and %d failures are told of, generation %d; want %d, %d and %d", good, bad, now, wantGood, wantBad, generation)
		}
	}
	looks(0, 0, 0)
	put("ca.crt", newSigner(t, "another CA").pem)
	looks(1, 0, 1)
	pair("another")
	looks(2, 0, 2)
	was, err := os.ReadFile(settings.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	put("client.crt", nil)
	looks(2, 1, 2)
	put("client.crt", bytes.TrimRight(was, "\n")) // that of before: nothing has changed
	looks(2, 1, 2)
	put("client.crt", nil)
	looks(2, 2, 2)
}
