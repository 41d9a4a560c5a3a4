package apiserver

import (
	"fmt"
	"net/http"
	"net/url"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// subresource answers .../NAME/status, .../NAME/scale and pods/NAME/eviction.
func (s *Server) subresource(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	switch {
	case q.subresource == "status" && q.res.Status:
		s.status(w, r, q, query)
	case q.subresource == "scale" && q.res.Scale:
		s.scale(w, r, q, query)
	case q.subresource == "eviction" && q.res.Name == "pods" && q.verb == "create":
		s.evict(w, r, q)
	default:
		s.fail(w, r, notServed())
	}
}

func (s *Server) status(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	switch q.verb {
	case "get":
		s.get(w, r, q)
	case "update":
		s.update(w, r, q, query)
	case "patch":
		s.patch(w, r, q, query)
	default:
		s.fail(w, r, errors.NewMethodNotSupported(q.res.GR(), q.verb))
	}
}

func (s *Server) scale(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	f.shape = whole
	var change func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)
	switch q.verb {
	case "get":
		obj, err := s.store.Get(q.res, q.namespace, q.name)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		scale, _ := scaleOf(obj)
		s.write(w, f, http.StatusOK, scale)
		return
	case "update":
		obj, err := s.read(r, autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
		wanted, ok := obj.(*autoscalingv1.Scale)
		if err == nil && !ok {
			err = errors.NewBadRequest(fmt.Sprintf("the object provided is a %T, and this path takes a Scale", obj))
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		change = func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return wanted, nil }
	case "patch":
		patch, err := readPatch(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		change = func(current *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
			changed, err := patch.apply(current)
			if err != nil {
				return nil, err
			}
			return changed.(*autoscalingv1.Scale), nil // apply keeps the type
		}
	default:
		s.fail(w, r, errors.NewMethodNotSupported(q.res.GR(), q.verb))
		return
	}
	obj, err := s.changeObject(q, isDryRun(query), func(obj runtime.Object) (runtime.Object, error) {
		scale, replicas := scaleOf(obj)
		changed, err := change(scale)
		if err != nil {
			return nil, err
		}
		*replicas = &changed.Spec.Replicas
		accessor, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		accessor.SetResourceVersion(changed.ResourceVersion)
		return obj, nil
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	scale, _ := scaleOf(obj)
	s.write(w, f, http.StatusOK, scale)
}

// scaleOf reads an object's scale, and tells where it keeps the number of its replicas.
func scaleOf(obj runtime.Object) (*autoscalingv1.Scale, **int32) {
	scale := &autoscalingv1.Scale{}
	var from *metav1.ObjectMeta
	var replicas **int32
	switch obj := obj.(type) {
	case *appsv1.Deployment:
		from, replicas, scale.Status.Replicas, scale.Status.Selector = &obj.ObjectMeta, &obj.Spec.Replicas, obj.Status.Replicas, metav1.FormatLabelSelector(obj.Spec.Selector)
	case *appsv1.ReplicaSet:
		from, replicas, scale.Status.Replicas, scale.Status.Selector = &obj.ObjectMeta, &obj.Spec.Replicas, obj.Status.Replicas, metav1.FormatLabelSelector(obj.Spec.Selector)
	case *appsv1.StatefulSet:
		from, replicas, scale.Status.Replicas, scale.Status.Selector = &obj.ObjectMeta, &obj.Spec.Replicas, obj.Status.Replicas, metav1.FormatLabelSelector(obj.Spec.Selector)
	case *corev1.ReplicationController:
		from, replicas, scale.Status.Replicas, scale.Status.Selector = &obj.ObjectMeta, &obj.Spec.Replicas, obj.Status.Replicas, labels.FormatLabels(obj.Spec.Selector)
	}
	scale.ObjectMeta = metav1.ObjectMeta{
		Name: from.Name, Namespace: from.Namespace, UID: from.UID, ResourceVersion: from.ResourceVersion, CreationTimestamp: from.CreationTimestamp,
	}
	scale.Spec.Replicas = 1
	if *replicas != nil {
		scale.Spec.Replicas = **replicas
	}
	return scale, replicas
}

// evict deletes a pod; no disruption budget is asked.
func (s *Server) evict(w http.ResponseWriter, r *http.Request, q request) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	f.shape = whole
	obj, err := s.store.Delete(q.res, q.namespace, q.name, "")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.report(q.res, "DELETED", obj)
	s.write(w, f, http.StatusCreated, &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated})
}
