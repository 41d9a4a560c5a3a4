package exposition

import (
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
)

// groupOf is a group of one family with one line.
func groupOf(name string, kind collector.Type, label string) Group {
	h := NewHeader(collector.Family{Name: name, Type: kind, Help: "H."})
	return Group{Families: []*Header{h}, Pages: [][]*Page{{Pack([]byte(name + `{from="` + label + `"} 1` + "\n"))}}}
}

// TestNamesOfOpenMetrics has families that would be called the same without their suffixes.
func TestNamesOfOpenMetrics(t *testing.T) {
	const gauge, counter, info = collector.Gauge, collector.Counter, collector.Info
	type is struct {
		name string
		kind collector.Type
	}
	for name, c := range map[string]struct {
		families []is
		want     string // the TYPE lines
	}{
		"nothing shared":           {[]is{{"a", gauge}, {"b_total", counter}, {"c_info", info}}, "a gauge, b counter, c info"},
		"an info behind":           {[]is{{"a", gauge}, {"a_info", info}}, "a gauge, a_info gauge"},
		"an info in front":         {[]is{{"a_info", info}, {"a", gauge}}, "a_info gauge, a gauge"},
		"a counter in front":       {[]is{{"a_total", counter}, {"a", gauge}}, "a_total unknown, a gauge"},
		"a counter behind":         {[]is{{"a", gauge}, {"a_total", counter}}, "a gauge, a_total unknown"},
		"a counter and an info":    {[]is{{"a_total", counter}, {"a_info", info}}, "a counter, a_info gauge"},
		"an info and a counter":    {[]is{{"a_info", info}, {"a_total", counter}}, "a info, a_total unknown"},
		"when it was created":      {[]is{{"a_total", counter}, {"a_created", gauge}}, "a_total unknown, a_created gauge"},
		"both":                     {[]is{{"a_created_info", info}, {"a_total", counter}}, "a_created info, a_total unknown"},
		"a chain":                  {[]is{{"a_info_info", info}, {"a_info", info}, {"a", gauge}}, "a_info_info gauge, a_info gauge, a gauge"},
		"a free one behind it":     {[]is{{"a", gauge}, {"a_info", info}, {"b_info", info}}, "a gauge, a_info gauge, b info"},
		"in several groups":        {[]is{{"a_info", info}, {"b", gauge}, {"a_info", info}}, "a info, b gauge"},
		"of several types":         {[]is{{"a_info", info}, {"b", gauge}, {"a_info", gauge}}, "a_info gauge, b gauge"},
		"of several types, later":  {[]is{{"a_info", gauge}, {"a_info", info}}, "a_info gauge"},
		"a counter that is others": {[]is{{"a_total", counter}, {"a_total", gauge}, {"a", gauge}}, "a_total unknown, a gauge"},
		"suffixes alone":           {[]is{{"_info", info}, {"_total", counter}}, "_info gauge, _total unknown"},
		"without a suffix":         {[]is{{"a", info}, {"b", counter}, {"c_total", info}, {"d_info", counter}}, "a gauge, b unknown, c_total gauge, d_info unknown"},
	} {
		var groups []Group
		for i, f := range c.families {
			groups = append(groups, groupOf(f.name, f.kind, string(rune('a'+i))))
		}
		a := NewAnswer(OpenMetrics, groups)
		text := plain(t, a)
		if text != gunzipped(t, a) {
			t.Errorf("%s: the gzip answer differs", name)
		}
		var types []string
		for line := range strings.Lines(text) {
			if is, ok := strings.CutPrefix(line, "# TYPE "); ok {
				types = append(types, strings.TrimSpace(is))
			}
		}
		if got := strings.Join(types, ", "); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if summary, err := strict.OpenMetrics([]byte(text)); err != nil || summary.Series != len(c.families) {
			t.Errorf("%s: %d series, %v\n%s", name, summary.Series, err, text)
		}
		if _, err := strict.Text([]byte(plain(t, NewAnswer(Text, groups)))); err != nil && !strings.HasPrefix(name, "a counter that") {
			t.Errorf("%s, as text: %v", name, err)
		}
	}
}

// TestBuiltInNamesOfOpenMetrics has all built-in families in one answer: each keeps the type that it has alone.
func TestBuiltInNamesOfOpenMetrics(t *testing.T) {
	var groups []Group
	for _, kind := range collector.Kinds() {
		for _, f := range kind.Families() {
			groups = append(groups, Group{Families: []*Header{NewHeader(f)}})
		}
	}
	a := NewAnswer(OpenMetrics, groups)
	for _, f := range a.families {
		if f.head != f.header.pages[OpenMetrics] {
			t.Errorf("%s is called by its full name", f.header.Family.Name)
		}
	}
	if len(a.families) < 200 {
		t.Errorf("%d families", len(a.families))
	}
}

// BenchmarkNewAnswer makes answers of all built-in families.
func BenchmarkNewAnswer(b *testing.B) {
	var groups []Group
	for _, kind := range collector.Kinds() {
		var g Group
		for _, f := range kind.Families() {
			g.Families = append(g.Families, NewHeader(f))
		}
		groups = append(groups, g)
	}
	for name, format := range map[string]Format{"text": Text, "openmetrics": OpenMetrics} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NewAnswer(format, groups)
			}
		})
	}
}
