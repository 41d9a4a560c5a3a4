package collector

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

func TestQuantities(t *testing.T) {
	for _, text := range []string{
		"0", "1", "250m", "1m", "999m", "1001m", "1.5", "1500", "123456789n", "5u", "2e3", "1E", "2Ei", "7Pi", "3T", "1Ti", "0.0001", "-5", "-250m", "+3",
		"16Gi", "32561488Ki", "999999999999", "1000000000000", "9223372036854775807", "9223372036854775", "9223372036854776", "4194303Gi", "4194304Gi",
		"999999999999Ki", "4294967295Mi", "4294967296Mi", "123456789012k", "999999999M", "1000000G", "999999G", "1e-3", "12345678901234567890",
	} {
		q := resource.MustParse(text)
		whole := float64(q.Value())
		milli := float64(q.MilliValue()) / 1000
		if q.Value() > resource.MaxMilliValue {
			milli = whole
		}
		if got, ok := wholeUnits(text); !ok || got != whole {
			t.Errorf("%s in whole units: %v, want %v", text, got, whole)
		}
		if got, ok := milliUnits(text); !ok || got != milli {
			t.Errorf("%s to the thousandth: %v, want %v", text, got, milli)
		}
	}
	for _, text := range []string{"", "x", "1x", "1 ", "1mm", "--1"} {
		if _, ok := wholeUnits(text); ok {
			t.Errorf("%q is taken", text)
		}
		if _, ok := milliUnits(text); ok {
			t.Errorf("%q is taken to the thousandth", text)
		}
	}
}

func FuzzQuantity(f *testing.F) {
	for _, seed := range []string{"1", "250m", "16Gi", "9999999999999k", "1e3", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := resource.ParseQuantity(text)
		whole, ok := wholeUnits(text)
		if ok != (err == nil) {
			t.Fatalf("%q: ok is %v, the parser says %v", text, ok, err)
		}
		milli, _ := milliUnits(text)
		if err != nil {
			return
		}
		want := float64(q.MilliValue()) / 1000
		if q.Value() > resource.MaxMilliValue {
			want = float64(q.Value())
		}
		if whole != float64(q.Value()) || milli != want {
			t.Errorf("%q: %v and %v, want %v and %v", text, whole, milli, float64(q.Value()), want)
		}
	})
}

func TestResources(t *testing.T) {
	list := stringMap("cpu", "250m", "memory", "1500m", "ephemeral-storage", "1Gi", "storage", "1k", "hugepages-2Mi", "2Mi", "attachable-volumes-aws", "7",
		"nvidia.com/gpu", "2", "pods", "10", "plain", "1", "foo.kubernetes.io/bar", "1", "requests.example.com/x", "1", "bad/name/x", "1",
		"hugepages-x/y", "3", "example.com/odd", "what")
	for name, test := range map[string]struct {
		write func(*Series, objects.Raw)
		want  string
	}{
		"pod": {func(s *Series, l objects.Raw) { s.addResources(l, "container", "c") }, `
f{id="x",container="c",resource="attachable_volumes_aws",unit="byte"} 7
f{id="x",container="c",resource="cpu",unit="core"} 0.25
f{id="x",container="c",resource="ephemeral_storage",unit="byte"} 1.073741824e+09
f{id="x",container="c",resource="hugepages_2Mi",unit="byte"} 2.097152e+06
f{id="x",container="c",resource="hugepages_x_y",unit="byte"} 3
f{id="x",container="c",resource="hugepages_x_y",unit="integer"} 3
f{id="x",container="c",resource="memory",unit="byte"} 2
f{id="x",container="c",resource="nvidia_com_gpu",unit="integer"} 2
f{id="x",container="c",resource="storage",unit="byte"} 1000
`},
		"node": {(*Series).addNodeResources, `
f{id="x",resource="attachable_volumes_aws",unit="byte"} 7
f{id="x",resource="cpu",unit="core"} 0.25
f{id="x",resource="ephemeral_storage",unit="byte"} 1.073741824e+09
f{id="x",resource="hugepages_2Mi",unit="byte"} 2.097152e+06
f{id="x",resource="hugepages_x_y",unit="byte"} 3
f{id="x",resource="hugepages_x_y",unit="integer"} 3
f{id="x",resource="memory",unit="byte"} 1.5
f{id="x",resource="nvidia_com_gpu",unit="integer"} 2
f{id="x",resource="pods",unit="integer"} 10
f{id="x",resource="storage",unit="byte"} 1000
`},
	} {
		s := newSeries()
		test.write(s, list)
		if got := string(s.text); got != strings.TrimPrefix(test.want, "\n") {
			t.Errorf("%s:\n%s", name, got)
		}
		if s.skipped != 1 {
			t.Errorf("%s: %d series are counted as skipped, want that of example.com/odd", name, s.skipped)
		}
	}
}
