// Package render prints what given Kubernetes objects would export, without any server: a user tries flags on the
// output of `kubectl get -o json`, or lints what a configuration makes of it.
//
// What flows in: objects in JSON or YAML, single, as a List or as a stream of documents; custom resources too, whose
// definitions aren't needed. What flows out: the exposition, as one scrape of an exporter that knows just these objects.
//
// Promised: an object takes the way that it takes on the wire: it is pruned, encoded, and decoded again; what is left out
// is told, with how many there were; an error names the file, the document and the item.
package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsjson "sigs.k8s.io/json"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/customresource"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/shard"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// Renderer gathers objects, and writes what they export. It is not safe for concurrent use.
type Renderer struct {
	options   Options
	resources []*collector.Resource // of the table of kinds
	custom    *customresource.Set
	keeper    *shard.Keeper
	store     *exposition.Store
	kinds     map[schema.GroupVersionKind]*kind
	series    map[string]object // of custom resources -> whose it is
	left      map[string]int    // why objects were left out -> how many
	skipped   int               // series that could not be told
	repeated  int               // series that another object has
	now       time.Time
}

// kind is how objects of a kind are rendered; encoder is nil where they are left out, because of why.
type kind struct {
	why      string
	encoder  *objects.Encoder
	custom   bool
	table    int
	renderer collector.Renderer
}

// object names an object.
type object struct {
	table int
	key   string
}

// New makes a renderer. Errors name the option that is wrong.
func New(options Options) (*Renderer, error) {
	r := &Renderer{
		options: options, keeper: shard.NewKeeper(&options.Shard), kinds: map[schema.GroupVersionKind]*kind{},
		series: map[string]object{}, left: map[string]int{}, now: time.Now(),
	}
	var err error
	if r.resources, err = collector.New(options.Collector); err != nil {
		return nil, err
	}
	if options.Custom.Only {
		r.resources = nil
	}
	if err := options.Shard.Validate(options.Collector.Resources); err != nil {
		return nil, err
	}
	config, err := options.Custom.Load()
	if err != nil {
		return nil, err
	}
	keep, err := collector.FamilyFilter(options.Collector)
	if err != nil {
		return nil, err
	}
	if r.custom, err = customresource.Compile(config, keep); err != nil {
		return nil, err
	}
	r.store = exposition.NewStore(r.resources)
	return r, nil
}

// Add reads the objects of a file, whose name is for errors only. All errors of its documents are returned, joined; the
// objects of the other documents are added all the same. In a file of JSON, what stands behind a syntax error is not read.
func (r *Renderer) Add(file string, in io.Reader) error {
	data, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("%s: couldn't read it: %w", file, err)
	}
	var errs []error
	n := 0
	for document, err := range documents(data) {
		n++
		where := fmt.Sprintf("%s: document %d", file, n)
		if err != nil {
			err = fmt.Errorf("%s: couldn't parse it: %w", where, err)
		} else {
			err = r.document(where, document, schema.GroupVersionKind{})
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// header is what says what a document is.
type header struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []json.RawMessage `json:"items"`
}

// document adds an object, a list of objects or a plain array of them. Items of a list may lack their kind: it is element.
func (r *Renderer) document(where string, document []byte, element schema.GroupVersionKind) error {
	document = bytes.TrimSpace(document)
	if len(document) == 0 || bytes.Equal(document, []byte("null")) {
		return nil // nothing stands between two separators
	}
	if document[0] == '[' {
		var items []json.RawMessage
		if err := json.Unmarshal(document, &items); err != nil {
			return fmt.Errorf("%s: couldn't parse it: %w", where, err)
		}
		return r.items(where, items, element)
	}
	var h header
	if err := sigsjson.UnmarshalCaseSensitivePreserveInts(document, &h); err != nil {
		return fmt.Errorf("%s: this is not a Kubernetes object: %w", where, err)
	}
	gvk := schema.FromAPIVersionAndKind(h.APIVersion, h.Kind)
	if gvk.Kind == "" && gvk.Version == "" {
		gvk = element
	}
	if gvk.Kind == "" || gvk.Version == "" {
		return fmt.Errorf("%s: this is not a Kubernetes object: it lacks apiVersion or kind", where)
	}
	if of, ok := strings.CutSuffix(gvk.Kind, "List"); ok && (h.Items != nil || of == "") {
		if of == "" {
			return r.items(where, h.Items, schema.GroupVersionKind{})
		}
		return r.items(where, h.Items, gvk.GroupVersion().WithKind(of))
	}
	if err := r.object(gvk, document); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func (r *Renderer) items(where string, items []json.RawMessage, element schema.GroupVersionKind) error {
	var errs []error
	for i, item := range items {
		if err := r.document(fmt.Sprintf("%s, item %d", where, i+1), item, element); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// object takes an object along the way it has on the wire.
func (r *Renderer) object(gvk schema.GroupVersionKind, document []byte) error {
	k, err := r.kind(gvk)
	if err != nil {
		return err
	}
	if k.encoder == nil {
		r.left[k.why]++
		return nil
	}
	row := k.encoder.Kind()
	read, err := decode(&row, document)
	if err != nil {
		return fmt.Errorf("couldn't read the %s: %w", gvk.Kind, err)
	}
	made, err := k.encoder.Change(read, schemas.Applied, r.now)
	if err != nil {
		return err
	}
	var change schemas.ObjectChange
	if err := change.Unmarshal(made.Marshal()); err != nil {
		return fmt.Errorf("couldn't read back the %s %s/%s: %w", gvk.Kind, made.Namespace, made.Name, err)
	}
	if !r.options.Collector.WantsNamespace(change.Namespace) {
		r.left[fmt.Sprintf("%s in the namespace %s, which the flags leave out", row.Resource, change.Namespace)]++
		return nil
	}
	kept, err := r.keeper.Keep(row.Resource, change.UID, change.Object)
	if err == nil && !kept {
		r.left[fmt.Sprintf("%s that belong to other shards or nodes", row.Resource)]++
		return nil
	}
	var lines *collector.Rendered
	if err == nil {
		lines, err = k.renderer.Render(change.Object)
	}
	if err != nil {
		return fmt.Errorf("couldn't render the %s %s/%s: %w", gvk.Kind, change.Namespace, change.Name, err)
	}
	r.skipped += lines.Skipped
	of := object{k.table, change.Namespace + "/" + change.Name}
	text, ends := lines.Text, lines.Ends
	if k.custom {
		text, ends = r.own(of, lines)
	}
	r.store.Table(of.table).Put(of.key, change.UID, text, ends)
	return nil
}

// decode reads an object as its watch would: into the kind's type, or as it is.
func decode(row *objects.Kind, document []byte) (runtime.Object, error) {
	read := row.New()
	if u, ok := read.(*unstructured.Unstructured); ok {
		return u, sigsjson.UnmarshalCaseSensitivePreserveInts(document, &u.Object) // an item of a list may lack its kind
	}
	return read, sigsjson.UnmarshalCaseSensitivePreserveInts(document, read)
}

// own returns the lines of a custom resource without the series that another object has: the configuration may leave out
// what would tell the two apart.
func (r *Renderer) own(of object, lines *collector.Rendered) (text []byte, ends []int) {
	for i := range lines.Ends {
		for line := range bytes.Lines(lines.Of(i)) {
			series := string(line[:max(bytes.LastIndexByte(line, ' '), 0)])
			if owner, known := r.series[series]; known && owner != of {
				r.repeated++
				continue
			}
			r.series[series] = of
			text = append(text, line...)
		}
		ends = append(ends, len(text))
	}
	return text, ends
}

// kind finds out what is done with a kind.
func (r *Renderer) kind(gvk schema.GroupVersionKind) (*kind, error) {
	if k, ok := r.kinds[gvk]; ok {
		return k, nil
	}
	k := &kind{}
	resource, row := r.builtin(gvk, k)
	if resource == nil && k.why == "" {
		plural := r.custom.Plural(gvk)
		resource = r.custom.For(gvk, plural)
		row, k.custom = objects.Custom(gvk.GroupVersion().WithResource(plural), gvk.Kind, true), true
	}
	switch {
	case resource != nil:
		var err error
		if k.encoder, err = objects.NewEncoder(row); err != nil {
			return nil, err
		}
		if k.renderer, err = resource.NewRenderer(); err != nil {
			return nil, err
		}
		if k.table = slices.Index(r.resources, resource); k.custom {
			k.table = r.store.Add(resource)
		}
	case k.why == "":
		k.why = fmt.Sprintf("%s %s, a kind that is not known", gvk.GroupVersion(), gvk.Kind)
	}
	r.kinds[gvk] = k
	return k, nil
}

// builtin returns a kind of the table, or says why it is left out; neither if it isn't one.
func (r *Renderer) builtin(gvk schema.GroupVersionKind, k *kind) (*collector.Resource, objects.Kind) {
	row, ok := objects.ByGVK(gvk)
	if !ok {
		return nil, row
	}
	resource := collector.Find(r.resources, row.Group, row.Resource)
	if resource == nil {
		k.why = fmt.Sprintf("%s, which the flags leave out", row.Resource)
	}
	return resource, row
}

// Write writes what the objects export.
func (r *Renderer) Write(out io.Writer, format exposition.Format) error {
	return exposition.NewAnswer(format, r.store.Snapshot().Groups()).Write(out)
}

// LeftOut tells which objects are not in the exposition, and what of the others could not be told; a line each.
func (r *Renderer) LeftOut() []string {
	var lines []string
	for _, why := range slices.Sorted(maps.Keys(r.left)) {
		lines = append(lines, fmt.Sprintf("left out %d %s", r.left[why], why))
	}
	if r.skipped > 0 {
		lines = append(lines, fmt.Sprintf("left out %d series that the objects do not say enough for, or say again", r.skipped))
	}
	if r.repeated > 0 {
		lines = append(lines, fmt.Sprintf("left out %d series of custom resources that another object has too; give them labels that tell the objects apart", r.repeated))
	}
	return lines
}

// addFile adds a file, or what stands on in for "-".
func (r *Renderer) addFile(name string, in io.Reader) error {
	if name == "-" {
		return r.Add("standard input", in)
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("couldn't open a file of objects: %w", err)
	}
	defer f.Close()
	return r.Add(name, f)
}
