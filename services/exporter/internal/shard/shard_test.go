package shard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// totals are the columns of vectors.
var totals = []int{1, 2, 3, 4, 5, 8, 16, 100, 1000}

// vectors are what kube-state-metrics computes: hash/fnv's New64a and github.com/dgryski/go-jump.
var vectors = []struct {
	uid    string
	shards []int
}{
	{"", []int{0, 1, 1, 1, 1, 1, 13, 90, 266}},
	{"a", []int{0, 1, 2, 2, 2, 2, 12, 31, 163}},
	{"0e5f0b4e-7a4c-4b3e-9c8e-2b1a7d3c9f10", []int{0, 1, 1, 1, 1, 1, 12, 66, 66}},
	{"7d0c7f5e-12aa-4f0c-8d2b-5f1d5b6a0c01", []int{0, 0, 2, 2, 2, 2, 15, 15, 477}},
	{"uid-1", []int{0, 0, 0, 0, 0, 0, 9, 56, 496}},
	{"ünïcödé", []int{0, 1, 2, 2, 2, 7, 7, 38, 38}},
}

func TestShardsAreThoseOfKubeStateMetrics(t *testing.T) {
	for _, v := range vectors {
		for i, total := range totals {
			if got := Of(v.uid, total); got != v.shards[i] {
				t.Errorf("%q of %d: %d, want %d", v.uid, total, got, v.shards[i])
			}
		}
	}
	// From the paper's authors, in C++, and from Guava.
	for i, want := range []int{0, 55, 62, 8, 45, 59, 86, 97, 82, 59, 73, 37, 17, 56, 86, 21, 90, 37, 38, 83} {
		if got := jump(uint64(i), 100); got != want {
			t.Errorf("key %d of 100: %d, want %d", i, got, want)
		}
	}
	for _, total := range []int{-1, 0, 1} {
		if got := Of("a", total); got != 0 {
			t.Errorf("of %d: %d", total, got)
		}
	}
}

func TestShardsTogetherHaveEverythingOnce(t *testing.T) {
	for total := 1; total <= 7; total++ {
		counts := make([]int, total)
		for i := range 7000 {
			uid, owners := fmt.Sprintf("uid-%d", i), 0
			for s := range total {
				if (&Filter{Shard: s, Total: total}).Wants(uid) {
					owners++
					counts[s]++
				}
			}
			if owners != 1 {
				t.Fatalf("%s has %d owners among %d", uid, owners, total)
			}
			// A further shard takes objects from the others; between these nothing moves.
			if before, after := Of(uid, total), Of(uid, total+1); after != before && after != total {
				t.Fatalf("%s moves from %d to %d when there are %d instead of %d", uid, before, after, total+1, total)
			}
		}
		if slices.Min(counts) < 7000/total*8/10 {
			t.Errorf("of %d: %v", total, counts)
		}
	}
	if (&Filter{Shard: 3, Total: 3}).Wants("a") || (&Filter{Shard: 1, Total: 1}).Wants("a") {
		t.Error("a shard beyond the last has something")
	}
}

// pod is the message of one that is bound to a node, or to none.
func pod(node string) []byte {
	object := wire.AppendMapLen(nil, 2)
	object = wire.AppendString(object, "metadata")
	object = wire.AppendMapLen(object, 0)
	object = wire.AppendString(object, "spec")
	if node == "" {
		return wire.AppendMapLen(object, 0)
	}
	return wire.AppendString(wire.AppendString(wire.AppendMapLen(object, 1), "nodeName"), node)
}

func TestNodes(t *testing.T) {
	for _, test := range []struct {
		filter         Filter
		a, b, none     bool
		usageA, usageB bool
	}{
		{Filter{}, true, true, true, true, true},
		{Filter{Node: "a"}, true, false, false, true, false},
		{Filter{Unscheduled: true}, false, false, true, false, false},
		{Filter{Node: "a", Unscheduled: true}, false, false, true, false, false},
	} {
		k := NewKeeper(&test.filter)
		for node, want := range map[string]bool{"a": test.a, "b": test.b, "": test.none} {
			if got, err := k.Keep("pods", "u", pod(node)); err != nil || got != want {
				t.Errorf("%+v, pod on %q: %v, error %v", test.filter, node, got, err)
			}
		}
		if a, b := test.filter.WantsUsage("a"), test.filter.WantsUsage("b"); a != test.usageA || b != test.usageB {
			t.Errorf("%+v: usage of a %v, of b %v", test.filter, a, b)
		}
		if test.filter.All() != (test.filter == Filter{}) {
			t.Errorf("%+v: All is %v", test.filter, test.filter.All())
		}
	}
	if keep, err := NewKeeper(&Filter{Node: "a"}).Keep("pods", "u", []byte{0xc1}); keep || !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("garbage: %v, %v", keep, err)
	}
	if keep, err := NewKeeper(&Filter{Node: "a"}).Keep("nodes", "u", []byte{0xc1}); !keep || err != nil {
		t.Errorf("another resource: %v, %v", keep, err)
	}
}

func TestFlags(t *testing.T) {
	for _, test := range []struct{ args, resources, want string }{
		{"", "", ""},
		{"--shard=2 --total-shards=3", "", ""},
		{"--shard=3 --total-shards=3", "", "--shard is 3; with --total-shards=3 it must be 0 to 2"},
		{"--shard=1", "", "--shard is 1; with --total-shards=1 it must be 0 to 0"},
		{"--shard=-1", "", "--shard is -1"},
		{"--total-shards=-2", "", "--total-shards is -2; it must be 1 to 2147483647"},
		{"--total-shards=9223372036854775807", "", "it must be 1 to 2147483647"},
		{"--node=a", "pods", ""},
		{"--node=a", "", "--node is for pods alone; add --resources=pods"},
		{"--node=a", "pods,nodes", "--node is for pods alone"},
		{"--track-unscheduled-pods", "nodes", "--track-unscheduled-pods is for pods alone"},
		{"--track-unscheduled-pods --node=a", "pods", ""},
	} {
		var f Filter
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.AddFlags(fs)
		if err := fs.Parse(strings.Fields(test.args)); err != nil {
			t.Fatal(err)
		}
		var resources []string
		if test.resources != "" {
			resources = strings.Split(test.resources, ",")
		}
		err := f.Validate(resources)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, resources %s: %v", test.args, test.resources, err)
		}
	}
}

func BenchmarkWants(b *testing.B) {
	f := Filter{Shard: 1, Total: 4}
	for b.Loop() {
		f.Wants("0e5f0b4e-7a4c-4b3e-9c8e-2b1a7d3c9f10")
	}
}
