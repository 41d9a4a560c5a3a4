package exposition

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

func testResource(name string, families int) *collector.Resource {
	r := &collector.Resource{Name: name}
	for i := range families {
		r.Families = append(r.Families, collector.Family{Name: fmt.Sprintf("%s_%d", name, i), Type: collector.Gauge, Help: "Help."})
	}
	return r
}

// lines renders an object as a collector would: n-th family has (seed+n)%3 lines.
func lines(resource *collector.Resource, key string, seed int) (text []byte, ends []int) {
	for i, f := range resource.Families {
		for j := range (seed + i) % 3 {
			text = fmt.Appendf(text, "%s{key=%q,n=\"%d\"} %d\n", f.Name, key, j, seed/3)
		}
		ends = append(ends, len(text))
	}
	return text, ends
}

func plain(t testing.TB, a *Answer) string {
	t.Helper()
	var out bytes.Buffer
	if err := a.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// gunzipped reads the answer's gzip form with the standard library, which checks CRC and size, and that it is one member.
func gunzipped(t testing.TB, a *Answer) string {
	t.Helper()
	var out bytes.Buffer
	if err := a.WriteGzip(&out); err != nil {
		t.Fatal(err)
	}
	if _, size := a.Sizes(); int64(out.Len()) != size {
		t.Errorf("the answer has %d bytes, Sizes said %d", out.Len(), size)
	}
	z, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	z.Multistream(false)
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		t.Errorf("%d bytes follow the gzip member", out.Len())
	}
	return string(text)
}

// model is a store in the simplest form.
type model map[string]map[string]int // resource -> key -> seed

// want is the answer that a model gives, with the lines of each family sorted.
func (m model) want(resources []*collector.Resource) string {
	var out strings.Builder
	for _, r := range resources {
		if len(m[r.Name]) == 0 {
			continue
		}
		all := make([][]string, len(r.Families))
		for key, seed := range m[r.Name] {
			text, ends := lines(r, key, seed)
			for i, end := range ends {
				all[i] = append(all[i], strings.SplitAfter(string(text[startOf(ends, i):end]), "\n")...)
			}
		}
		for i, f := range r.Families {
			slices.Sort(all[i])
			fmt.Fprintf(&out, "# HELP %s Help.\n# TYPE %s gauge\n%s", f.Name, f.Name, strings.Join(all[i], ""))
		}
	}
	return out.String()
}

// sortedFamilies sorts the lines between comments.
func sortedFamilies(text string) string {
	all := strings.SplitAfter(text, "\n")
	for start := 0; start < len(all); {
		end := start
		for end < len(all) && !strings.HasPrefix(all[end], "#") {
			end++
		}
		slices.Sort(all[start:end])
		start = end + 1
	}
	return strings.Join(all, "")
}

func TestStoreAnswersAsItsModel(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		resources := []*collector.Resource{testResource("apples", 1+rnd.IntN(5)), testResource("pears", 70)}
		store := NewStore(resources)
		m := model{"apples": {}, "pears": {}}
		for range 1000 {
			i := rnd.IntN(len(resources))
			r, key := resources[i], fmt.Sprintf("ns/%d", rnd.IntN(300))
			switch rnd.IntN(10) {
			default:
				value := rnd.IntN(50)
				text, ends := lines(r, key, value)
				before, known := m[r.Name][key]
				oldText, _ := lines(r, key, before)
				if changed := store.Table(i).Put(key, "", text, ends); changed != (!known || !bytes.Equal(text, oldText)) {
					t.Fatalf("Put says changed=%v", changed)
				}
				m[r.Name][key] = value
			case 0, 1, 2:
				want := Removed
				if _, ok := m[r.Name][key]; !ok {
					want = Unknown
				}
				if got := store.Table(i).Delete(key, ""); got != want {
					t.Fatalf("Delete: %v, want %v", got, want)
				}
				delete(m[r.Name], key)
			case 3:
				if rnd.IntN(20) == 0 {
					check(t, store, m, resources)
				}
			}
		}
		check(t, store, m, resources)
		for i, r := range resources {
			if got := store.Table(i).Objects(); got != len(m[r.Name]) {
				t.Errorf("%s: %d objects, want %d", r.Name, got, len(m[r.Name]))
			}
			for key := range m[r.Name] {
				store.Table(i).Delete(key, "")
			}
			m[r.Name] = nil
		}
		check(t, store, m, resources)
	}
}

func check(t *testing.T, store *Store, m model, resources []*collector.Resource) {
	t.Helper()
	answer := NewAnswer(Text, store.Snapshot().Groups())
	text := plain(t, answer)
	if diff := cmp.Diff(m.want(resources), sortedFamilies(text)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if text != gunzipped(t, answer) {
		t.Fatal("the gzip answer differs from the plain one")
	}
}
