package objects_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// trimmedPod is about what an exporter of pod metrics wants.
type trimmedPod struct {
	Metadata struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace" objects:"intern"`
		UID               string            `json:"uid"`
		Labels            map[string]string `json:"labels" objects:"intern"`
		CreationTimestamp objects.Time      `json:"creationTimestamp"`
		OwnerReferences   []struct {
			Kind       string `json:"kind" objects:"intern"`
			Name       string `json:"name" objects:"intern"`
			Controller *bool  `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		NodeName   string `json:"nodeName" objects:"intern"`
		Containers []struct {
			Name      string `json:"name" objects:"intern"`
			Image     string `json:"image" objects:"intern"`
			Resources struct {
				Requests map[string]objects.Quantity `json:"requests" objects:"intern"`
				Limits   map[string]objects.Quantity `json:"limits" objects:"intern"`
			} `json:"resources"`
		} `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase      string `json:"phase" objects:"intern"`
		Conditions []struct {
			Type               string       `json:"type" objects:"intern"`
			Status             string       `json:"status" objects:"intern"`
			LastTransitionTime objects.Time `json:"lastTransitionTime"`
		} `json:"conditions"`
		ContainerStatuses []struct {
			Name         string `json:"name" objects:"intern"`
			Ready        bool   `json:"ready"`
			RestartCount int32  `json:"restartCount"`
			ContainerID  string `json:"containerID"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

// pairedPod is the same with pairs for maps.
type pairedPod struct {
	Metadata struct {
		Name              string        `json:"name"`
		Namespace         string        `json:"namespace" objects:"intern"`
		UID               string        `json:"uid"`
		Labels            objects.Pairs `json:"labels" objects:"intern"`
		CreationTimestamp objects.Time  `json:"creationTimestamp"`
		OwnerReferences   []struct {
			Kind       string `json:"kind" objects:"intern"`
			Name       string `json:"name" objects:"intern"`
			Controller *bool  `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		NodeName   string `json:"nodeName" objects:"intern"`
		Containers []struct {
			Name      string `json:"name" objects:"intern"`
			Image     string `json:"image" objects:"intern"`
			Resources struct {
				Requests objects.Pairs `json:"requests" objects:"intern"`
				Limits   objects.Pairs `json:"limits" objects:"intern"`
			} `json:"resources"`
		} `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase      string `json:"phase" objects:"intern"`
		Conditions []struct {
			Type               string       `json:"type" objects:"intern"`
			Status             string       `json:"status" objects:"intern"`
			LastTransitionTime objects.Time `json:"lastTransitionTime"`
		} `json:"conditions"`
		ContainerStatuses []struct {
			Name         string `json:"name" objects:"intern"`
			Ready        bool   `json:"ready"`
			RestartCount int32  `json:"restartCount"`
			ContainerID  string `json:"containerID"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

// reflectedPod is the same for reflection over msgpack's own tags.
type reflectedPod struct {
	Metadata struct {
		Name              string            `msgpack:"name"`
		Namespace         string            `msgpack:"namespace"`
		UID               string            `msgpack:"uid"`
		Labels            map[string]string `msgpack:"labels"`
		CreationTimestamp string            `msgpack:"creationTimestamp"`
		OwnerReferences   []struct {
			Kind       string `msgpack:"kind"`
			Name       string `msgpack:"name"`
			Controller *bool  `msgpack:"controller"`
		} `msgpack:"ownerReferences"`
	} `msgpack:"metadata"`
	Spec struct {
		NodeName   string `msgpack:"nodeName"`
		Containers []struct {
			Name      string `msgpack:"name"`
			Image     string `msgpack:"image"`
			Resources struct {
				Requests map[string]string `msgpack:"requests"`
				Limits   map[string]string `msgpack:"limits"`
			} `msgpack:"resources"`
		} `msgpack:"containers"`
	} `msgpack:"spec"`
	Status struct {
		Phase      string `msgpack:"phase"`
		Conditions []struct {
			Type               string `msgpack:"type"`
			Status             string `msgpack:"status"`
			LastTransitionTime string `msgpack:"lastTransitionTime"`
		} `msgpack:"conditions"`
		ContainerStatuses []struct {
			Name         string `msgpack:"name"`
			Ready        bool   `msgpack:"ready"`
			RestartCount int32  `msgpack:"restartCount"`
			ContainerID  string `msgpack:"containerID"`
		} `msgpack:"containerStatuses"`
	} `msgpack:"status"`
}

// litePod is what the Metrics API keeps of a pod.
type litePod struct {
	Metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace" objects:"intern"`
		UID       string            `json:"uid"`
		Labels    map[string]string `json:"labels" objects:"intern"`
	} `json:"metadata"`
	Status struct {
		Phase string `json:"phase" objects:"intern"`
	} `json:"status"`
}

func benchPod(b *testing.B) (*objects.Encoder, *corev1.Pod, []byte) {
	b.Helper()
	text, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(text, pod); err != nil {
		b.Fatal(err)
	}
	kind, _ := objects.ByResource("pods")
	e := encoder(b, kind)
	message, err := e.Append(nil, pod)
	if err != nil {
		b.Fatal(err)
	}
	return e, pod, message
}

// versus runs both in turns, and reports ours, theirs and how many times faster ours is.
func versus(b *testing.B, ours, theirs func() error) {
	b.Helper()
	b.ReportAllocs()
	var spent [2]time.Duration
	for b.Loop() {
		for i, f := range []func() error{ours, theirs} {
			start := time.Now()
			for range 20 {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			spent[i] += time.Since(start)
		}
	}
	n := float64(b.N) * 20
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(spent[0].Nanoseconds())/n, "ns/ours")
	b.ReportMetric(float64(spent[1].Nanoseconds())/n, "ns/reflection")
	b.ReportMetric(float64(spent[1])/float64(spent[0]), "x-faster")
	b.ReportMetric(testing.AllocsPerRun(100, func() { _ = ours() }), "allocs/ours")
	b.ReportMetric(testing.AllocsPerRun(100, func() { _ = theirs() }), "allocs/reflection")
}

func BenchmarkEncodePod(b *testing.B) {
	e, pod, message := benchPod(b)
	buffer := make([]byte, 0, 2*len(message))
	var out bytes.Buffer
	reflection := msgpack.NewEncoder(&out)
	reflection.SetCustomStructTag("json")
	reflection.SetOmitEmpty(true)
	reflection.UseCompactInts(true)
	b.ReportMetric(float64(len(message)), "B/message")
	versus(b,
		func() error { _, err := e.Append(buffer, pod); return err },
		func() error { out.Reset(); return reflection.Encode(pod) })
}

func BenchmarkDecodePodTrimmed(b *testing.B) {
	_, _, message := benchPod(b)
	d := objects.NewDecoder[trimmedPod]()
	versus(b,
		func() error { var pod trimmedPod; return d.Decode(message, &pod) },
		func() error { var pod reflectedPod; return msgpack.Unmarshal(message, &pod) })
}

func BenchmarkDecodePodTrimmedBorrow(b *testing.B) {
	_, _, message := benchPod(b)
	d := objects.NewDecoder[trimmedPod](objects.Borrow())
	versus(b,
		func() error { var pod trimmedPod; return d.Decode(message, &pod) },
		func() error { var pod reflectedPod; return msgpack.Unmarshal(message, &pod) })
}

func BenchmarkDecodePodPairs(b *testing.B) {
	_, _, message := benchPod(b)
	d := objects.NewDecoder[pairedPod]()
	versus(b,
		func() error { var pod pairedPod; return d.Decode(message, &pod) },
		func() error { var pod reflectedPod; return msgpack.Unmarshal(message, &pod) })
}

func BenchmarkDecodePodLite(b *testing.B) {
	_, _, message := benchPod(b)
	d := objects.NewDecoder[litePod]()
	versus(b,
		func() error { var pod litePod; return d.Decode(message, &pod) },
		func() error { var pod map[string]any; return msgpack.Unmarshal(message, &pod) })
}

func BenchmarkChange(b *testing.B) {
	e, pod, _ := benchPod(b)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		c, err := e.Change(pod, schemas.Applied, now)
		if err != nil {
			b.Fatal(err)
		}
		c.Marshal()
	}
}
