package collector_test

import (
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

func TestSchedules(t *testing.T) {
	t.Cleanup(func(local *time.Location) func() { return func() { time.Local = local } }(time.Local))
	var err error
	if time.Local, err = time.LoadLocation("Asia/Kolkata"); err != nil {
		t.Fatal(err)
	}
	at := func(text string) string {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return "} " + string(collector.AppendFloat(nil, float64(when.Unix())))
	}
	for _, test := range []struct{ spec, status, next, invalid string }{
		{`"schedule":"*/5 * * * *"`, `"lastScheduleTime":"2026-03-01T10:05:00Z"`, at("2026-03-01T10:10:00Z"), ""},
		{`"schedule":"0 3 * * *"`, ``, at("2026-03-01T21:30:00Z"), ""}, // in the process's own zone, after the creation
		{`"schedule":"0 3 * * *","timeZone":"Europe/Berlin"`, ``, at("2026-03-02T02:00:00Z"), ""},
		{`"schedule":"@hourly","suspend":false`, ``, at("2026-03-01T12:30:00Z"), ""},
		{`"schedule":"@hourly","suspend":true`, ``, "", ""},
		{`"schedule":"61 * * * *"`, ``, "", "} 1"},
		{`"schedule":"* * * * *","timeZone":"No/Where"`, ``, "", "} 1"},
		{`"schedule":"* * * * *","timeZone":"../../etc/passwd"`, ``, "", "} 1"},
		{`"schedule":""`, ``, "", "} 1"},
	} {
		object := `{"metadata":{"namespace":"n","name":"u","creationTimestamp":"2026-03-01T12:00:00Z"},"spec":{` + test.spec + `},"status":{` + test.status + `}}`
		if got := family(t, "cronjobs", object, "kube_cronjob_next_schedule_time"); got != test.next {
			t.Errorf("%s is due at %q, want %q", test.spec, got, test.next)
		}
		if got := family(t, "cronjobs", object, "kube_cronjob_schedule_invalid"); got != test.invalid {
			t.Errorf("%s: invalid is %q, want %q", test.spec, got, test.invalid)
		}
		if got := family(t, "cronjobs", object, "kube_cronjob_spec_suspend"); got != map[bool]string{false: "} 0", true: "} 1"}[strings.Contains(test.spec, `"suspend":true`)] {
			t.Errorf("%s: suspend is %q", test.spec, got)
		}
	}
}
