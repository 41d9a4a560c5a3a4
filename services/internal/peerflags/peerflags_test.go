package peerflags

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

func TestAddIneffective(t *testing.T) {
	var given []string
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddIneffective(fs, map[string]string{"alone": "true", "valued": "", "other": ""}, "the peer", &given)
	if err := fs.Parse([]string{"--alone", "--valued", "x", "--alone=false"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"--alone", "--valued", "--alone"}; !slices.Equal(given, want) {
		t.Errorf("given: %v, want %v", given, want)
	}
	if fs.HasAvailableFlags() {
		t.Error("they aren't hidden")
	}
	if fs.Parse([]string{"--valued"}) == nil {
		t.Error("a flag that takes a value is taken without one")
	}
}
