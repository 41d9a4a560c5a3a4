package collector_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// BenchmarkRender is what it costs to write the series of one object: of the usual kinds, and of some with many lines in
// one family.
func BenchmarkRender(b *testing.B) {
	for _, test := range []struct {
		name, resource string
		object         runtime.Object
	}{
		{"pod", "pods", specimen.Pod(0)},
		{"pod restarted", "pods", specimen.Restarted(specimen.Pod(0))},
		{"node", "nodes", specimen.Node(0)},
		{"deployment", "deployments", specimen.Deployment(0)},
		{"service of 24 addresses", "services", serviceOf(24)},
		{"service of 48 addresses", "services", serviceOf(48)},
		{"service of 1000 addresses", "services", serviceOf(1000)},
		{"service of 10000 addresses", "services", serviceOf(10_000)},
	} {
		b.Run(test.name, func(b *testing.B) {
			kind, _ := objects.ByResource(test.resource)
			encoder, err := objects.NewEncoder(kind)
			if err != nil {
				b.Fatal(err)
			}
			raw, err := encoder.Append(nil, test.object)
			if err != nil {
				b.Fatal(err)
			}
			renderer, _ := rendererOf(b, test.resource, collector.Options{})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := renderer.Render(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// serviceOf is a Service with so many different external addresses.
func serviceOf(addresses int) *corev1.Service {
	s := &corev1.Service{}
	s.Namespace, s.Name = "shop", "web"
	for i := range addresses {
		s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))
	}
	return s
}
