package render

import (
	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/internal/shard"
	"github.com/headwater-metrics/headwater/services/internal/customresource"
)

// Options are those of the exporter that change what it exports. The zero Options export what it does without flags.
type Options struct {
	Collector collector.Options
	Custom    customresource.Options
	Shard     shard.Filter
}

// AddFlags declares the flags that set o, named as those of the exporter.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	o.Collector.AddFlags(fs)
	o.Custom.AddFlags(fs)
	o.Shard.AddFlags(fs)
}
