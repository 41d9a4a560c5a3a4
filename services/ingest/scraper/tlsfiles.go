package scraper

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/transport"

	"github.com/headwater-metrics/headwater/services/internal/files"
)

// tlsFiles are the settings of TLS to kubelets, from files that may change: a CA's certificates, the client's certificate
// and key. It may be used concurrently.
type tlsFiles struct {
	settings transport.TLSConfig
	changed  tlsChanged // told of each change

	// Of look.
	held tlsContent  // what is in use
	told *tlsContent // what is no good and changed was told of; nil for none

	mu         sync.Mutex // guards what follows
	looking    bool       // look is under way
	looked     time.Time
	config     *tls.Config
	generation uint64 // of config
}

// tlsContent is what was in the files at one time; their times and sizes don't tell, since a file may be replaced by another
// one that has the same.
type tlsContent struct {
	authority, certificate, key []byte // PEM; nil for what is given otherwise
	err                         error  // one of the files can't be read
}

// same tells whether nothing has changed.
func (c *tlsContent) same(as *tlsContent) bool {
	if c.err != nil || as.err != nil {
		return c.err != nil && as.err != nil && c.err.Error() == as.err.Error()
	}
	return bytes.Equal(c.authority, as.authority) && bytes.Equal(c.certificate, as.certificate) && bytes.Equal(c.key, as.key)
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
	f := &tlsFiles{settings: settings, changed: changed, looked: time.Now()}
	f.held = f.read()
	var err error
	f.config, err = f.load(&f.held)
	return f, err
}

// authority tells whether the CA is a file.
func (f *tlsFiles) authority() bool { return len(f.settings.CAData) == 0 && f.settings.CAFile != "" }

// pair tells whether the client's certificate and key are files.
func (f *tlsFiles) pair() bool {
	s := &f.settings
	return s.CertFile != "" && len(s.CertData) == 0 && s.KeyFile != "" && len(s.KeyData) == 0
}

// read reads the files.
func (f *tlsFiles) read() (c tlsContent) {
	read := func(file string) (content []byte) {
		if c.err == nil {
			content, c.err = files.Read(file, maxPEM)
		}
		return content
	}
	if f.authority() {
		c.authority = read(f.settings.CAFile)
	}
	if f.pair() {
		c.certificate, c.key = read(f.settings.CertFile), read(f.settings.KeyFile)
	}
	return c
}

// load makes the configuration of TLS of what is in the files.
func (f *tlsFiles) load(c *tlsContent) (*tls.Config, error) {
	if c.err != nil {
		return nil, c.err
	}
	settings := f.settings
	if f.authority() {
		// The library takes an empty file for none, and would trust whom the system trusts.
		if !x509.NewCertPool().AppendCertsFromPEM(c.authority) {
			return nil, fmt.Errorf("%s holds no certificate; it must have those of the CA, as PEM", settings.CAFile)
		}
		settings.CAData, settings.CAFile = c.authority, ""
	}
	var pair tls.Certificate
	if f.pair() {
		var err error
		if pair, err = tls.X509KeyPair(c.certificate, c.key); err != nil {
			return nil, fmt.Errorf("%s with the key %s: %w", settings.CertFile, settings.KeyFile, err)
		}
		settings.CertFile, settings.KeyFile = "", ""
	}
	config, err := transport.TLSConfigFor(&transport.Config{TLS: settings})
	if err != nil {
		return nil, err
	}
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if f.pair() {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config, nil
}

// get returns the present configuration, not to be changed, and a number that is another for another configuration. It
// waits for no file: they are looked at beside, and until that is done what was before stays in use.
func (f *tlsFiles) get() (*tls.Config, uint64) {
	if !f.authority() && !f.pair() {
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
	now := f.read()
	switch {
	case now.same(&f.held):
		f.told = nil
	case f.told != nil && now.same(f.told): // half written, perhaps
	default:
		f.take(now)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looking = false
}

// take puts to use what the files hold, if it is any good.
func (f *tlsFiles) take(now tlsContent) {
	config, err := f.load(&now)
	if err != nil {
		f.told = &now
		f.changed(nil, err)
		return
	}
	f.held, f.told = now, nil
	f.changed(now.certificate, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.config = config
	f.generation++
}
