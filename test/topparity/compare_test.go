package topparity

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// server is one side: where it serves the Metrics API, and a client that may ask it everything.
type server struct {
	name, url string
	client    *http.Client
}

const group = "/apis/metrics.k8s.io/v1beta1"

// get asks for a path and returns the body of a 200.
func (s server) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s%s: %s: %.300s", s.url, path, response.Status, body)
	}
	return body, err
}

// state is what one side answers: items by "nodes NAME" and "pods NAMESPACE/NAME", each as JSON in one form.
type state map[string]string

// item is the part of an answer that conditions look into.
type item struct {
	Metadata  struct{ Name, Namespace string }
	Timestamp string
	Window    string
}

// state asks for everything.
func (s server) state(ctx context.Context) (state, error) {
	all := state{}
	for _, resource := range []string{"nodes", "pods"} {
		body, err := s.get(ctx, group+"/"+resource)
		if err != nil {
			return nil, err
		}
		if err := all.add(resource, body); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return all, nil
}

// add takes a list in. The list's own fields become an item as well, the order of the items a part of it.
func (s state) add(resource string, body []byte) error {
	var list map[string]any
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("couldn't read the list of %s: %w", resource, err)
	}
	items, ok := list["items"].([]any)
	if !ok {
		return fmt.Errorf("the list of %s has no items", resource)
	}
	delete(list, "items")
	s[resource] = text(list)
	var order []string
	for _, one := range items {
		var i item
		normal := text(masked(one))
		if err := json.Unmarshal([]byte(normal), &i); err != nil {
			return fmt.Errorf("couldn't read an item of %s: %w", resource, err)
		}
		key := resource + " " + strings.TrimPrefix(i.Metadata.Namespace+"/"+i.Metadata.Name, "/")
		if _, twice := s[key]; twice {
			return fmt.Errorf("%s is there twice", key)
		}
		s[key] = normal
		order = append(order, i.Metadata.Namespace+"\x00"+i.Metadata.Name)
	}
	if !slices.IsSorted(order) {
		return fmt.Errorf("the %s are not in order", resource)
	}
	return nil
}

// masked is an answer without the time at which it was asked for, the containers in order.
func masked(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if metadata, ok := inner.(map[string]any); ok && key == "metadata" {
				if _, ok := metadata["creationTimestamp"].(string); ok {
					metadata["creationTimestamp"] = "now"
				}
			}
			if containers, ok := inner.([]any); ok && key == "containers" {
				slices.SortFunc(containers, func(a, b any) int { return cmp.Compare(text(a), text(b)) })
			}
			v[key] = masked(inner)
		}
	case []any:
		for i := range v {
			v[i] = masked(v[i])
		}
	}
	return value
}

// text is a value as JSON, fields by name.
func text(value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// answers are those of both sides.
type answers struct{ ours, theirs state }

// ask asks both sides at the same time.
func ask(ctx context.Context, our, their server) (answers, error) {
	var a answers
	var errs [2]error
	var wait sync.WaitGroup
	wait.Go(func() { a.ours, errs[0] = our.state(ctx) })
	wait.Go(func() { a.theirs, errs[1] = their.state(ctx) })
	wait.Wait()
	return a, cmp.Or(errs[0], errs[1])
}

// keys are those of either side, in order.
func (a answers) keys() []string {
	all := maps.Clone(a.ours)
	maps.Copy(all, a.theirs)
	return slices.Sorted(maps.Keys(all))
}

// expectation is a difference that is expected, and how both sides then answer.
type expectation struct {
	name string
	// may says that the sides may agree as well.
	may bool
}

// judge tells whether what one key has is right: equal, or different in the way that is expected. before is what ours
// had in the round before, now the timestamp of this round's readings.
func (d *differences) judge(e expectation, ours, theirs, before, now string) error {
	if e.name == "" || e.may && ours == theirs {
		if ours != theirs {
			return fmt.Errorf("differs:\n  ours   %s\n  theirs %s", or(ours, "nothing"), or(theirs, "nothing"))
		}
		return nil
	}
	if err := d.use(e.name); err != nil {
		return err
	}
	var i item
	if ours != "" {
		if err := json.Unmarshal([]byte(ours), &i); err != nil {
			return err
		}
	}
	var right bool
	switch e.name {
	case "kept":
		right = theirs == "" && ours != "" && ours == before
	case "resumed":
		right = theirs == "" && i.Timestamp == now
	case "recreated", "foreign", "impossible", "year-one", "distant-clock":
		right = theirs != "" && ours == ""
	case "new-node":
		right = theirs == "" && ours != ""
	case "unlabelled":
		right = theirs != "" && ours == before
	case "unlabelled-gap", "tie":
		right = theirs != ours && without(ours, "window", "cpu") == without(theirs, "window", "cpu")
	case "own-time":
		right = ours != "" && without(ours, "window", "cpu", "timestamp") == without(theirs, "window", "cpu", "timestamp")
	default:
		return fmt.Errorf("nothing says how the sides answer where they differ by %s", e.name)
	}
	if !right {
		return fmt.Errorf("doesn't differ in the way of %q (at %s):\n  ours   %s\n  before %s\n  theirs %s", e.name, now, or(ours, "nothing"), or(before, "nothing"), or(theirs, "nothing"))
	}
	return nil
}

// without is an item without fields of the given names.
func without(item string, names ...string) string {
	var value any
	if err := json.Unmarshal([]byte(item), &value); err != nil {
		return err.Error()
	}
	var drop func(any)
	drop = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, name := range names {
				delete(v, name)
			}
			for _, inner := range v {
				drop(inner)
			}
		case []any:
			for _, inner := range v {
				drop(inner)
			}
		}
	}
	drop(value)
	return text(value)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
