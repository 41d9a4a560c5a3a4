package scraper

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/transport"
)

// tlsFiles are the settings of TLS to kubelets, from files that may change: a CA's certificates, the client's certificate
// and key. It may be used concurrently.
type tlsFiles struct {
	settings transport.TLSConfig
	names    []string    // of the files; none if all was given as data
	changed  func(error) // told of each change; the error says that the files are no good, and those before stay in use

	mu         sync.Mutex // guards what follows
	looked     time.Time
	read, told string // what the files were like when they were last read, and when changed was last told of an error
	config     *tls.Config
	generation uint64 // of config
}

// lookEvery is how often files are looked at, if there are requests.
const lookEvery = time.Second

// newTLSFiles reads the files for the first time.
func newTLSFiles(settings transport.TLSConfig, changed func(error)) (*tlsFiles, error) {
	f := &tlsFiles{settings: settings, changed: changed}
	if len(settings.CAData) == 0 && settings.CAFile != "" {
		f.names = append(f.names, settings.CAFile)
	}
	if f.pair() {
		f.names = append(f.names, settings.CertFile, settings.KeyFile)
	}
	f.looked, f.read = time.Now(), f.state()
	var err error
	f.config, err = f.load()
	return f, err
}

// pair tells whether the client's certificate and key are files.
func (f *tlsFiles) pair() bool {
	s := &f.settings
	return s.CertFile != "" && len(s.CertData) == 0 && s.KeyFile != "" && len(s.KeyData) == 0
}

// load makes the configuration of TLS of what is in the files now.
func (f *tlsFiles) load() (*tls.Config, error) {
	config, err := transport.TLSConfigFor(&transport.Config{TLS: f.settings})
	if err != nil {
		return nil, err
	}
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if f.pair() {
		pair, err := tls.LoadX509KeyPair(f.settings.CertFile, f.settings.KeyFile)
		if err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config, nil
}

// state tells what the files are like from outside.
func (f *tlsFiles) state() string {
	var b strings.Builder
	for _, name := range f.names {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&b, "%d %d,", info.ModTime().UnixNano(), info.Size())
		} else {
			fmt.Fprintf(&b, "%v,", err)
		}
	}
	return b.String()
}

// get returns the present configuration, not to be changed, and a number that is another for another configuration.
func (f *tlsFiles) get() (*tls.Config, uint64) {
	if len(f.names) == 0 {
		return f.config, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.looked) < lookEvery {
		return f.config, f.generation
	}
	f.looked = now
	state := f.state()
	if state == f.read {
		return f.config, f.generation
	}
	config, err := f.load()
	switch {
	case err == nil:
		// Whatever is written while it is read shows at the next look.
		f.config, f.read, f.told = config, state, ""
		f.generation++
		f.changed(nil)
	case f.told != state: // half written, perhaps: it is read again until it is good, and told of once
		f.told = state
		f.changed(err)
	}
	return f.config, f.generation
}
