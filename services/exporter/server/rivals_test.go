package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestEverySeriesIsThereOnce has objects of two kinds come, change and go at random, which claim few series between them.
// After each step each series that somebody claims is exported, once.
func TestEverySeriesIsThereOnce(t *testing.T) {
	families := []collector.Family{{Name: "a", Type: collector.Gauge, Help: "A."}, {Name: "b", Type: collector.Gauge, Help: "B."}}
	store := exposition.NewStore(nil)
	var tables []*customTable
	for _, name := range []string{"foos.example.com", "bars.example.com"} {
		i := store.Add(collector.NewResource(name, "example.com", families, nil))
		tables = append(tables, &customTable{Table: store.Table(i), index: i})
	}
	random := rand.New(rand.NewPCG(1, 2))
	r := newRivals(newMetrics(nil, testenv.Logger(t), nil))
	claims := map[claimKey]map[string]bool{}
	for step := range 3000 {
		id := claimKey{tables[random.IntN(2)], fmt.Sprint("shop/", random.IntN(8))}
		if random.IntN(3) == 0 {
			if removed := r.remove(id.table, id.key, ""); removed != (claims[id] != nil) {
				t.Fatalf("step %d: removed is %v", step, removed)
			}
			delete(claims, id)
		} else {
			claims[id] = map[string]bool{}
			lines := &collector.Rendered{}
			for _, f := range families {
				for s := range 4 {
					if random.IntN(3) == 0 {
						series := fmt.Sprintf(`%s{team="the %d}"}`, f.Name, s)
						claims[id][series] = true
						lines.Text = fmt.Appendf(lines.Text, "%s %d\n", series, random.IntN(100))
					}
				}
				lines.Ends = append(lines.Ends, len(lines.Text))
			}
			r.put(id.table, id.key, "uid", lines)
		}
		want := map[string]bool{}
		for _, series := range claims {
			for s := range series {
				want[s] = true
			}
		}
		var out bytes.Buffer
		if err := exposition.NewAnswer(exposition.Text, store.Snapshot().Groups()).Write(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := strict.Text(out.Bytes()); err != nil {
			t.Fatalf("step %d: %v\n%s", step, err, out.String())
		}
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			series := line[:strings.LastIndexByte(line, ' ')]
			if !want[series] {
				t.Fatalf("step %d: %s is there twice, or nobody claims it", step, series)
			}
			delete(want, series)
		}
		if len(want) > 0 {
			t.Fatalf("step %d: %v are missing", step, want)
		}
	}
	for id := range claims {
		r.remove(id.table, id.key, "")
	}
	if len(r.owners)+len(r.waiting)+len(r.objects) > 0 {
		t.Errorf("%d owners, %d waiting, %d objects are left", len(r.owners), len(r.waiting), len(r.objects))
	}
}
