// Package render prints what given Kubernetes objects would export, without any server: a user tries flags on the
// output of `kubectl get -o json`, or lints what a configuration makes of it.
//
// What flows in: objects in JSON or YAML, single, as a List or as a stream of documents. What flows out: the exposition,
// as one scrape of an exporter that knows just these objects.
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

	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsjson "sigs.k8s.io/json"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// Renderer gathers objects, and writes what they export. It is not safe for concurrent use.
type Renderer struct {
	options   collector.Options
	resources []*collector.Resource
	store     *exposition.Store
	kinds     map[schema.GroupVersionKind]*kind
	left      map[string]int // why objects were left out -> how many
	skipped   int            // series that could not be told
	now       time.Time
}

// kind is how objects of a kind are rendered; encoder is nil where they are left out, because of why.
type kind struct {
	why      string
	encoder  *objects.Encoder
	table    int
	renderer collector.Renderer
}

// New makes a renderer. Errors name the option that is wrong.
func New(options collector.Options) (*Renderer, error) {
	resources, err := collector.New(options)
	if err != nil {
		return nil, err
	}
	return &Renderer{
		options: options, resources: resources, store: exposition.NewStore(resources),
		kinds: map[schema.GroupVersionKind]*kind{}, left: map[string]int{}, now: time.Now(),
	}, nil
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
	typed := row.New()
	if err := sigsjson.UnmarshalCaseSensitivePreserveInts(document, typed); err != nil {
		return fmt.Errorf("couldn't read the %s: %w", gvk.Kind, err)
	}
	made, err := k.encoder.Change(typed, schemas.Applied, r.now)
	if err != nil {
		return err
	}
	var change schemas.ObjectChange
	if err := change.Unmarshal(made.Marshal()); err != nil {
		return fmt.Errorf("couldn't read back the %s %s/%s: %w", gvk.Kind, made.Namespace, made.Name, err)
	}
	if !r.options.WantsNamespace(change.Namespace) {
		r.left[fmt.Sprintf("%s in the namespace %s, which the flags leave out", row.Resource, change.Namespace)]++
		return nil
	}
	lines, err := k.renderer.Render(change.Object)
	if err != nil {
		return fmt.Errorf("couldn't render the %s %s/%s: %w", gvk.Kind, change.Namespace, change.Name, err)
	}
	r.skipped += lines.Skipped
	r.store.Table(k.table).Put(change.Namespace+"/"+change.Name, change.UID, lines.Text, lines.Ends)
	return nil
}

// kind finds out what is done with a kind.
func (r *Renderer) kind(gvk schema.GroupVersionKind) (*kind, error) {
	if k, ok := r.kinds[gvk]; ok {
		return k, nil
	}
	k := &kind{}
	row, ok := objects.ByGVK(gvk)
	switch {
	case !ok:
		k.why = fmt.Sprintf("%s %s, a kind that is not known", gvk.GroupVersion(), gvk.Kind)
	case collector.Find(r.resources, row.Group, row.Resource) == nil:
		k.why = fmt.Sprintf("%s, which the flags leave out", row.Resource)
	default:
		k.table = slices.Index(r.resources, collector.Find(r.resources, row.Group, row.Resource))
		var err error
		if k.encoder, err = objects.NewEncoder(row); err != nil {
			return nil, err
		}
		if k.renderer, err = r.resources[k.table].NewRenderer(); err != nil {
			return nil, err
		}
	}
	r.kinds[gvk] = k
	return k, nil
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
		lines = append(lines, fmt.Sprintf("left out %d series that the objects do not say enough for", r.skipped))
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
