package schemas_test

import (
	"fmt"
	"os"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
)

// A usage sample on its way: where it is published, what is published, and what a subscriber makes of it.
func Example_usage() {
	at := time.Date(2025, 11, 22, 0, 6, 40, 0, time.UTC).UnixNano()
	sample := schemas.UsageSample{
		Node: "node-1.internal", Time: at, Duration: 12 * int64(time.Millisecond),
		Pods: []schemas.PodUsage{{
			Namespace: "shop", Name: "web-0",
			Containers: []schemas.ContainerUsage{{Name: "server", Point: schemas.Point{
				Time: at, CPUTime: at, MemoryTime: at, Start: at - int64(time.Hour),
				CPU: 4_321_000_000, Memory: 50 << 20, Rate: 12_000_000, Window: 15 * int64(time.Second),
			}}},
		}},
	}
	subject := schemas.UsageSubject{Cluster: "prod", Node: sample.Node}.String()
	payload := sample.Marshal() // publish the payload on the subject

	// The subscriber has subscribed to schemas.AllUsage("prod"). It may use the same UsageSample for every message.
	from, err := schemas.ParseUsageSubject(subject)
	if err != nil {
		fmt.Println("not for us:", err)
		return
	}
	var got schemas.UsageSample
	if err := got.Unmarshal(payload); err != nil {
		fmt.Println("count it, skip it:", err)
		return
	}
	fmt.Println(subject)
	for _, pod := range got.Pods {
		for _, c := range pod.Containers {
			if c.Point.HasRate() {
				fmt.Printf("%s: %s/%s/%s uses %dm CPU, %d MiB\n", from.Node, pod.Namespace, pod.Name, c.Name, c.Point.Rate/1e6, c.Point.Memory>>20)
			}
		}
	}
	// Output:
	// k8s.v1.prod.usage.node-1_internal
	// node-1.internal: shop/web-0/server uses 12m CPU, 50 MiB
}

// A scrape report tells why a node, or a pod, has no usage at the moment.
func Example_scrape() {
	report := schemas.ScrapeReport{
		Node: "node-1.internal", Ingester: "ingest-0", Result: schemas.ScrapeSuccess,
		Dropped: []schemas.DroppedUsage{{Namespace: "shop", Pod: "web-0", Container: "server", Reason: "pod_container_without_cpu"}},
	}
	subject := schemas.ScrapeSubject{Cluster: "prod", Node: report.Node}.String()
	payload := report.Marshal()

	var got schemas.ScrapeReport // of whoever has subscribed to schemas.AllScrapes("prod")
	if err := got.Unmarshal(payload); err != nil {
		fmt.Println("count it, skip it:", err)
		return
	}
	fmt.Println(subject)
	if got.Result != schemas.ScrapeSuccess {
		fmt.Printf("%s could not be read %d times in a row: %s\n", got.Node, got.Failures, got.Error)
	}
	for _, d := range got.Dropped {
		fmt.Printf("%s/%s has no usage because of its container %s: %s\n", d.Namespace, d.Pod, d.Container, d.Reason)
	}
	// Output:
	// k8s.v1.prod.scrape.node-1_internal
	// shop/web-0 has no usage because of its container server: pod_container_without_cpu
}

// An object's change: the envelope is decoded, of the object only what is wanted, the rest is skipped.
func Example_object() {
	object := wire.AppendMapLen(nil, 2)
	object = wire.AppendString(wire.AppendString(object, "kind"), "Pod")
	object = wire.AppendMapLen(wire.AppendString(object, "spec"), 1)
	object = wire.AppendString(wire.AppendString(object, "nodeName"), "node-1")
	change := schemas.ObjectChange{
		Operation: schemas.Applied, APIVersion: "v1", Kind: "Pod", Resource: "pods", Namespace: "shop", Name: "web-0",
		UID: "0a1b2c3d", ResourceVersion: "42", Object: object,
	}
	subject := schemas.ObjectSubject{Cluster: "prod", Resource: "pods", Namespace: "shop", Name: "web-0"}.String()
	payload := change.Marshal()

	var got schemas.ObjectChange
	if err := got.Unmarshal(payload); err != nil {
		fmt.Println("count it, skip it:", err)
		return
	}
	fmt.Println(subject)
	fmt.Println(got.Operation == schemas.Applied, got.Key().Namespace, got.Key().Name)
	r := wire.NewReader(got.Object) // or any msgpack library
	pairs, _ := r.MapLen()
	for range pairs {
		key, err := r.StringBytes()
		if err != nil {
			return
		}
		if string(key) != "spec" {
			r.Skip()
			continue
		}
		spec, _ := r.Raw()
		wire.Dump(os.Stdout, spec)
	}
	// Output:
	// k8s.v1.prod.object.core.pods.shop.web-0
	// true shop web-0
	// map of 1
	//   "nodeName": "node-1"
}

// Subjects are built and read by types; wildcards are too.
func ExampleObjectSubject() {
	s := schemas.ObjectSubject{Cluster: "prod", Group: "rbac.authorization.k8s.io", Resource: "clusterroles", Name: "system:node-proxier"}
	fmt.Println(s)
	back, err := schemas.ParseObjectSubject(s.String())
	fmt.Println(back == s, err)
	fmt.Println(schemas.ObjectsOfResourceInNamespace("prod", "", "pods", "shop"))
	// Output:
	// k8s.v1.prod.object.rbac_authorization_k8s_io.clusterroles._.system%3Anode-proxier
	// true <nil>
	// k8s.v1.prod.object.core.pods.shop.*
}
