package collector

import "github.com/headwater-metrics/headwater/services/internal/objects"

type autoscaler struct {
	object
	Spec   autoscalerSpec   `json:"spec"`
	Status autoscalerStatus `json:"status"`
}

type autoscalerSpec struct {
	ScaleTargetRef struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Name       string `json:"name"`
	} `json:"scaleTargetRef"`
	MinReplicas *int64             `json:"minReplicas"`
	MaxReplicas int64              `json:"maxReplicas"`
	Metrics     []autoscalerMetric `json:"metrics"`
	Behavior    struct {
		ScaleDown scalingRules `json:"scaleDown"`
		ScaleUp   scalingRules `json:"scaleUp"`
	} `json:"behavior"`
}

type scalingRules struct {
	Tolerance *objects.Quantity `json:"tolerance"`
}

type autoscalerStatus struct {
	CurrentReplicas int64              `json:"currentReplicas"`
	DesiredReplicas int64              `json:"desiredReplicas"`
	CurrentMetrics  []autoscalerMetric `json:"currentMetrics"`
	Conditions      []condition        `json:"conditions"`
}

// autoscalerMetric is a metric of the spec, which has a target, or of the status, which has a current value.
type autoscalerMetric struct {
	Type              string        `json:"type"`
	Object            *metricSource `json:"object"`
	Pods              *metricSource `json:"pods"`
	Resource          *metricSource `json:"resource"`
	ContainerResource *metricSource `json:"containerResource"`
	External          *metricSource `json:"external"`
}

type metricSource struct {
	Name      string `json:"name"`      // of a resource
	Container string `json:"container"` // of a container's resource
	Metric    struct {
		Name string `json:"name"`
	} `json:"metric"`
	Target  metricValue `json:"target"`
	Current metricValue `json:"current"`
}

type metricValue struct {
	Value              *objects.Quantity `json:"value"`
	AverageValue       *objects.Quantity `json:"averageValue"`
	AverageUtilization *int64            `json:"averageUtilization"`
}

func autoscalers() families {
	return tableOf(namespaced[*autoscaler]("horizontalpodautoscaler"), []family[*autoscaler]{
		{"kube_horizontalpodautoscaler_info", alpha, "What the HorizontalPodAutoscaler scales; always 1.", autoscalerInfo},
		{"kube_horizontalpodautoscaler_metadata_generation", stable, "Generation of the HorizontalPodAutoscaler's desired state.", generation[*autoscaler]},
		{"kube_horizontalpodautoscaler_spec_max_replicas", stable, "Most pods that the HorizontalPodAutoscaler asks for.", func(a *autoscaler, s *Series) { s.Add(float64(a.Spec.MaxReplicas)) }},
		{"kube_horizontalpodautoscaler_spec_min_replicas", stable, "Fewest pods that the HorizontalPodAutoscaler asks for.", autoscalerMinimum},
		{"kube_horizontalpodautoscaler_spec_target_metric", alpha, "Value that the HorizontalPodAutoscaler tries to keep a metric at.", autoscalerTargets},
		{"kube_horizontalpodautoscaler_spec_behavior_scale_down_tolerance", alpha, "Deviation from the target, as a fraction, up to which nothing is scaled down.", func(a *autoscaler, s *Series) { s.addTolerance(a.Spec.Behavior.ScaleDown.Tolerance) }},
		{"kube_horizontalpodautoscaler_spec_behavior_scale_up_tolerance", alpha, "Deviation from the target, as a fraction, up to which nothing is scaled up.", func(a *autoscaler, s *Series) { s.addTolerance(a.Spec.Behavior.ScaleUp.Tolerance) }},
		{"kube_horizontalpodautoscaler_status_target_metric", stable, "Value that the HorizontalPodAutoscaler last saw a metric at.", autoscalerCurrent},
		{"kube_horizontalpodautoscaler_status_current_replicas", stable, "Pods that the HorizontalPodAutoscaler last counted.", func(a *autoscaler, s *Series) { s.Add(float64(a.Status.CurrentReplicas)) }},
		{"kube_horizontalpodautoscaler_status_desired_replicas", stable, "Pods that the HorizontalPodAutoscaler last asked for.", func(a *autoscaler, s *Series) { s.Add(float64(a.Status.DesiredReplicas)) }},
		{"kube_horizontalpodautoscaler_annotations", alpha, "Annotations of the HorizontalPodAutoscaler that --metric-annotations-allowlist lets through; always 1.", annotations[*autoscaler]},
		{"kube_horizontalpodautoscaler_labels", stable, "Labels of the HorizontalPodAutoscaler that --metric-labels-allowlist lets through; always 1.", labels[*autoscaler]},
		{"kube_horizontalpodautoscaler_status_condition", stable, "The status that a condition of the HorizontalPodAutoscaler has (1), and those that it does not have (0).", func(a *autoscaler, s *Series) { s.addConditions(a.Status.Conditions) }},
		{"kube_horizontalpodautoscaler_created", alpha, "When the HorizontalPodAutoscaler was created, in Unix seconds.", created[*autoscaler]},
		{"kube_horizontalpodautoscaler_deletion_timestamp", alpha, "When the HorizontalPodAutoscaler is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*autoscaler]},
	})
}

func autoscalerInfo(a *autoscaler, s *Series) {
	target := &a.Spec.ScaleTargetRef
	if target.APIVersion == "" {
		s.Add(1, "scaletargetref_kind", target.Kind, "scaletargetref_name", target.Name)
		return
	}
	s.Add(1, "scaletargetref_api_version", target.APIVersion, "scaletargetref_kind", target.Kind, "scaletargetref_name", target.Name)
}

func autoscalerMinimum(a *autoscaler, s *Series) {
	minimum := int64(1)
	if a.Spec.MinReplicas != nil {
		minimum = *a.Spec.MinReplicas
	}
	s.Add(float64(minimum))
}

// source is where the metric comes from, and its name; ok is false where its type is not known.
func (m *autoscalerMetric) source() (source *metricSource, name, container string, ok bool) {
	switch m.Type {
	case "Object":
		source = m.Object
	case "Pods":
		source = m.Pods
	case "External":
		source = m.External
	case "Resource":
		source = m.Resource
	case "ContainerResource":
		source = m.ContainerResource
	default:
		return nil, "", "", false
	}
	switch {
	case source == nil:
	case m.Type == "Resource":
		name = source.Name
	case m.Type == "ContainerResource":
		name, container = source.Name, source.Container
	default:
		name = source.Metric.Name
	}
	return source, name, container, true
}

func autoscalerTargets(a *autoscaler, s *Series) {
	for i := range a.Spec.Metrics {
		source, name, container, known := a.Spec.Metrics[i].source()
		switch {
		case source != nil:
			s.addMetric(&source.Target, name, container)
		case known:
			s.Skip() // it says of which type it is, but no more
		}
	}
}

func autoscalerCurrent(a *autoscaler, s *Series) {
	for i := range a.Status.CurrentMetrics {
		if source, name, container, _ := a.Status.CurrentMetrics[i].source(); source != nil {
			s.addMetric(&source.Current, name, container)
		}
	}
}

// addMetric adds up to three series: those values that are set.
func (s *Series) addMetric(v *metricValue, name, container string) {
	if v.Value != nil {
		s.addQuantity(milliUnits, string(*v.Value), "metric_name", name, "metric_target_type", "value", "container", container)
	}
	if v.AverageValue != nil {
		s.addQuantity(milliUnits, string(*v.AverageValue), "metric_name", name, "metric_target_type", "average", "container", container)
	}
	s.AddInt(v.AverageUtilization, "metric_name", name, "metric_target_type", "utilization", "container", container)
}

func (s *Series) addTolerance(tolerance *objects.Quantity) {
	if tolerance != nil {
		s.addQuantity(approximate, string(*tolerance))
	}
}
