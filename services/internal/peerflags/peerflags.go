// Package peerflags takes the flags of the systems that Headwater replaces which mean nothing here, so that their arguments
// can be taken over as they are.
package peerflags

import "github.com/spf13/pflag"

// AddIneffective declares flags that have no effect, hidden, for the sake of a peer's arguments. flags has their names; the
// value is the flag's own when it is given without one, "" where it takes one. Each that is given is added to given, as
// it is written on a command line, so that somebody can be told.
func AddIneffective(fs *pflag.FlagSet, flags map[string]string, peer string, given *[]string) {
	for name, value := range flags {
		f := fs.VarPF(&ineffective{name: name, given: given}, name, "", "Has no effect: it is taken for the sake of "+peer+"'s arguments.")
		f.Hidden, f.NoOptDefVal = true, value
	}
}

// ineffective is a flag that only tells that it was given.
type ineffective struct {
	name  string
	given *[]string
}

// Set implements pflag.Value.
func (i *ineffective) Set(string) error {
	*i.given = append(*i.given, "--"+i.name)
	return nil
}

// String implements pflag.Value.
func (i *ineffective) String() string { return "" }

// Type implements pflag.Value.
func (i *ineffective) Type() string { return "string" }
