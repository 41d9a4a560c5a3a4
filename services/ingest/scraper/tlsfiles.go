package scraper

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/transport"

	"github.com/headwater-metrics/headwater/services/internal/files"
)

// tlsFiles are the settings of TLS to kubelets, from files that may change: a CA's certificates, the client's certificate
// and key. It may be used concurrently.
type tlsFiles struct {
	settings transport.TLSConfig
	names    []string   // of the files; none if all was given as data
	changed  tlsChanged // told of each change

	read, told string // what the files were like when they were last read, and when changed was last told of an error; of look

	mu         sync.Mutex // guards what follows
	looking    bool       // look is under way
	looked     time.Time
	config     *tls.Config
	generation uint64 // of config
}

// tlsChanged is told that files of TLS are others: certificate is the client's from now on, PEM, nil where it is none of a
// file. The error says that the files are no good, and those before stay in use.
type tlsChanged func(certificate []byte, err error)

const (
	// lookEvery is how often files are looked at, if there are requests.
	lookEvery = time.Second
	// maxPEM bounds a file with certificates or a key, bytes.
	maxPEM = 4 << 20
)

// newTLSFiles reads the files for the first time.
func newTLSFiles(settings transport.TLSConfig, changed tlsChanged) (*tlsFiles, error) {
	f := &tlsFiles{settings: settings, changed: changed}
	if f.authority() {
		f.names = append(f.names, settings.CAFile)
	}
	if f.pair() {
		f.names = append(f.names, settings.CertFile, settings.KeyFile)
	}
	f.looked, f.read = time.Now(), f.state()
	var err error
	f.config, _, err = f.load()
	return f, err
}

// authority tells whether the CA is a file.
func (f *tlsFiles) authority() bool { return len(f.settings.CAData) == 0 && f.settings.CAFile != "" }

// pair tells whether the client's certificate and key are files.
func (f *tlsFiles) pair() bool {
	s := &f.settings
	return s.CertFile != "" && len(s.CertData) == 0 && s.KeyFile != "" && len(s.KeyData) == 0
}

// load makes the configuration of TLS of what is in the files now, and returns the client's certificate as PEM.
func (f *tlsFiles) load() (config *tls.Config, certificate []byte, err error) {
	settings := f.settings
	if f.authority() {
		if settings.CAData, err = files.Read(settings.CAFile, maxPEM); err != nil {
			return nil, nil, err
		}
		// The library takes an empty file for none, and would trust whom the system trusts.
		if !x509.NewCertPool().AppendCertsFromPEM(settings.CAData) {
			return nil, nil, fmt.Errorf("%s holds no certificate; it must have those of the CA, as PEM", settings.CAFile)
		}
		settings.CAFile = ""
	}
	var pair tls.Certificate
	if f.pair() {
		if certificate, err = files.Read(settings.CertFile, maxPEM); err != nil {
			return nil, nil, err
		}
		key, err := files.Read(settings.KeyFile, maxPEM)
		if err != nil {
			return nil, nil, err
		}
		if pair, err = tls.X509KeyPair(certificate, key); err != nil {
			return nil, nil, fmt.Errorf("%s with the key %s: %w", settings.CertFile, settings.KeyFile, err)
		}
		settings.CertFile, settings.KeyFile = "", ""
	}
	if config, err = transport.TLSConfigFor(&transport.Config{TLS: settings}); err != nil {
		return nil, nil, err
	}
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if f.pair() {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config, certificate, nil
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

// get returns the present configuration, not to be changed, and a number that is another for another configuration. It
// waits for no file: they are looked at beside, and until that is done what was before stays in use.
func (f *tlsFiles) get() (*tls.Config, uint64) {
	if len(f.names) == 0 {
		return f.config, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); !f.looking && now.Sub(f.looked) >= lookEvery {
		f.looked, f.looking = now, true
		go f.look()
	}
	return f.config, f.generation
}

// look takes over what the files hold, if they have changed. One look happens at a time.
func (f *tlsFiles) look() {
	state := f.state()
	if state != f.read {
		config, certificate, err := f.load()
		switch {
		case err == nil:
			// Whatever is written while it is read shows at the next look.
			f.read, f.told = state, ""
			f.changed(certificate, nil)
			f.mu.Lock()
			f.config = config
			f.generation++
			f.mu.Unlock()
		case f.told != state: // half written, perhaps: it is read again until it is good, and told of once
			f.told = state
			f.changed(nil, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looking = false
}
