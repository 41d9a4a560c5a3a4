package collector

import "github.com/headwater-metrics/headwater/services/internal/objects"

type container struct {
	Name          string             `json:"name"`
	Image         string             `json:"image"`
	RestartPolicy string             `json:"restartPolicy"` // of init containers
	Resources     containerResources `json:"resources"`
}

type containerResources struct {
	Limits   objects.Raw `json:"limits"`
	Requests objects.Raw `json:"requests"`
}

type containerStatus struct {
	Name         string         `json:"name"`
	Image        string         `json:"image"`
	ImageID      string         `json:"imageID"`
	ContainerID  string         `json:"containerID"`
	Ready        bool           `json:"ready"`
	RestartCount int64          `json:"restartCount"`
	State        containerState `json:"state"`
	LastState    containerState `json:"lastState"`
}

type containerState struct {
	Running    *runningState    `json:"running"`
	Waiting    *waitingState    `json:"waiting"`
	Terminated *terminatedState `json:"terminated"`
}

type runningState struct {
	StartedAt objects.Time `json:"startedAt"`
}

type waitingState struct {
	Reason string `json:"reason"`
}

type terminatedState struct {
	Reason     string       `json:"reason"`
	ExitCode   int64        `json:"exitCode"`
	StartedAt  objects.Time `json:"startedAt"`
	FinishedAt objects.Time `json:"finishedAt"`
}

// Functions of one container of the spec, or of one container's status, become families of regular and of init containers.

func eachContainer(write func(*pod, *container, *Series)) func(*pod, *Series) {
	return func(p *pod, s *Series) {
		for i := range p.Spec.Containers {
			write(p, &p.Spec.Containers[i], s)
		}
	}
}

func eachInitContainer(write func(*pod, *container, *Series)) func(*pod, *Series) {
	return func(p *pod, s *Series) {
		for i := range p.Spec.InitContainers {
			write(p, &p.Spec.InitContainers[i], s)
		}
	}
}

func eachStatus(write func(*containerStatus, *Series)) func(*pod, *Series) {
	return func(p *pod, s *Series) {
		for i := range p.Status.ContainerStatuses {
			write(&p.Status.ContainerStatuses[i], s)
		}
	}
}

func eachInitStatus(write func(*containerStatus, *Series)) func(*pod, *Series) {
	return func(p *pod, s *Series) {
		for i := range p.Status.InitContainerStatuses {
			write(&p.Status.InitContainerStatuses[i], s)
		}
	}
}

// containerInfo needs what was asked for and what became of it: a container of the spec and a status of the same name.
func containerInfo(p *pod, s *Series) {
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		for j := range p.Status.ContainerStatuses {
			if st := &p.Status.ContainerStatuses[j]; st.Name == c.Name {
				s.Add(1, "container", c.Name, "image_spec", c.Image, "image", st.Image, "image_id", st.ImageID, "container_id", st.ContainerID)
			}
		}
	}
}

func initContainerInfo(p *pod, s *Series) {
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		for j := range p.Status.InitContainerStatuses {
			if st := &p.Status.InitContainerStatuses[j]; st.Name == c.Name {
				s.Add(1, "container", c.Name, "image_spec", c.Image, "image", st.Image, "image_id", st.ImageID, "container_id", st.ContainerID,
					"restart_policy", c.RestartPolicy)
			}
		}
	}
}

func containerLimits(p *pod, c *container, s *Series) {
	s.addResources(c.Resources.Limits, "container", c.Name, "node", p.Spec.NodeName)
}

func containerRequests(p *pod, c *container, s *Series) {
	s.addResources(c.Resources.Requests, "container", c.Name, "node", p.Spec.NodeName)
}

func containerStarted(c *containerStatus, s *Series) {
	switch {
	case c.State.Running != nil:
		s.AddZeroTime(c.State.Running.StartedAt, "container", c.Name)
	case c.State.Terminated != nil:
		s.AddZeroTime(c.State.Terminated.StartedAt, "container", c.Name)
	}
}

func containerLastReason(c *containerStatus, s *Series) {
	if last := c.LastState.Terminated; last != nil {
		s.Add(1, "container", c.Name, "reason", last.Reason)
	}
}

func containerLastExitCode(c *containerStatus, s *Series) {
	if last := c.LastState.Terminated; last != nil {
		s.Add(float64(last.ExitCode), "container", c.Name)
	}
}

func containerLastFinished(c *containerStatus, s *Series) {
	if last := c.LastState.Terminated; last != nil {
		s.AddZeroTime(last.FinishedAt, "container", c.Name)
	}
}

func containerReady(c *containerStatus, s *Series) { s.AddBool(c.Ready, "container", c.Name) }

func containerRestarts(c *containerStatus, s *Series) {
	s.Add(float64(c.RestartCount), "container", c.Name)
}

func containerRunning(c *containerStatus, s *Series) {
	s.AddBool(c.State.Running != nil, "container", c.Name)
}

func containerTerminated(c *containerStatus, s *Series) {
	s.AddBool(c.State.Terminated != nil, "container", c.Name)
}

func containerTerminatedReason(c *containerStatus, s *Series) {
	if ended := c.State.Terminated; ended != nil {
		s.Add(1, "container", c.Name, "reason", ended.Reason)
	}
}

func containerWaiting(c *containerStatus, s *Series) {
	s.AddBool(c.State.Waiting != nil, "container", c.Name)
}

func containerWaitingReason(c *containerStatus, s *Series) {
	if waits := c.State.Waiting; waits != nil {
		s.Add(1, "container", c.Name, "reason", waits.Reason)
	}
}
