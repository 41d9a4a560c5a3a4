package events

import "github.com/headwater-metrics/headwater/services/internal/objects"

// job is the part of a Job that is read.
type job struct {
	Metadata metadata `json:"metadata"`
	Status   struct {
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
			Reason string `json:"reason"`
		} `json:"conditions"`
	} `json:"status"`
}

// The results of jobs.
const (
	complete = "complete"
	failed   = "failed"
)

var jobDecoder = objects.NewDecoder[job](objects.Borrow())

func readJob(object []byte, s *sighting) error {
	if err := jobDecoder.Decode(object, &s.job); err != nil {
		return err
	}
	s.created, s.node, s.end, s.reason = s.job.Metadata.CreationTimestamp.Unix, "", "", ""
	s.containers = [3][]containerStatus{}
	for _, c := range s.job.Status.Conditions {
		switch {
		case c.Status != "True":
		case c.Type == "Complete":
			s.end, s.reason = complete, ""
		case c.Type == "Failed":
			s.end, s.reason = failed, c.Reason
		}
	}
	return nil
}
