package customresource

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/yamlfile"
)

// Options say where the configuration is. The zero Options have none.
type Options struct {
	Config              string // the configuration itself; where it is given, ConfigFile is not read
	ConfigFile          string // the name of its file
	Only                bool   // export custom resources alone
	ContinueWithoutFile bool   // a missing file is no error: there is no configuration until it appears
}

// The names of the flags, for those who tell of them.
const (
	FlagConfig              = "custom-resource-state-config"
	FlagConfigFile          = "custom-resource-state-config-file"
	FlagOnly                = "custom-resource-state-only"
	FlagContinueWithoutFile = "continue-without-custom-resource-state-config-file"
)

// AddFlags declares the flags that set o, named as those of kube-state-metrics.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	o.AddConfigFlags(fs)
	fs.BoolVar(&o.Only, FlagOnly, o.Only, "Export nothing but the custom resources of the configuration.")
}

// AddConfigFlags declares those flags of AddFlags that say where the configuration is: all that one needs who only asks for
// the kinds.
func (o *Options) AddConfigFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Config, FlagConfig, o.Config, "Configuration of custom resources, as YAML: which of their fields are exported. Where it is given, --"+FlagConfigFile+" is not read.")
	fs.StringVar(&o.ConfigFile, FlagConfigFile, o.ConfigFile, "File with the configuration of custom resources. It is read again when it changes; one that can't be used changes nothing.")
	fs.BoolVar(&o.ContinueWithoutFile, FlagContinueWithoutFile, o.ContinueWithoutFile, "Start without the file of --"+FlagConfigFile+" if it doesn't exist, and read it when it does.")
}

// Load reads the configuration. Without one it returns nil, which is an empty Config to all who take one.
func (o *Options) Load() (*Config, error) {
	switch {
	case o.Config != "":
		return Parse("--"+FlagConfig, []byte(o.Config))
	case o.ConfigFile == "":
		return nil, nil
	}
	data, err := yamlfile.Read(o.ConfigFile)
	if errors.Is(err, fs.ErrNotExist) && o.ContinueWithoutFile {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the configuration of custom resources: %w; check --%s", err, FlagConfigFile)
	}
	return Parse(o.ConfigFile, data)
}
