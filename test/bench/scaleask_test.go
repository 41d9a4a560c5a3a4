package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	allAnswers = 7   // with all pods, in each encoding
	appAnswers = 500 // with the pods of an application
	metricsAPI = "/apis/metrics.k8s.io/v1beta1"
)

// quantiles are some of many values.
type quantiles struct{ least, p50, p99, most float64 }

func quantilesOf(values []float64) quantiles {
	if len(values) == 0 {
		return quantiles{}
	}
	slices.Sort(values)
	at := func(q float64) float64 { return values[min(int(q*float64(len(values))), len(values)-1)] }
	return quantiles{values[0], at(0.5), at(0.99), values[len(values)-1]}
}

// repeat asks again and again and returns the seconds that answers took, and the bytes of one.
func repeat(ctx context.Context, ask asks) (quantiles, int, error) {
	var times []float64
	size := 0
	for range allAnswers {
		a, err := ask(ctx)
		if err != nil {
			return quantiles{}, 0, err
		}
		times, size = append(times, a.took.Seconds()), a.bytes
	}
	return quantilesOf(times), size, nil
}

// accepting is get for an encoding.
func (w *world) accepting(ctx context.Context, client *http.Client, of server, path, encoding string) (a answer, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, of.at+path, nil)
	if err != nil {
		return a, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+w.admin.BearerToken)
	request.Header.Set("Accept", encoding)
	begin := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return a, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	a = answer{at: time.Now(), took: time.Since(begin), bytes: len(body)}
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", response.Status, body)
	}
	if err != nil {
		return a, nil, err
	}
	a.cost, err = costOf(of.Pid())
	return a, body, err
}

const protobuf = "application/vnd.kubernetes.protobuf"

// packed asks a server of the Metrics API for all pods in protobuf, as kubectl does, and compares with what runs.
func (w *world) packed(of server) asks {
	client := newClient()
	return func(ctx context.Context) (answer, error) {
		a, body, err := w.accepting(ctx, client, of, metricsAPI+"/pods", protobuf)
		if err != nil {
			return a, err
		}
		seen := make(map[string]bool, len(w.running))
		err = eachPod(body, func(namespace, name string, at int64, containers int) error {
			key := namespace + "/" + name
			if want, ok := w.running[key]; !ok || seen[key] || containers != want {
				return fmt.Errorf("%s has %d containers, want %d; runs: %t, there twice: %t", key, containers, want, ok, seen[key])
			}
			seen[key] = true
			if when := time.Unix(at, 0); a.oldest.IsZero() || when.Before(a.oldest) {
				a.oldest = when
			}
			return nil
		})
		if err == nil && len(seen) != len(w.running) {
			err = fmt.Errorf("%d of %d pods", len(seen), len(w.running))
		}
		return a, err
	}
}

var errProtobuf = errors.New("the answer is no list of pods in protobuf")

// eachPod calls f for every pod in an answer: at is its timestamp in Unix seconds.
func eachPod(body []byte, f func(namespace, name string, at int64, containers int) error) error {
	if len(body) < 4 || string(body[:4]) != "k8s\x00" {
		return errProtobuf
	}
	return fields(body[4:], func(number int, _ uint64, list []byte) error {
		if number != 2 { // Unknown.raw
			return nil
		}
		return fields(list, func(number int, _ uint64, item []byte) error {
			if number != 2 { // PodMetricsList.items
				return nil
			}
			var namespace, name string
			var at int64
			containers := 0
			err := fields(item, func(number int, _ uint64, value []byte) error {
				switch number {
				case 1:
					return fields(value, func(number int, _ uint64, value []byte) error {
						switch number {
						case 1:
							name = string(value)
						case 3:
							namespace = string(value)
						}
						return nil
					})
				case 2:
					return fields(value, func(number int, n uint64, _ []byte) error {
						if number == 1 {
							at = int64(n)
						}
						return nil
					})
				case 4:
					containers++
				}
				return nil
			})
			if err != nil {
				return err
			}
			return f(namespace, name, at, containers)
		})
	})
}

// fields calls f for each field of a protobuf message: a number, or bytes.
func fields(message []byte, f func(number int, n uint64, value []byte) error) error {
	for len(message) > 0 {
		tag, size := binary.Uvarint(message)
		if size <= 0 {
			return errProtobuf
		}
		message = message[size:]
		n, size := binary.Uvarint(message)
		if size <= 0 {
			return errProtobuf
		}
		message = message[size:]
		var value []byte
		switch tag & 7 {
		case 0:
		case 2:
			if n > uint64(len(message)) {
				return errProtobuf
			}
			value, message = message[:n], message[n:]
		default:
			return errProtobuf
		}
		if err := f(int(tag>>3), n, value); err != nil {
			return err
		}
	}
	return nil
}

// application is what an autoscaler asks for.
type application struct {
	namespace, name string
	pods            int
}

// applications asks for the pods of one application at a time, as the autoscaler does, and returns the milliseconds: of
// any namespace but the largest, or of that one.
func (w *world) applications(ctx context.Context, of server, crowded bool) (quantiles, error) {
	var some []application
	for _, a := range w.apps {
		if (a.namespace == w.crowdedNamespace) == crowded {
			some = append(some, a)
		}
	}
	slices.SortFunc(some, func(a, b application) int {
		return slices.Compare([]string{a.namespace, a.name}, []string{b.namespace, b.name})
	})
	if len(some) == 0 {
		return quantiles{}, nil
	}
	random := rand.New(rand.NewPCG(1, 1))
	client := newClient()
	var times []float64
	for i := range appAnswers + 10 {
		app := some[random.IntN(len(some))]
		path := metricsAPI + "/namespaces/" + app.namespace + "/pods?labelSelector=" + url.QueryEscape(appLabel+"="+app.name)
		a, body, err := w.accepting(ctx, client, of, path, protobuf)
		if err != nil {
			return quantiles{}, err
		}
		n := 0
		if err := eachPod(body, func(string, string, int64, int) error { n++; return nil }); err != nil || n != app.pods {
			return quantiles{}, fmt.Errorf("%d of the %d pods of %s/%s: %v", n, app.pods, app.namespace, app.name, err)
		}
		if i >= 10 { // the first ones also log in
			times = append(times, a.took.Seconds()*1e3)
		}
	}
	return quantilesOf(times), nil
}

// ages asks for all nodes once a second for a while and returns how old their samples were, in seconds, but for those that
// are left out.
func (w *world) ages(ctx context.Context, of server, but map[string]bool) (quantiles, error) {
	client := newClient()
	var ages []float64
	for begin := time.Now(); time.Since(begin) < agesTime; {
		a, body, err := w.accepting(ctx, client, of, metricsAPI+"/nodes", "application/json")
		if err != nil {
			return quantiles{}, err
		}
		var list struct {
			Items []struct {
				Metadata  struct{ Name string }
				Timestamp time.Time
			}
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return quantiles{}, fmt.Errorf("couldn't read the nodes: %w", err)
		}
		for _, item := range list.Items {
			if !but[item.Metadata.Name] {
				// Timestamps are cut to seconds: half a second is what that takes away.
				ages = append(ages, a.at.Sub(item.Timestamp).Seconds()-0.5)
			}
		}
		if err := pause(ctx, time.Second); err != nil {
			return quantiles{}, err
		}
	}
	return quantilesOf(ages), nil
}

// hang lets one kubelet of a hundred answer late for a while, and returns their nodes.
func (w *world) hang(ctx context.Context, long time.Duration) (map[string]bool, error) {
	client := newClient()
	hanging := map[string]bool{}
	for i := 0; i < len(w.kubelets); i += 100 {
		k := w.kubelets[i]
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, k.at+"/sim/late?by="+lateBy.String()+"&for="+long.String(), nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+w.admin.BearerToken)
		response, err := client.Do(request)
		if err != nil {
			return nil, fmt.Errorf("couldn't let the kubelet of %s hang: %w", k.node, err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNoContent {
			return nil, fmt.Errorf("couldn't let the kubelet of %s hang: %s", k.node, response.Status)
		}
		hanging[k.node] = true
	}
	client.CloseIdleConnections()
	return hanging, nil
}

// kubelet is where a node's kubelet answers.
type kubelet struct{ node, at string }

// kubeletsOf asks the API server for them.
func kubeletsOf(ctx context.Context, client kubernetes.Interface) (all []kubelet, err error) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("couldn't ask for the nodes: %w", err)
	}
	for _, node := range list.Items {
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				all = append(all, kubelet{node.Name, "https://" + address.Address + ":" + strconv.Itoa(int(node.Status.DaemonEndpoints.KubeletEndpoint.Port))})
			}
		}
	}
	return all, nil
}
