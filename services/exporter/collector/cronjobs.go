package collector

import (
	"time"
	_ "time/tzdata" // the images have no time zones of their own

	"github.com/netresearch/go-cron"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

type cronJob struct {
	object
	Spec   cronJobSpec   `json:"spec"`
	Status cronJobStatus `json:"status"`
}

type cronJobSpec struct {
	Schedule                   string  `json:"schedule"`
	TimeZone                   *string `json:"timeZone"`
	ConcurrencyPolicy          string  `json:"concurrencyPolicy"`
	Suspend                    bool    `json:"suspend"`
	StartingDeadlineSeconds    *int64  `json:"startingDeadlineSeconds"`
	SuccessfulJobsHistoryLimit *int64  `json:"successfulJobsHistoryLimit"`
	FailedJobsHistoryLimit     *int64  `json:"failedJobsHistoryLimit"`
}

type cronJobStatus struct {
	Active             []struct{}   `json:"active"`
	LastScheduleTime   objects.Time `json:"lastScheduleTime"`
	LastSuccessfulTime objects.Time `json:"lastSuccessfulTime"`
}

func cronJobs() families {
	return tableOf(namespaced[*cronJob]("cronjob"), []family[*cronJob]{
		{"kube_cronjob_annotations", alpha, "Annotations of the CronJob that --metric-annotations-allowlist lets through; always 1.", annotations[*cronJob]},
		{"kube_cronjob_labels", stable, "Labels of the CronJob that --metric-labels-allowlist lets through; always 1.", labels[*cronJob]},
		{"kube_cronjob_info", stable, "When the CronJob runs, and what happens when one run meets another; always 1.", cronJobInfo},
		{"kube_cronjob_created", stable, "When the CronJob was created, in Unix seconds.", created[*cronJob]},
		{"kube_cronjob_status_active", stable, "Jobs of the CronJob that run now.", func(c *cronJob, s *Series) { s.Add(float64(len(c.Status.Active))) }},
		{"kube_cronjob_status_last_schedule_time", stable, "When the CronJob last made a Job, in Unix seconds.", func(c *cronJob, s *Series) { s.AddTime(c.Status.LastScheduleTime) }},
		{"kube_cronjob_status_last_successful_time", stable, "When a Job of the CronJob last succeeded, in Unix seconds.", func(c *cronJob, s *Series) { s.AddTime(c.Status.LastSuccessfulTime) }},
		{"kube_cronjob_spec_suspend", stable, "Whether the CronJob is held (1) or not (0).", func(c *cronJob, s *Series) { s.AddBool(c.Spec.Suspend) }},
		{"kube_cronjob_spec_starting_deadline_seconds", stable, "How late a run that was missed may still start, in seconds.", func(c *cronJob, s *Series) { s.AddInt(c.Spec.StartingDeadlineSeconds) }},
		{"kube_cronjob_next_schedule_time", stable, "When the CronJob is due after its last run, or after its creation, in Unix seconds; a time in the past means that it is late.", cronJobNext},
		{"kube_cronjob_schedule_invalid", alpha, "The CronJob's schedule or time zone can't be understood; always 1.", cronJobInvalid},
		{"kube_cronjob_metadata_resource_version", stable, "Resource version of the CronJob as a number; it changes with every change.", resourceVersion[*cronJob]},
		{"kube_cronjob_spec_successful_job_history_limit", alpha, "Successful Jobs that the CronJob keeps.", func(c *cronJob, s *Series) { s.AddInt(c.Spec.SuccessfulJobsHistoryLimit) }},
		{"kube_cronjob_spec_failed_job_history_limit", alpha, "Failed Jobs that the CronJob keeps.", func(c *cronJob, s *Series) { s.AddInt(c.Spec.FailedJobsHistoryLimit) }},
	})
}

func cronJobInfo(c *cronJob, s *Series) {
	zone := "local"
	if c.Spec.TimeZone != nil {
		zone = *c.Spec.TimeZone
	}
	s.Add(1, "schedule", c.Spec.Schedule, "concurrency_policy", c.Spec.ConcurrencyPolicy, "timezone", zone)
}

// parseSchedule reads the schedule in its own time zone; in the process's, where it has none.
func (c *cronJob) parseSchedule() (cron.Schedule, error) {
	schedule := c.Spec.Schedule
	if c.Spec.TimeZone != nil {
		schedule = "CRON_TZ=" + *c.Spec.TimeZone + " " + schedule
	}
	return cron.ParseStandard(schedule)
}

func cronJobNext(c *cronJob, s *Series) {
	after := c.Status.LastScheduleTime
	if !after.Valid {
		after = c.Metadata.CreationTimestamp
	}
	if c.Spec.Suspend || !after.Valid {
		return
	}
	if schedule, err := c.parseSchedule(); err == nil {
		s.Add(float64(schedule.Next(time.Unix(after.Unix, 0)).Unix()))
	}
}

func cronJobInvalid(c *cronJob, s *Series) {
	if _, err := c.parseSchedule(); err != nil {
		s.Add(1)
	}
}
