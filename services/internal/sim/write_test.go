package sim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestOptimisticConcurrency(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true})
	leases := client(t, c).CoordinationV1().Leases("default")
	made, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "lock"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if made.UID == "" || made.ResourceVersion == "" || made.CreationTimestamp.IsZero() {
		t.Errorf("created without identity: %+v", made.ObjectMeta)
	}
	if _, err := leases.Create(t.Context(), made.DeepCopy(), metav1.CreateOptions{}); !errors.IsAlreadyExists(err) {
		t.Errorf("created twice: %v", err)
	}
	first, second := made.DeepCopy(), made.DeepCopy()
	holder := "first"
	first.Spec.HolderIdentity = &holder
	updated, err := leases.Update(t.Context(), first, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Update(t.Context(), second, metav1.UpdateOptions{}); !errors.IsConflict(err) {
		t.Errorf("update of an old version: %v", err)
	}
	same, err := leases.Update(t.Context(), updated.DeepCopy(), metav1.UpdateOptions{})
	if err != nil || same.ResourceVersion != updated.ResourceVersion {
		t.Errorf("an update that changes nothing: %v, version %s after %s", err, same.ResourceVersion, updated.ResourceVersion)
	}
	if err := leases.Delete(t.Context(), "lock", metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("another")}); !errors.IsConflict(err) {
		t.Errorf("delete of another UID: %v", err)
	}
	if err := leases.Delete(t.Context(), "lock", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if err := leases.Delete(t.Context(), "lock", metav1.DeleteOptions{}); !errors.IsNotFound(err) {
		t.Errorf("deleted twice: %v", err)
	}
}

// Two candidates, one leader; when it steps down the other one takes over.
func TestLeaderElection(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true})
	var leading atomic.Int32
	leader := make(chan string, 2)
	campaign := func(ctx context.Context, id string) {
		lock := &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "headwater-state"}, Client: client(t, c).CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: id},
		}
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 5 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: 50 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					if leading.Add(1) > 1 {
						t.Error("two leaders at once")
					}
					leader <- id
					<-ctx.Done()
					leading.Add(-1)
				},
				OnStoppedLeading: func() {},
			},
		})
	}
	contexts := map[string]context.CancelFunc{}
	done := make(chan struct{}, 2)
	for _, id := range []string{"a", "b"} {
		ctx, cancel := context.WithCancel(t.Context())
		contexts[id] = cancel
		go func() { campaign(ctx, id); done <- struct{}{} }()
	}
	wait := func() string {
		select {
		case id := <-leader:
			return id
		case <-time.After(soon):
			t.Fatal("nobody leads")
			return ""
		}
	}
	first := wait()
	testenv.Eventually(t, soon, func() error {
		lease, err := client(t, c).CoordinationV1().Leases("kube-system").Get(t.Context(), "headwater-state", metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != first {
			return fmt.Errorf("the lease is %v, %v", lease, err)
		}
		return nil
	})
	contexts[first]()
	<-done
	if second := wait(); second == first {
		t.Errorf("%s leads again", second)
	}
	for _, cancel := range contexts {
		cancel()
	}
	<-done
}

// What people do with kubectl has the effect that it has in a real cluster.
func TestControllersAnswerTheWire(t *testing.T) {
	c := testenv.Sim(t, sim.Options{PodsPerNode: 6})
	api := client(t, c)
	ctx := t.Context()
	web := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=web"}
	running := func(want int) []corev1.Pod {
		t.Helper()
		var pods []corev1.Pod
		testenv.Eventually(t, soon, func() error {
			list, err := api.CoreV1().Pods("shop").List(ctx, web)
			if err != nil {
				return err
			}
			if pods = list.Items; len(pods) != want {
				return fmt.Errorf("%d pods, want %d", len(pods), want)
			}
			for _, pod := range pods {
				if _, ok := c.Truth().Pod(pod.Namespace, pod.Name); !ok || pod.Status.Phase != corev1.PodRunning {
					return fmt.Errorf("%s doesn't run", pod.Name)
				}
			}
			return nil
		})
		return pods
	}
	before := running(3)

	scale, err := api.AppsV1().Deployments("shop").GetScale(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.Spec.Replicas = 5
	if _, err := api.AppsV1().Deployments("shop").UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	running(5)
	testenv.Eventually(t, soon, func() error {
		deployment, err := api.AppsV1().Deployments("shop").Get(ctx, "web", metav1.GetOptions{})
		if err != nil || deployment.Status.ReadyReplicas != 5 || deployment.Status.ObservedGeneration != deployment.Generation {
			return fmt.Errorf("%+v, %v", deployment.Status, err)
		}
		return nil
	})
	if _, err := api.AppsV1().Deployments("shop").Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	left := running(1)
	if err := api.CoreV1().Pods("shop").Delete(ctx, left[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, soon, func() error {
		if pods := running(1); pods[0].UID == left[0].UID {
			return fmt.Errorf("the deleted pod is still there")
		}
		return nil
	})
	if _, err := api.AppsV1().Deployments("shop").Patch(ctx, "web", types.StrategicMergePatchType,
		[]byte(`{"metadata":{"labels":{"tier":"front"}},"spec":{"template":{"metadata":{"annotations":{"restarted":"now"}}}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, soon, func() error {
		if pods := running(1); pods[0].Annotations["restarted"] != "now" {
			return fmt.Errorf("the pod is of the old template")
		}
		return nil
	})
	if err := api.AppsV1().Deployments("shop").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	running(0)
	if _, ok := c.Truth().Pod("shop", before[0].Name); ok {
		t.Errorf("%s still runs on its node", before[0].Name)
	}

	bare, err := api.CoreV1().Pods("shop").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "run-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
	}, metav1.CreateOptions{})
	if err != nil || bare.Spec.NodeName == "" || bare.Status.Phase != corev1.PodRunning {
		t.Errorf("a pod of its own: %+v, %v", bare, err)
	}
	if _, err := api.CoreV1().Pods("nowhere").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{}); !errors.IsNotFound(err) {
		t.Errorf("a pod in a namespace that doesn't exist: %v", err)
	}
	if err := api.CoreV1().Namespaces().Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, soon, func() error {
		if list, err := api.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
			return fmt.Errorf("the namespace still has %d pods, %v", len(list.Items), err)
		}
		return nil
	})
}

// A call from Go does what it says and nothing more.
func TestCallsFromGoHaveNoFollowers(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	pods := len(c.Truth().Pods())
	pod := runningPod(t, c, 1)
	if err := c.DeletePod(pod.Namespace, pod.Name); err != nil {
		t.Fatal(err)
	}
	// Something that controllers do answer comes behind it.
	if err := client(t, c).CoreV1().Namespaces().Delete(t.Context(), "kube-public", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, soon, func() error {
		_, err := client(t, c).CoreV1().ServiceAccounts("kube-public").Get(t.Context(), "default", metav1.GetOptions{})
		if !errors.IsNotFound(err) {
			return fmt.Errorf("the namespace isn't empty yet: %v", err)
		}
		return nil
	})
	if got := len(c.Truth().Pods()); got != pods-1 {
		t.Errorf("%d pods, want %d", got, pods-1)
	}
}

func TestTables(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	get := func(path string) metav1.Table {
		t.Helper()
		body, err := client(t, c).Discovery().RESTClient().Get().AbsPath(path).
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var table metav1.Table
		if err := json.Unmarshal(body, &table); err != nil {
			t.Fatal(err)
		}
		return table
	}
	for path, want := range map[string]string{
		"/api/v1/pods":                           "[Name Ready Status Restarts Age IP Node]",
		"/api/v1/nodes":                          "[Name Status Roles Age Version Internal-IP OS-Image Kernel-Version Container-Runtime]",
		"/apis/apps/v1/deployments":              "[Name Ready Up-to-date Available Age]",
		"/api/v1/nodes/node-0001":                "[Name Status Roles Age Version Internal-IP OS-Image Kernel-Version Container-Runtime]",
		"/apis/storage.k8s.io/v1/storageclasses": "[Name Age]",
	} {
		table := get(path)
		var names []string
		for _, column := range table.ColumnDefinitions {
			names = append(names, column.Name)
		}
		if got := fmt.Sprint(names); got != want || table.Kind != "Table" {
			t.Errorf("%s: %s %s, want %s", path, table.Kind, got, want)
		}
		for _, row := range table.Rows {
			var partial metav1.PartialObjectMetadata
			if err := json.Unmarshal(row.Object.Raw, &partial); err != nil || partial.Name != row.Cells[0] || len(row.Cells) != len(names) {
				t.Errorf("%s: row %v of %s, %v", path, row.Cells, partial.Name, err)
			}
		}
	}
}
