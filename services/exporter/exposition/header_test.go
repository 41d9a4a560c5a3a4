package exposition

import (
	"net/http"
	"testing"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

func TestHeaders(t *testing.T) {
	odd := "Back\\slash, \"quote\"\nand line."
	for _, test := range []struct {
		family       collector.Family
		text, openMx string
	}{
		{collector.Family{Name: "a", Type: collector.Gauge, Help: odd},
			"# HELP a Back\\\\slash, \"quote\"\\nand line.\n# TYPE a gauge\n",
			"# HELP a Back\\\\slash, \\\"quote\\\"\\nand line.\n# TYPE a gauge\n"},
		{collector.Family{Name: "b_total", Type: collector.Counter, Help: "H.", Stable: true},
			"# HELP b_total [STABLE] H.\n# TYPE b_total counter\n",
			"# HELP b [STABLE] H.\n# TYPE b counter\n"},
		{collector.Family{Name: "c_info", Type: collector.Info, Help: "H."},
			"# HELP c_info H.\n# TYPE c_info gauge\n",
			"# HELP c H.\n# TYPE c info\n"},
		{collector.Family{Name: "d", Type: collector.StateSet, Help: "H.", Stable: true, Deprecated: "v2.14.0"},
			"# HELP d [STABLE] (Deprecated since v2.14.0) H.\n# TYPE d gauge\n",
			"# HELP d [STABLE] (Deprecated since v2.14.0) H.\n# TYPE d gauge\n"},
		{collector.Family{Name: "e", Type: collector.Info, Help: "H."},
			"# HELP e H.\n# TYPE e gauge\n",
			"# HELP e H.\n# TYPE e gauge\n"},
	} {
		if got := string(appendHeader(nil, Text, &test.family)); got != test.text {
			t.Errorf("text: %q, want %q", got, test.text)
		}
		if got := string(appendHeader(nil, OpenMetrics, &test.family)); got != test.openMx {
			t.Errorf("OpenMetrics: %q, want %q", got, test.openMx)
		}
	}
}

func TestOpenMetricsEndsWithEOF(t *testing.T) {
	for format, want := range map[Format]string{Text: "", OpenMetrics: "# EOF\n"} {
		a := NewAnswer(format, nil)
		if got := plain(t, a); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := gunzipped(t, a); got != want {
			t.Errorf("gzip: %q, want %q", got, want)
		}
	}
}

func TestNegotiate(t *testing.T) {
	for _, test := range []struct {
		accept, contentType string
		format              Format
	}{
		{"", TextContentType, Text},
		{"*/*", TextContentType, Text},
		{"text/plain;version=0.0.4", TextContentType, Text},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", TextContentType, Text},
		{"application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5", "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores", OpenMetrics},
		{"application/openmetrics-text;version=0.0.1", "application/openmetrics-text; version=0.0.1; charset=utf-8; escaping=underscores", OpenMetrics},
		// What Prometheus 3 sends.
		{"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
			"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8", OpenMetrics},
	} {
		format, contentType := Negotiate(http.Header{"Accept": {test.accept}})
		if format != test.format || contentType != test.contentType {
			t.Errorf("%s: %d, %q", test.accept, format, contentType)
		}
	}
	for accept, want := range map[string]bool{
		"": false, "gzip": true, "deflate, gzip;q=1.0": true, "gzip;q=0": false, "*": true, "*;q=0": false, "identity": false, "br, *;q=0.1, gzip;q=0": false, "GZIP": true,
	} {
		if got := AcceptsGzip(http.Header{"Accept-Encoding": {accept}}); got != want {
			t.Errorf("Accept-Encoding %q: %v", accept, got)
		}
	}
}
