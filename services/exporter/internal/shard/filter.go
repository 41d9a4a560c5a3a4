package shard

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// Filter says which objects are exported. The zero Filter has all.
type Filter struct {
	// Shard is the number of the shard, from 0; Total is how many there are. 0 and 1 mean that there is one, which has
	// everything. A shard that is not below Total has nothing.
	Shard, Total int
	// Node has only the pods that are bound to it, and its usage. "" for all.
	Node string
	// Unscheduled has only the pods that are bound to no node, and no usage. It counts before Node.
	Unscheduled bool
}

// AddFlags declares the flags that set f, named as those of kube-state-metrics. The defaults are what f holds.
func (f *Filter) AddFlags(fs *pflag.FlagSet) {
	fs.IntVar(&f.Shard, "shard", f.Shard, "Number of this shard, from 0, where several exporters divide the objects by a hash of their UID, as kube-state-metrics does. A node's usage belongs to the shard of its name.")
	fs.IntVar(&f.Total, "total-shards", max(f.Total, 1), "Number of shards; 1 for no division.")
	fs.StringVar(&f.Node, "node", f.Node, "Export only the pods of this node, and its usage: for an exporter on each node. Needs --resources=pods.")
	fs.BoolVar(&f.Unscheduled, "track-unscheduled-pods", f.Unscheduled, "Export only the pods that are bound to no node: what exporters with --node leave. Needs --resources=pods; --node has no effect beside it.")
}

// Validate returns everything that is wrong with f beside the given --resources, joined.
func (f *Filter) Validate(resources []string) error {
	var wrong []error
	if f.Total < 0 || f.Total > math.MaxInt32 {
		wrong = append(wrong, fmt.Errorf("--total-shards is %d; it must be 1 to %d", f.Total, math.MaxInt32))
	}
	if f.Shard < 0 || f.Total >= 0 && f.Shard >= max(f.Total, 1) {
		wrong = append(wrong, fmt.Errorf("--shard is %d; with --total-shards=%d it must be 0 to %d", f.Shard, f.Total, max(f.Total, 1)-1))
	}
	if onlyPods := slices.Equal(resources, []string{"pods"}); !onlyPods && (f.Node != "" || f.Unscheduled) {
		flag := "--node"
		if f.Unscheduled {
			flag = "--track-unscheduled-pods"
		}
		wrong = append(wrong, fmt.Errorf("%s is for pods alone; add --resources=pods, and export the other resources by an exporter without it", flag))
	}
	return errors.Join(wrong...)
}

// All tells whether everything is exported.
func (f *Filter) All() bool { return f.Total <= 1 && f.Shard == 0 && f.Node == "" && !f.Unscheduled }

// Wants tells whether an object of this UID is in the shard.
func (f *Filter) Wants(uid string) bool {
	return f.Total <= 1 && f.Shard == 0 || Of(uid, f.Total) == f.Shard
}

// WantsUsage tells whether the usage of a node, and of its pods, is exported.
func (f *Filter) WantsUsage(node string) bool {
	return !f.Unscheduled && (f.Node == "" || f.Node == node) && f.Wants(node)
}

// WantsPodOf tells whether the pods of a node are exported, as far as the node decides; "" stands for pods that are bound to
// none.
func (f *Filter) WantsPodOf(node string) bool {
	switch {
	case f.Unscheduled:
		return node == ""
	case f.Node != "":
		return node == f.Node
	}
	return true
}

// Keeper applies a Filter to objects. It is not safe for concurrent use: each goroutine has its own.
type Keeper struct {
	filter  *Filter
	decoder *objects.Decoder[bound]
	pod     bound
}

// bound is what is read of a pod.
type bound struct {
	Spec struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
}

// NewKeeper makes a Keeper.
func NewKeeper(f *Filter) *Keeper {
	return &Keeper{filter: f, decoder: objects.NewDecoder[bound](objects.Borrow())}
}

// Keep tells whether an object, given as its resource, its UID and its msgpack map, is exported. An error says that the
// object couldn't be read.
func (k *Keeper) Keep(resource, uid string, object []byte) (bool, error) {
	if !k.filter.Wants(uid) {
		return false, nil
	}
	if resource != "pods" || k.filter.Node == "" && !k.filter.Unscheduled {
		return true, nil
	}
	if err := k.decoder.Decode(object, &k.pod); err != nil {
		return false, err
	}
	if k.filter.Unscheduled {
		return k.pod.Spec.NodeName == "", nil
	}
	return k.pod.Spec.NodeName == k.filter.Node, nil
}
