package objects_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

func TestChange(t *testing.T) {
	kind, _ := objects.ByResource("leases")
	e := encoder(t, kind)
	obj := kind.New()
	filler(1).NilChance(0).Fill(obj)
	m := obj.(metav1.Object)
	now := time.Unix(1700000000, 5)
	want := schemas.ObjectChange{
		Operation: schemas.Applied, Group: "coordination.k8s.io", APIVersion: "v1", Kind: "Lease", Resource: "leases",
		Namespace: m.GetNamespace(), Name: m.GetName(), UID: string(m.GetUID()), ResourceVersion: m.GetResourceVersion(), Time: now.UnixNano(),
	}
	want.Object, _ = e.Append(nil, obj)
	got, err := e.Change(obj, schemas.Applied, now)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if b, err := e.AppendMessage([]byte("before"), obj, schemas.Applied, now); err != nil || !bytes.Equal(b, append([]byte("before"), want.Marshal()...)) {
		t.Errorf("AppendMessage differs from Change: %v", err)
	}
	if b, err := e.AppendMessage([]byte("before"), &corev1.Pod{}, schemas.Applied, now); err == nil || string(b) != "before" {
		t.Errorf("AppendMessage of a Pod as a Lease: %q, %v", b, err)
	}
	want.Operation, want.Object = schemas.Deleted, nil
	got, err = e.Change(obj, schemas.Deleted, now)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if message, err := e.AppendMessage(nil, obj, schemas.Deleted, now); err != nil || !bytes.Equal(message, want.Marshal()) {
		t.Errorf("AppendMessage differs from Change: %v", err)
	}
	if _, err := e.Change(&corev1.Pod{}, schemas.Applied, now); err == nil {
		t.Error("a Pod was taken for a Lease")
	}
}

func TestFit(t *testing.T) {
	nodes, _ := objects.ByResource("nodes")
	roles, _ := objects.ByResource("clusterroles")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u", Annotations: map[string]string{"a": strings.Repeat("a", 500)},
		Labels: map[string]string{"l": "m"}}, Spec: corev1.NodeSpec{PodCIDR: "10.0.0.0/24"}}
	for i := range 30 {
		node.Status.Images = append(node.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprint("registry.example.com/image:", i)}})
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r", UID: "u"}, Rules: make([]rbacv1.PolicyRule, 300)}

	nodeChange, err := encoder(t, nodes).Change(node, schemas.Applied, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	roleChange, err := encoder(t, roles).Change(role, schemas.Applied, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		change  schemas.ObjectChange
		limit   int
		dropped []string
	}{
		{nodeChange, 1 << 20, nil},
		{nodeChange, len(nodeChange.Marshal()), nil},
		{nodeChange, len(nodeChange.Marshal()) - 1, []string{"status.images"}},
		{nodeChange, 700, []string{"metadata.annotations", "status.images"}},
		{roleChange, 400, []string{"rules"}},
	} {
		fitted := test.change
		if err := objects.Fit(&fitted, test.limit); err != nil {
			t.Errorf("%d bytes: %v", test.limit, err)
			continue
		}
		if diff := cmp.Diff(test.dropped, fitted.Dropped); diff != "" {
			t.Errorf("%d bytes: %s", test.limit, diff)
		}
		if size := len(fitted.Marshal()); size > test.limit {
			t.Errorf("%d bytes, want at most %d", size, test.limit)
		}
		want := decoded(t, test.change.Object)
		for _, path := range test.dropped {
			prune(want, strings.Split(path, "."), nil)
		}
		if diff := cmp.Diff(want, decoded(t, fitted.Object)); diff != "" {
			t.Errorf("%d bytes: %s", test.limit, diff)
		}
		var again schemas.ObjectChange
		if err := again.Unmarshal(fitted.Marshal()); err != nil {
			t.Error(err)
		}
	}
	tiny := nodeChange
	if err := objects.Fit(&tiny, 40); !errors.Is(err, objects.ErrTooLarge) || !cmp.Equal(tiny, nodeChange) {
		t.Errorf("40 bytes: %v", err)
	}
	// Whatever the limit, the identity stays and the message fits, or it is refused whole.
	for limit := range len(nodeChange.Marshal()) {
		fitted := nodeChange
		if err := objects.Fit(&fitted, limit); err != nil {
			continue
		}
		var got struct {
			Metadata struct {
				Name string `json:"name"`
				UID  string `json:"uid"`
			} `json:"metadata"`
		}
		if len(fitted.Marshal()) > limit {
			t.Fatalf("%d bytes for a limit of %d", len(fitted.Marshal()), limit)
		}
		if err := objects.NewDecoder[struct {
			Metadata struct {
				Name string `json:"name"`
				UID  string `json:"uid"`
			} `json:"metadata"`
		}]().Decode(fitted.Object, &got); err != nil || got.Metadata.Name != "n" || got.Metadata.UID != "u" {
			t.Fatalf("limit %d: %v, %v", limit, got, err)
		}
	}
}
