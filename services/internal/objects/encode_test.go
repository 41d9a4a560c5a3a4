package objects_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/randfill"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// filler fills API objects with values that JSON can express.
func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.3).NumElements(0, 3).MaxDepth(30).Funcs(
		func(t *metav1.Time, c randfill.Continue) {
			if c.Bool() {
				*t = metav1.Unix(c.Int63n(4e9), 0)
			}
		},
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.MicroTime{Time: time.UnixMicro(c.Int63n(4e15))}
		},
		func(q *resource.Quantity, c randfill.Continue) {
			switch c.Intn(4) {
			case 0:
				*q = *resource.NewMilliQuantity(c.Int63n(1e9), resource.DecimalSI)
			case 1:
				*q = *resource.NewQuantity(c.Int63n(1e15), resource.BinarySI)
			case 2:
				*q = resource.MustParse([]string{"1000m", "1e3", "0.5Gi", "1024Ki", "0", "-3", "12345678901234567890123"}[c.Intn(7)])
			}
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = intstr.FromInt32(c.Int31())
			if c.Bool() {
				*v = intstr.FromString(c.String(0))
			}
		},
		func(v *runtime.RawExtension, c randfill.Continue) {
			if c.Bool() {
				v.Raw = fmt.Appendf(nil, `{"b":[1,2.5,%d],"a":null,"c":{"d":"e"}}`, c.Uint64())
			}
		},
		func(v *metav1.FieldsV1, c randfill.Continue) { v.SetRawBytes([]byte(`{"f:metadata":{}}`)) },
		func(v *corev1.SecretType, c randfill.Continue) { *v = corev1.SecretType("odd \xff\xfe bytes\u2028<&>") },
	)
}

// expected is the object as encoding/json sees it, pruned the slow way.
func expected(t testing.TB, kind objects.Kind, obj runtime.Object) any {
	t.Helper()
	text, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	tree["kind"], tree["apiVersion"] = kind.Kind, kind.APIVersion()
	paths, err := objects.PrunedPaths(kind)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		prune(tree, path, nil)
	}
	return plain(tree)
}

// prune removes what path names, collecting the strings in it.
func prune(value any, path []string, removed func(any)) {
	if list, ok := value.([]any); ok && path[0] == "[]" {
		for _, element := range list {
			prune(element, path[1:], removed)
		}
		return
	}
	m, ok := value.(map[string]any)
	if !ok {
		return
	}
	child, ok := m[path[0]]
	if !ok {
		return
	}
	if len(path) == 1 {
		if removed != nil {
			removed(child)
		}
		delete(m, path[0])
		return
	}
	prune(child, path[1:], removed)
	if left, ok := child.(map[string]any); ok && len(left) == 0 && path[0] == "annotations" {
		delete(m, path[0])
	}
}

// plain makes numbers comparable: int64, uint64 where needed, float64 only with a fraction or beyond 2^53.
func plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = plain(v[key])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return plain(f)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	case uint64:
		if v > math.MaxInt64 {
			return float64(v)
		}
		return int64(v)
	}
	if n := reflect.ValueOf(value); n.IsValid() && n.CanInt() {
		return n.Int()
	} else if n.IsValid() && n.CanUint() {
		return plain(n.Uint())
	}
	return value
}

// decoded reads our bytes with another library.
func decoded(t testing.TB, b []byte) any {
	t.Helper()
	var v any
	if err := msgpack.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v in % x", err, b)
	}
	return plain(v)
}

func encoder(t testing.TB, kind objects.Kind) *objects.Encoder {
	t.Helper()
	e, err := objects.NewEncoder(kind)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// check encodes a typed object and its unstructured twin, and compares both with encoding/json.
func check(t *testing.T, e *objects.Encoder, obj runtime.Object) {
	t.Helper()
	want := expected(t, e.Kind(), obj)
	got, err := e.Append([]byte("before"), obj)
	if err != nil {
		t.Fatal(err)
	}
	got = bytes.TrimPrefix(got, []byte("before"))
	if diff := cmp.Diff(want, decoded(t, got)); diff != "" {
		t.Fatalf("%s differs from JSON (-json +msgpack):\n%s", e.Kind().Resource, diff)
	}
	text, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	twin := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(text, &twin.Object); err != nil {
		t.Fatal(err)
	}
	same, err := e.Append(nil, twin)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, same) {
		t.Fatalf("%s: typed and unstructured differ:\n%s", e.Kind().Resource, cmp.Diff(decoded(t, got), decoded(t, same)))
	}
}

func TestEncodeEqualsJSON(t *testing.T) {
	for i, kind := range objects.Kinds() {
		t.Run(kind.Resource, func(t *testing.T) {
			t.Parallel()
			e := encoder(t, kind)
			f := filler(int64(i))
			for range 60 {
				obj := kind.New()
				f.Fill(obj)
				check(t, e, obj)
			}
		})
	}
}

// TestEncodeCases takes the objects that kube-state-metrics was asked about: odd strings, missing fields.
func TestEncodeCases(t *testing.T) {
	f, err := os.Open("testdata/cases.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		var c struct {
			Resource string
			Object   json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		kind, ok := objects.ByResource(c.Resource)
		if !ok {
			t.Fatalf("no kind %s", c.Resource)
		}
		obj := kind.New()
		if err := json.Unmarshal(c.Object, obj); err != nil {
			t.Fatal(err)
		}
		check(t, encoder(t, kind), obj)
		n++
	}
	if n < 39 {
		t.Errorf("only %d cases", n)
	}
}

// TestPrunedNeverAppears marks every string of an object and looks for the marks of what the table names.
func TestPrunedNeverAppears(t *testing.T) {
	for _, kind := range objects.Kinds() {
		t.Run(kind.Resource, func(t *testing.T) {
			paths, err := objects.PrunedPaths(kind)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			mark := func() string { n++; return fmt.Sprintf("mark-%d-end", n) }
			obj := kind.New()
			filler(1).NilChance(0).NumElements(1, 2).Funcs(
				func(s *string, _ randfill.Continue) { *s = mark() },
				func(b *[]byte, _ randfill.Continue) { *b = []byte(mark()) },
				func(m *metav1.ObjectMeta, c randfill.Continue) {
					c.FillNoCustom(m)
					for _, path := range objects.Everywhere() {
						if _, key, ok := strings.Cut(path, `["`); ok {
							m.Annotations[strings.TrimSuffix(key, `"]`)] = mark()
						}
					}
				},
				func(v *metav1.FieldsV1, _ randfill.Continue) { v.SetRawBytes(fmt.Appendf(nil, `{%q:1}`, mark())) },
				func(v *runtime.RawExtension, _ randfill.Continue) { v.Raw = fmt.Appendf(nil, `{%q:1}`, mark()) },
			).Fill(obj)
			e := encoder(t, kind)
			got, err := e.Append(nil, obj)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			twin := &unstructured.Unstructured{}
			if err := utiljson.Unmarshal(text, &twin.Object); err != nil {
				t.Fatal(err)
			}
			untyped, err := e.Append(nil, twin)
			if err != nil {
				t.Fatal(err)
			}

			tree := twin.Object
			for _, path := range paths {
				var secrets []string
				prune(tree, path, func(v any) {
					text, _ := json.Marshal(v)
					for _, quoted := range strings.Split(string(text), `"`) {
						if secret, err := base64.StdEncoding.DecodeString(quoted); err == nil && strings.HasPrefix(string(secret), "mark-") {
							secrets = append(secrets, quoted, string(secret))
						} else if strings.HasPrefix(quoted, "mark-") {
							secrets = append(secrets, quoted)
						}
					}
				})
				if len(secrets) == 0 {
					t.Errorf("nothing was marked at %q", path)
				}
				for _, secret := range secrets {
					if bytes.Contains(got, []byte(secret)) || bytes.Contains(untyped, []byte(secret)) {
						t.Errorf("%q travels in spite of %q", secret, path)
					}
				}
			}
			left, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			for _, quoted := range strings.Split(string(left), `"`) {
				if strings.HasPrefix(quoted, "mark-") && !bytes.Contains(got, []byte(quoted)) && quoted != string(obj.GetObjectKind().GroupVersionKind().Kind) &&
					!slices.Contains([]any{tree["kind"], tree["apiVersion"]}, any(quoted)) {
					t.Errorf("%q isn't in the table, and is missing", quoted)
				}
			}
		})
	}
}

func TestEncodeSetsKind(t *testing.T) {
	kind, _ := objects.ByResource("clusterroles")
	e := encoder(t, kind)
	for _, obj := range []runtime.Object{
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "a"}, AggregationRule: &rbacv1.AggregationRule{}},
		&unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "a"}, "aggregationRule": map[string]any{}, "rules": nil}},
	} {
		b, err := e.Append(nil, obj)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1",
			"metadata": map[string]any{"name": "a"}, "aggregationRule": map[string]any{}, "rules": nil}
		if diff := cmp.Diff(any(want), decoded(t, b)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestEncodeCustomResource(t *testing.T) {
	e := encoder(t, objects.Custom(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}, "Widget", true))
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget",
		"metadata": map[string]any{
			"name": "w", "managedFields": []any{map[string]any{"manager": "x"}},
			"annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": "secret"},
		},
		"spec": map[string]any{"size": int64(3), "ratio": 0.5, "tags": []any{"a", nil, true}},
	}}
	b, err := e.Append(nil, obj)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": "w"},
		"spec": map[string]any{"size": int64(3), "ratio": 0.5, "tags": []any{"a", nil, true}},
	}
	if diff := cmp.Diff(any(want), decoded(t, b)); diff != "" {
		t.Error(diff)
	}
}

func TestEncodeRefuses(t *testing.T) {
	pods, _ := objects.ByResource("pods")
	e := encoder(t, pods)
	for name, obj := range map[string]runtime.Object{
		"another type":         &corev1.Node{},
		"a nil pod":            (*corev1.Pod)(nil),
		"a value beyond JSON":  &unstructured.Unstructured{Object: map[string]any{"spec": make(chan int)}},
		"a number beyond JSON": &unstructured.Unstructured{Object: map[string]any{"spec": math.NaN()}},
		"an unknown IntOrString": &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{ReadinessProbe: &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.IntOrString{Type: 7}}}}}}}},
	} {
		b, err := e.Append([]byte("before"), obj)
		if err == nil || string(b) != "before" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for _, path := range []string{"spec.no", "spec.containers.name", "metadata.name.x", "{a", "", `a["b`, "a..b", `spec.nodeSelector.a.b`} {
		kind := pods
		kind.Prune = []string{path}
		if _, err := objects.NewEncoder(kind); err == nil {
			t.Errorf("prune path %q was taken", path)
		}
	}
}

// TestEncodeLeavesTheObject: an encoder reads objects that others hold too.
func TestEncodeLeavesTheObject(t *testing.T) {
	kind, _ := objects.ByResource("pods")
	e := encoder(t, kind)
	f := filler(rand.Int63())
	pod := &corev1.Pod{}
	f.Fill(pod)
	pod.Spec.Overhead = corev1.ResourceList{"cpu": *resource.NewMilliQuantity(1500, resource.DecimalSI)}
	before := pod.DeepCopy()
	if _, err := e.Append(nil, pod); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, pod) {
		t.Error("the object was changed")
	}
}
