package collector

import (
	"fmt"
	"slices"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// Type is a family's type as TYPE lines name it.
type Type string

// The types of families. kube-state-metrics' own are gauges but for two counters; info and stateset come from custom
// resource configuration.
const (
	Gauge    Type = "gauge"
	Counter  Type = "counter"
	Info     Type = "info"
	StateSet Type = "stateset"
)

// Family describes one family of series.
type Family struct {
	Name       string
	Type       Type
	Help       string // one sentence, without the stability prefix
	Stable     bool   // kube-state-metrics promises not to change it; HELP says so
	OptIn      bool   // absent unless --metric-opt-in-list names it
	Deprecated string // the release that deprecated it, or ""
}

// HelpText is the text of the family's HELP line, with its stability in front.
func (f *Family) HelpText() string {
	text := f.Help
	if f.Deprecated != "" {
		text = "(Deprecated since " + f.Deprecated + ") " + text
	}
	if f.Stable {
		text = "[STABLE] " + text
	}
	return text
}

// traits are what a row of a kind's table says of its family beside name and help.
type traits uint8

const (
	alpha  traits = 0
	stable traits = 1 << iota
	counter
	optIn
	deprecated2_14
)

// family is a row of a kind's table: one family, and the function that writes its series for an object. O is a pointer
// to the kind's trimmed struct.
type family[O any] struct {
	name  string
	is    traits
	help  string
	write func(o O, s *Series)
}

func (f *family[O]) describe() Family {
	d := Family{Name: f.name, Type: Gauge, Help: f.help, Stable: f.is&stable != 0, OptIn: f.is&optIn != 0}
	if f.is&counter != 0 {
		d.Type = Counter
	}
	if f.is&deprecated2_14 != 0 {
		d.Deprecated = "v2.14.0"
	}
	return d
}

// kind is a pointer to a kind's trimmed struct: one that embeds object.
type kind interface{ meta() *metadata }

// families is a kind's table with its types hidden: what Kind holds.
type families interface {
	describe() []Family
	// renderer writes the families of the given indexes, in that order.
	renderer(chosen []int, settings settings) (Renderer, error)
}

// settings are the options that reach into the writing of families.
type settings struct {
	labels, annotations *allowlist
}

// table is a kind: how its objects are identified, and its families in the order of the exposition.
type table[T any, O interface {
	*T
	kind
}] struct {
	identify func(o O, s *Series)
	rows     []family[O]
}

// tableOf makes a kind of its rows.
func tableOf[T any, O interface {
	*T
	kind
}](identify func(o O, s *Series), rows []family[O]) families {
	return &table[T, O]{identify, rows}
}

func (t *table[T, O]) describe() []Family {
	all := make([]Family, len(t.rows))
	for i := range t.rows {
		all[i] = t.rows[i].describe()
	}
	return all
}

func (t *table[T, O]) renderer(chosen []int, settings settings) (Renderer, error) {
	r := &renderer[T, O]{identify: t.identify, decoder: objects.NewDecoder[T](objects.Borrow())}
	for _, i := range chosen {
		r.rows = append(r.rows, t.rows[i])
	}
	r.series.allowLabels, r.series.allowAnnotations = settings.labels, settings.annotations
	return r, nil
}

// Renderer writes the series of the objects of one resource. It is not safe for concurrent use: each goroutine has its own.
type Renderer interface {
	// Render writes the series of one object, given as its msgpack map, and returns them. The result is valid until the
	// next call. An error says what could not be read; there are no series then.
	Render(object []byte) (*Rendered, error)
}

// Rendered is what one object exports.
type Rendered struct {
	// Text holds the sample lines of all families, one family after the other in their order.
	Text []byte
	// Ends has for each family where its lines end within Text; they begin where the previous family's end.
	Ends []int
	// Skipped counts series that were left out: those that the object does not say enough for, on which
	// kube-state-metrics panics, and those that it says again, with the same value or another; kube-state-metrics writes
	// them all.
	Skipped int
	// Namespace and Name are of the object's metadata.
	Namespace, Name string
}

// Of returns the lines of family i.
func (r *Rendered) Of(i int) []byte {
	start := 0
	if i > 0 {
		start = r.Ends[i-1]
	}
	return r.Text[start:r.Ends[i]]
}

type renderer[T any, O interface {
	*T
	kind
}] struct {
	identify func(o O, s *Series)
	rows     []family[O]
	decoder  *objects.Decoder[T]
	object   T
	series   Series
	out      Rendered
}

func (r *renderer[T, O]) Render(raw []byte) (*Rendered, error) {
	if err := r.decoder.Decode(raw, &r.object); err != nil {
		return nil, err
	}
	o, s := O(&r.object), &r.series
	s.begin()
	r.identify(o, s)
	r.out.Ends = r.out.Ends[:0]
	for i := range r.rows {
		s.family = r.rows[i].name
		r.rows[i].write(o, s)
		s.finish()
		r.out.Ends = append(r.out.Ends, len(s.text))
	}
	if s.err != nil {
		return nil, fmt.Errorf("couldn't read the object: %w", s.err)
	}
	r.out.Text, r.out.Skipped = s.text, s.skipped
	r.out.Namespace, r.out.Name = o.meta().Namespace, o.meta().Name
	return &r.out, nil
}

// Resource is a kind with the options applied: the families that are exported, and how to render them.
type Resource struct {
	Name     string   // "pods"
	Group    string   // "" for the legacy group
	Families []Family // those that are exported

	chosen   []int
	settings settings
	families families
	custom   func() (Renderer, error) // in place of families
}

// NewResource makes a resource that is not of the table of kinds: a custom resource, whose families are described by a
// configuration. renderer makes one that writes just these families, in this order.
func NewResource(name, group string, families []Family, renderer func() (Renderer, error)) *Resource {
	return &Resource{Name: name, Group: group, Families: families, custom: renderer}
}

// NewRenderer makes a renderer; each goroutine needs its own.
func (r *Resource) NewRenderer() (Renderer, error) {
	if r.custom != nil {
		return r.custom()
	}
	renderer, err := r.families.renderer(r.chosen, r.settings)
	if err != nil {
		return nil, fmt.Errorf("couldn't compile the families of %s: %w", r.Name, err)
	}
	return renderer, nil
}

// Find returns the resource of that group and name, or nil.
func Find(resources []*Resource, group, name string) *Resource {
	i := slices.IndexFunc(resources, func(r *Resource) bool { return r.Name == name && r.Group == group })
	if i < 0 {
		return nil
	}
	return resources[i]
}
