package schemas_test

import (
	"testing"

	"github.com/headwater-metrics/headwater/schemas"
)

func TestPublished(t *testing.T) {
	for name, c := range map[string]struct {
		report schemas.ScrapeReport
		want   bool
	}{
		"success":                {schemas.ScrapeReport{Result: schemas.ScrapeSuccess, Time: 2}, true},
		"failure":                {schemas.ScrapeReport{Result: "timeout", Time: 2, LastSuccess: 1, Failures: 1}, false},
		"never a success":        {schemas.ScrapeReport{Result: "timeout", Time: 2, Failures: 1}, false},
		"without the additions":  {schemas.ScrapeReport{Result: "timeout", Time: 2, LastSuccess: 2}, true},
		"a writer without times": {schemas.ScrapeReport{Result: "timeout", Failures: 1}, false},
	} {
		if got := c.report.Published(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
