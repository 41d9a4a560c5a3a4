package server

import (
	"crypto/md5" // not for security: it is what kube-state-metrics shows of a file
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	compiled "github.com/headwater-metrics/headwater/services/exporter/customresource"
	"github.com/headwater-metrics/headwater/services/exporter/usage"
	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/yamlfile"
)

// settings are what is exported, worked out from the flags, the files and the shard. They never change: a change of any of
// these makes others.
type settings struct {
	options *Options
	catalog *catalog
	usage   *usage.Selection // nil for none
	print   string           // equal for settings that export the same
}

// The files that options come from, by the names that kube-state-metrics' metrics have for them.
const (
	fileConfig = "config"
	fileCustom = "customresourceconfig"
)

// file is a file as it was found.
type file struct {
	kind    string
	path    string
	data    []byte
	missing bool
	err     error // why it can't be used; nil for a missing one that may be missing
}

// hash is the file's content as kube-state-metrics shows it.
func (f *file) hash() float64 {
	sum := md5.Sum(f.data)
	var low [8]byte
	copy(low[:], sum[:6])
	return float64(binary.LittleEndian.Uint64(low[:]))
}

// same tells whether the file is as it was.
func (f *file) same(as *file) bool {
	return f.path == as.path && f.missing == as.missing && string(f.data) == string(as.data)
}

func readFile(kind, path string, mayBeMissing bool, flag, otherwise string) file {
	f := file{kind: kind, path: path}
	f.data, f.err = yamlfile.Read(path)
	if f.missing = errors.Is(f.err, fs.ErrNotExist); f.missing && mayBeMissing {
		f.err = nil
	}
	if f.err != nil {
		f.err = fmt.Errorf("couldn't read the file of --%s: %w; correct the path, or give --%s to begin without it", flag, f.err, otherwise)
	}
	return f
}

// inputs are the flags and the files as they were read at one moment.
type inputs struct {
	options *Options // the files applied
	files   []file
	custom  *customresource.Config // nil for none
	ignored []string               // keys of the file that have no effect
}

// readInputs reads the files that the flags name. What is wrong is told all together; inputs.files has for each file what
// is wrong with it, and which one it is that can't be used.
func readInputs(flags *Options) (*inputs, error) {
	options := *flags
	in := &inputs{options: &options}
	if flags.ConfigFile != "" {
		f := readFile(fileConfig, flags.ConfigFile, flags.ContinueWithoutConfig, "config", "continue-without-config")
		if f.err == nil && !f.missing {
			in.ignored, f.err = readConfig(f.path, f.data, &options)
		}
		in.files = append(in.files, f)
		if f.err != nil {
			return in, f.err
		}
	}
	if err := options.Validate(); err != nil {
		return in, err
	}
	c := &options.Custom
	switch {
	case c.Config != "":
		var err error
		in.custom, err = customresource.Parse("--"+customresource.FlagConfig, []byte(c.Config))
		return in, err
	case c.ConfigFile != "":
		f := readFile(fileCustom, c.ConfigFile, c.ContinueWithoutFile, customresource.FlagConfigFile, customresource.FlagContinueWithoutFile)
		if f.err == nil && !f.missing {
			in.custom, f.err = customresource.Parse(f.path, f.data)
		}
		in.files = append(in.files, f)
		return in, f.err
	}
	return in, nil
}

// settings works out what the inputs mean with a shard; nil for the one that they name themselves. An error that a file is to
// blame for is noted in it.
func (in *inputs) settings(cluster string, own *assignment) (*settings, error) {
	options := *in.options
	if own != nil {
		options.Shard.Shard, options.Shard.Total = own.shard, own.total
	}
	blame := func(kind string, err error) (*settings, error) {
		for i := range in.files {
			if in.files[i].kind == kind {
				in.files[i].err = err
			}
		}
		return nil, err
	}
	keep, err := collector.FamilyFilter(options.Collector)
	if err != nil {
		return blame(fileConfig, err)
	}
	var custom customSet
	if in.custom != nil {
		set, err := compiled.Compile(in.custom, keep)
		if err != nil {
			return blame(fileCustom, err)
		}
		custom = set
	}
	s := &settings{options: &options}
	if s.catalog, err = newCatalog(cluster, &options, custom); err != nil {
		return blame(fileConfig, err)
	}
	if options.Usage && !options.Custom.Only && !options.Shard.Unscheduled {
		s.usage, err = usage.Select(usage.Filter{Node: options.Shard.WantsUsage, Namespace: options.Collector.WantsNamespace, Family: keep})
		if err != nil {
			return blame(fileConfig, err)
		}
		if s.usage.Empty() {
			s.usage = nil
		}
	}
	var spec customresource.Spec
	if in.custom != nil {
		spec = in.custom.Spec
	}
	text, err := json.Marshal([]any{options.Collector, options.Shard, options.Custom.Only, options.MaxSampleAge, options.Gzip, options.Usage, spec})
	if err != nil {
		return nil, fmt.Errorf("couldn't compare the options: %w", err)
	}
	s.print = string(text)
	return s, nil
}

// needRestart names the flags whose values differ from those that the process began with, and take effect at its next start
// only.
func needRestart(begun, now *Options) (flags []string) {
	for _, o := range []struct {
		flag string
		same bool
	}{
		{"host and port", begun.ListenAddress == now.ListenAddress},
		{"telemetry-host and telemetry-port", begun.TelemetryAddress == now.TelemetryAddress},
		{"server-read-timeout", begun.ReadTimeout == now.ReadTimeout},
		{"server-write-timeout", begun.WriteTimeout == now.WriteTimeout},
		{"server-idle-timeout", begun.IdleTimeout == now.IdleTimeout},
		{"server-read-header-timeout", begun.ReadHeaderTimeout == now.ReadHeaderTimeout},
		{"tls-config, auth-filter, apiserver and kubeconfig", begun.Web == now.Web},
		{"pod and pod-namespace", begun.Pod == now.Pod && begun.PodNamespace == now.PodNamespace},
	} {
		if !o.same {
			flags = append(flags, o.flag)
		}
	}
	return slices.Clip(flags)
}
