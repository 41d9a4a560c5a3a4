// Command oracle answers what kube-state-metrics, in the release that this module pins, exports for given objects, one
// by one: through its own generators of families, without a cluster.
//
// Standard input holds one JSON value a line:
//
//	{"resource": "pods", "object": {...}}     an object of a resource that --resources knows
//	{"object": {...}}                         a custom object, with -custom-resources
//
// Standard output holds one JSON value a line, in the same order:
//
//	{"families": [{"name": "kube_pod_info", "type": "gauge", "text": "kube_pod_info{...} 1\n"}], "panics": ["..."]}
//
// Families that are newer than the release, or that have changed since, are answered from later.go instead. All labels
// and annotations are allowed and all opt-in families are on. A family whose generator panics is named in
// panics and has no text. With -list it prints the families of all resources, a JSON value a line, and reads nothing.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	generator "k8s.io/kube-state-metrics/v2/pkg/metric_generator"
)

type question struct {
	Resource string          `json:"resource"`
	Object   json.RawMessage `json:"object"`
}

type family struct {
	Resource string `json:"resource,omitempty"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	Text     string `json:"text,omitempty"`
}

type answer struct {
	Families []family `json:"families"`
	Panics   []string `json:"panics,omitempty"`
}

// source finds the generators of an object, and decodes it as they want it.
type source interface {
	find(resource string, object []byte) ([]generator.FamilyGenerator, any, error)
}

func main() {
	config := flag.String("custom-resources", "", "file with a configuration of Custom Resource State")
	list := flag.Bool("list", false, "print the families of all resources")
	flag.Parse()
	klog.SetLogger(logr.Discard()) // the generators log what they leave out, line by line
	if err := run(*config, *list, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func run(config string, list bool, in io.Reader, out io.Writer) error {
	w := bufio.NewWriter(out)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if list {
		for _, f := range newTable().list() {
			if err := encoder.Encode(f); err != nil {
				return err
			}
		}
		return w.Flush()
	}
	var from source = newTable()
	if config != "" {
		var err error
		if from, err = newCustom(config); err != nil {
			return err
		}
	}
	decoder := json.NewDecoder(bufio.NewReader(in))
	for n := 1; ; n++ {
		var q question
		if err := decoder.Decode(&q); err == io.EOF {
			return w.Flush()
		} else if err != nil {
			return fmt.Errorf("couldn't read line %d: %w", n, err)
		}
		families, object, err := from.find(q.Resource, q.Object)
		if err != nil {
			return fmt.Errorf("couldn't read line %d: %w", n, err)
		}
		a := ask(families, object)
		if config == "" {
			if err := a.renew(q.Resource, q.Object); err != nil {
				return fmt.Errorf("couldn't read line %d: %w", n, err)
			}
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
}

// ask lets the generators render the object.
func ask(families []generator.FamilyGenerator, object any) answer {
	a := answer{Families: []family{}}
	for i := range families {
		text, panicked := render(&families[i], object)
		if panicked {
			a.Panics = append(a.Panics, families[i].Name)
			continue
		}
		if text != "" {
			a.Families = append(a.Families, family{Name: families[i].Name, Type: string(families[i].Type), Text: text})
		}
	}
	return a
}

// renew puts what the later release says in the place of what the pinned one said.
func (a *answer) renew(resource string, object []byte) error {
	a.Families = slices.DeleteFunc(a.Families, func(f family) bool { return isLater(resource, f.Name) })
	a.Panics = slices.DeleteFunc(a.Panics, func(name string) bool { return isLater(resource, name) })
	families, err := askLater(resource, object)
	a.Families = append(a.Families, families...)
	return err
}

func isLater(resource, name string) bool {
	return slices.ContainsFunc(later[resource], func(l laterFamily) bool { return l.name == name })
}

func render(f *generator.FamilyGenerator, object any) (text string, panicked bool) {
	defer func() {
		if recover() != nil {
			text, panicked = "", true
		}
	}()
	return string(f.Generate(object).ByteSlice()), false
}
