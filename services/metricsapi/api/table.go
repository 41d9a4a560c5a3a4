package api

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/metrics/pkg/apis/metrics"
)

// tableRow is what a row shows of a node or pod.
type tableRow struct {
	name   string
	usage  corev1.ResourceList
	window metav1.Duration
	object runtime.Object
}

// table makes the Table that kubectl get prints: the name, a column for each resource that a row has usage of, the window.
// Without rows there are no columns either. A resource that others have and this row has not (swap, where not all kubelets
// tell of it) is "<unknown>", as kubectl top says; a row without any usage has 0, as metrics-server says.
func table(meta metav1.ListMeta, rows []tableRow) *metav1.Table {
	t := &metav1.Table{ListMeta: meta}
	if len(rows) == 0 {
		return t
	}
	all := map[corev1.ResourceName]bool{}
	for _, row := range rows {
		for resource := range row.usage {
			all[resource] = true
		}
	}
	resources := slices.Sorted(maps.Keys(all))
	t.ColumnDefinitions = append(t.ColumnDefinitions, metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"})
	for _, resource := range resources {
		t.ColumnDefinitions = append(t.ColumnDefinitions, metav1.TableColumnDefinition{Name: string(resource), Type: "string", Format: "quantity"})
	}
	t.ColumnDefinitions = append(t.ColumnDefinitions, metav1.TableColumnDefinition{Name: "Window", Type: "string", Format: "duration"})
	t.Rows = make([]metav1.TableRow, 0, len(rows))
	for _, row := range rows {
		cells := make([]any, 0, len(resources)+2)
		cells = append(cells, row.name)
		for _, resource := range resources {
			amount, known := row.usage[resource]
			if !known && len(row.usage) > 0 {
				cells = append(cells, "<unknown>")
				continue
			}
			cells = append(cells, amount.String())
		}
		t.Rows = append(t.Rows, metav1.TableRow{
			Cells:  append(cells, row.window.Duration.String()),
			Object: runtime.RawExtension{Object: row.object},
		})
	}
	return t
}

func nodeTable(object runtime.Object) *metav1.Table {
	row := func(n *metrics.NodeMetrics) tableRow { return tableRow{n.Name, n.Usage, n.Window, n} }
	switch o := object.(type) {
	case *metrics.NodeMetrics:
		return table(metav1.ListMeta{ResourceVersion: o.ResourceVersion}, []tableRow{row(o)})
	case *metrics.NodeMetricsList:
		rows := make([]tableRow, len(o.Items))
		for i := range o.Items {
			rows[i] = row(&o.Items[i])
		}
		return table(o.ListMeta, rows)
	}
	return &metav1.Table{}
}

func podTable(object runtime.Object) *metav1.Table {
	row := func(p *metrics.PodMetrics) tableRow { return tableRow{p.Name, total(p.Containers), p.Window, p} }
	switch o := object.(type) {
	case *metrics.PodMetrics:
		return table(metav1.ListMeta{ResourceVersion: o.ResourceVersion}, []tableRow{row(o)})
	case *metrics.PodMetricsList:
		rows := make([]tableRow, len(o.Items))
		for i := range o.Items {
			rows[i] = row(&o.Items[i])
		}
		return table(o.ListMeta, rows)
	}
	return &metav1.Table{}
}

// total sums the containers of a pod.
func total(containers []metrics.ContainerMetrics) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for _, container := range containers {
		for resource, amount := range container.Usage {
			subtotal := sum[resource]
			subtotal.Add(amount)
			sum[resource] = subtotal
		}
	}
	return sum
}
