package collector

import "github.com/headwater-metrics/headwater/services/internal/objects"

type job struct {
	object
	Spec   jobSpec   `json:"spec"`
	Status jobStatus `json:"status"`
}

type jobSpec struct {
	Parallelism           *int64 `json:"parallelism"`
	Completions           *int64 `json:"completions"`
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds"`
}

type jobStatus struct {
	Active         int64        `json:"active"`
	Ready          int64        `json:"ready"`
	Succeeded      int64        `json:"succeeded"`
	Failed         int64        `json:"failed"`
	StartTime      objects.Time `json:"startTime"`
	CompletionTime objects.Time `json:"completionTime"`
	Conditions     []condition  `json:"conditions"`
}

func jobs() families {
	return tableOf(namespaced[*job]("job_name"), []family[*job]{
		{"kube_job_annotations", alpha, "Annotations of the Job that --metric-annotations-allowlist lets through; always 1.", annotations[*job]},
		{"kube_job_labels", stable, "Labels of the Job that --metric-labels-allowlist lets through; always 1.", labels[*job]},
		{"kube_job_info", stable, "The Job exists; always 1.", info[*job]},
		{"kube_job_created", stable, "When the Job was created, in Unix seconds.", created[*job]},
		{"kube_job_spec_parallelism", stable, "Most pods of the Job that run at a time.", func(j *job, s *Series) { s.AddInt(j.Spec.Parallelism) }},
		{"kube_job_spec_completions", stable, "Pods of the Job that have to succeed.", func(j *job, s *Series) { s.AddInt(j.Spec.Completions) }},
		{"kube_job_spec_active_deadline_seconds", stable, "How long the Job may take, in seconds.", func(j *job, s *Series) { s.AddInt(j.Spec.ActiveDeadlineSeconds) }},
		{"kube_job_status_succeeded", stable, "Pods of the Job that have succeeded.", func(j *job, s *Series) { s.Add(float64(j.Status.Succeeded)) }},
		{"kube_job_status_failed", stable, "Why the Job has failed (1), or how many of its pods have where it does not say why.", jobFailures},
		{"kube_job_status_active", stable, "Pods of the Job that run or are about to.", func(j *job, s *Series) { s.Add(float64(j.Status.Active)) }},
		{"kube_job_status_ready", alpha, "Pods of the Job that are ready.", func(j *job, s *Series) { s.Add(float64(j.Status.Ready)) }},
		{"kube_job_complete", stable, "The status of the Job's Complete condition (1), and those that it does not have (0).", jobConditionStatus("Complete")},
		{"kube_job_failed", stable, "The status of the Job's Failed condition (1), and those that it does not have (0).", jobConditionStatus("Failed")},
		{"kube_job_status_start_time", stable, "When the Job's controller took it on, in Unix seconds.", func(j *job, s *Series) { s.AddTime(j.Status.StartTime) }},
		{"kube_job_status_completion_time", stable, "When the Job was complete, in Unix seconds.", func(j *job, s *Series) { s.AddTime(j.Status.CompletionTime) }},
		{"kube_job_status_suspended", alpha, "Whether the Job is held (1) or not (0).", jobSuspended},
		{"kube_job_owner", stable, "An owner of the Job; always 1.", owners[*job]},
	})
}

// jobFailures means different things by its label: without failed pods a 0 without a reason; with some, for each Failed
// condition which of the known reasons it has; and where that is none of them, the number of pods under an empty reason.
func jobFailures(j *job, s *Series) {
	if j.Status.Failed == 0 {
		s.Add(0)
		return
	}
	known := false
	for i := range j.Status.Conditions {
		c := &j.Status.Conditions[i]
		if c.Type != "Failed" {
			continue
		}
		for _, reason := range [...]string{"BackoffLimitExceeded", "DeadlineExceeded", "Evicted"} {
			known = known || c.Reason == reason
			s.AddBool(c.Reason == reason, "reason", reason)
		}
	}
	if !known {
		s.Add(float64(j.Status.Failed), "reason", "")
	}
}

func jobConditionStatus(kind string) func(*job, *Series) {
	return func(j *job, s *Series) {
		for i := range j.Status.Conditions {
			if c := &j.Status.Conditions[i]; c.Type == kind {
				s.AddCondition(c.Status, "condition")
			}
		}
	}
}

func jobSuspended(j *job, s *Series) {
	for i := range j.Status.Conditions {
		if c := &j.Status.Conditions[i]; c.Type == "Suspended" {
			s.AddBool(c.Status == "True")
		}
	}
}
