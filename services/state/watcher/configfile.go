package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/filewatch"
	"github.com/headwater-metrics/headwater/services/internal/yamlfile"
)

// configFile is the file of the configuration of custom resources, which is read again when it changes.
type configFile struct {
	options customresource.Options
	metrics *configMetrics
	last    contents // as they were read last, good or bad
	had     bool     // what is wanted comes from the file
}

// contents are those of a file at one moment.
type contents struct {
	data []byte
	err  error // it can't be read
}

func (c *contents) missing() bool { return errors.Is(c.err, fs.ErrNotExist) }

// same tells whether nothing has changed.
func (c *contents) same(as *contents) bool {
	if c.err != nil || as.err != nil {
		return c.err != nil && as.err != nil && c.err.Error() == as.err.Error()
	}
	return bytes.Equal(c.data, as.data)
}

// configure takes what the configuration says of which custom resources are wanted: that of the flag, or of the file as it is
// now, which Run follows.
func (s *Service) configure() error {
	options := s.cfg.CustomResourceState
	if options.Config != "" || options.ConfigFile == "" {
		config, err := options.Load()
		if err == nil {
			s.WantCustomResources(config.Kinds())
		}
		return err
	}
	s.file = &configFile{options: options, metrics: newConfigMetrics(s.cfg.Registry)}
	config, err := s.file.read()
	if err != nil {
		return err
	}
	s.file.metrics.loaded(nil)
	s.WantCustomResources(config.Kinds())
	return nil
}

// read reads the file.
func (f *configFile) read() (*customresource.Config, error) {
	f.last.data, f.last.err = yamlfile.Read(f.options.ConfigFile)
	switch {
	case f.last.missing() && f.options.ContinueWithoutFile && !f.had:
		return nil, nil // it may be missing, but only before it has come
	case f.last.err != nil:
		return nil, fmt.Errorf("couldn't read the configuration of custom resources: %w; check --%s", f.last.err, customresource.FlagConfigFile)
	}
	config, err := customresource.Parse(f.options.ConfigFile, f.last.data)
	f.had = f.had || err == nil
	return config, err
}

// followFile has what the file says wanted, whenever it has changed, until ctx ends. What can't be used changes nothing.
func (s *Service) followFile(ctx context.Context) {
	if s.file == nil {
		return
	}
	watch := filewatch.Start(filewatch.Look, s.log, s.file.options.ConfigFile)
	defer watch.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-watch.Changed():
			s.reload()
		}
	}
}

// reload reads the file again.
func (s *Service) reload() {
	before := s.file.last
	config, err := s.file.read()
	if s.file.last.same(&before) {
		return
	}
	s.file.metrics.loaded(err)
	if err != nil {
		s.file.metrics.failed.Inc()
		s.log.Error("couldn't use the changed configuration of custom resources, what is watched stays as it is: correct the file", "error", err)
		return
	}
	s.file.metrics.reloads.Inc()
	s.log.Info("read the changed configuration of custom resources", "file", s.file.options.ConfigFile)
	s.WantCustomResources(config.Kinds())
}
