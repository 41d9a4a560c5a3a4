package apiserver

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// isDryRun says that a request's result is to be shown but not kept.
func isDryRun(query url.Values) bool { return query.Get("dryRun") == metav1.DryRunAll }

func (s *Server) create(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	obj, err := s.readObject(r, q)
	if err == nil {
		err = s.checkNamespace(q)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.createObject(w, r, f, q, query, obj)
}

func (s *Server) createObject(w http.ResponseWriter, r *http.Request, f format, q request, query url.Values, obj runtime.Object) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		s.fail(w, r, errors.NewBadRequest(err.Error()))
		return
	}
	accessor.SetResourceVersion("")
	accessor.SetUID("")
	accessor.SetCreationTimestamp(metav1.Time{})
	accessor.SetGeneration(0)
	if hasSpec(obj) {
		accessor.SetGeneration(1)
	}
	if s.admit != nil {
		s.admit(obj)
	}
	if !isDryRun(query) {
		if obj, err = s.store.Create(obj); err != nil {
			s.fail(w, r, err)
			return
		}
		s.report(q.res, watch.Added, obj)
	}
	s.writeTyped(w, r, f, http.StatusCreated, q.res, obj)
}

func (s *Server) update(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	wanted, err := s.readObject(r, q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.change(w, r, f, q, query, func(runtime.Object) (runtime.Object, error) { return wanted, nil })
}

func (s *Server) patch(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	patch, err := readPatch(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if _, err := s.store.item(q.res, q.namespace, q.name); errors.IsNotFound(err) && patch.kind == types.ApplyPatchType {
		obj, err := patch.create(q)
		if err == nil {
			err = s.checkNamespace(q)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.createObject(w, r, f, q, query, obj)
		return
	}
	s.change(w, r, f, q, query, patch.apply)
}

// change updates an object and answers with the result.
func (s *Server) change(w http.ResponseWriter, r *http.Request, f format, q request, query url.Values, change func(runtime.Object) (runtime.Object, error)) {
	obj, err := s.changeObject(q, isDryRun(query), change)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeTyped(w, r, f, http.StatusOK, q.res, obj)
}

// errDryRun ends an update before it is kept.
var errDryRun = fmt.Errorf("dry run")

func (s *Server) changeObject(q request, dryRun bool, change func(runtime.Object) (runtime.Object, error)) (runtime.Object, error) {
	var result runtime.Object
	var before string
	obj, err := s.store.Update(q.res, q.namespace, q.name, func(current runtime.Object) (runtime.Object, error) {
		old := current.DeepCopyObject()
		changed, err := change(current)
		if err != nil {
			return nil, err
		}
		from, err := meta.Accessor(old)
		if err != nil {
			return nil, err
		}
		to, err := meta.Accessor(changed)
		if err != nil {
			return nil, err
		}
		if q.subresource == "status" {
			changed = withStatus(old, changed)
		}
		to.SetCreationTimestamp(from.GetCreationTimestamp())
		to.SetGeneration(from.GetGeneration())
		if specChanged(old, changed) {
			to.SetGeneration(from.GetGeneration() + 1)
		}
		before = from.GetResourceVersion()
		if dryRun {
			result = changed
			return nil, errDryRun
		}
		return changed, nil
	})
	if err == errDryRun {
		return result, nil
	}
	if err != nil {
		return nil, err
	}
	if accessor, err := meta.Accessor(obj); err == nil && accessor.GetResourceVersion() != before {
		s.report(q.res, watch.Modified, obj)
	}
	return obj, nil
}

func (s *Server) delete(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	f.shape = whole
	options, err := s.readDeleteOptions(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var uid types.UID
	if p := options.Preconditions; p != nil {
		if p.UID != nil {
			uid = *p.UID
		}
		if it, err := s.store.item(q.res, q.namespace, q.name); err == nil && p.ResourceVersion != nil && *p.ResourceVersion != formatVersion(it.version) {
			s.fail(w, r, errors.NewConflict(q.res.GR(), q.name, fmt.Errorf("the object's version is %d, not %s", it.version, *p.ResourceVersion)))
			return
		}
	}
	it, err := s.store.item(q.res, q.namespace, q.name)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !isDryRun(query) && len(options.DryRun) == 0 {
		obj, err := s.store.Delete(q.res, q.namespace, q.name, uid)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.report(q.res, watch.Deleted, obj)
	}
	s.write(w, f, http.StatusOK, &metav1.Status{
		Status:  metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: q.name, Group: q.res.Group, Kind: q.res.Name, UID: types.UID(it.uid)},
	})
}

func (s *Server) deleteCollection(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	f.shape = whole
	items, _, err := s.page(q, query)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	for _, it := range items {
		obj, err := s.store.Delete(q.res, it.namespace(), it.name(), types.UID(it.uid))
		if errors.IsNotFound(err) || errors.IsConflict(err) {
			continue // gone already, or another one by now
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.report(q.res, watch.Deleted, obj)
	}
	s.write(w, f, http.StatusOK, &metav1.Status{Status: metav1.StatusSuccess})
}

// readObject reads the object of a create or an update, which must fit the path.
func (s *Server) readObject(r *http.Request, q request) (runtime.Object, error) {
	var obj runtime.Object
	var err error
	if q.res.custom {
		obj, err = readCustom(r, q.res.GVK())
	} else {
		obj, err = s.read(r, q.res.GVK())
	}
	if err != nil {
		return nil, err
	}
	if err := fit(obj, q); err != nil {
		return nil, err
	}
	return obj, nil
}

// fit checks an object's kind and gives it the path's namespace and name.
func fit(obj runtime.Object, q request) error {
	kinds, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil || kinds[0] != q.res.GVK() {
		return errors.NewBadRequest(fmt.Sprintf("the object provided is a %T, and this path takes %s", obj, q.res.GVK()))
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return errors.NewBadRequest(err.Error())
	}
	if namespace := accessor.GetNamespace(); namespace != "" && namespace != q.namespace {
		return errors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	accessor.SetNamespace(q.namespace)
	if q.name != "" {
		if accessor.GetName() != q.name {
			return errors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", accessor.GetName(), q.name))
		}
	}
	return nil
}

func (s *Server) checkNamespace(q request) error {
	if q.namespace == "" {
		return nil
	}
	namespaces := s.store.byName[schema.GroupResource{Resource: "namespaces"}].res
	_, err := s.store.item(namespaces, "", q.namespace)
	return err
}

func (s *Server) readDeleteOptions(r *http.Request) (metav1.DeleteOptions, error) {
	var options metav1.DeleteOptions
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, bodyLimit))
	if err != nil {
		return options, errors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", bodyLimit))
	}
	if len(body) == 0 {
		return options, nil
	}
	kind := schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}
	obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, &kind, nil)
	if err != nil {
		return options, errors.NewBadRequest(err.Error())
	}
	if given, ok := obj.(*metav1.DeleteOptions); ok {
		options = *given
	}
	return options, nil
}

// writeTyped sends an object as it came out of a write.
func (s *Server) writeTyped(w http.ResponseWriter, r *http.Request, f format, code int, res *Resource, obj runtime.Object) {
	it, err := itemOf(obj)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeItem(w, r, f, code, res, it)
}

func (s *Server) report(res *Resource, kind watch.EventType, obj runtime.Object) {
	if s.wrote != nil {
		s.wrote(Change{Resource: res, Type: kind, Object: obj})
	}
}

// field reads a struct's field by name; the kinds that have none give an invalid value.
func field(obj runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(obj).Elem().FieldByName(name)
}

func hasSpec(obj runtime.Object) bool {
	if c, ok := obj.(*Custom); ok {
		return c.Object["spec"] != nil
	}
	return field(obj, "Spec").IsValid()
}

func specChanged(old, changed runtime.Object) bool {
	if from, ok := old.(*Custom); ok {
		to, ok := changed.(*Custom)
		return ok && !reflect.DeepEqual(from.Object["spec"], to.Object["spec"])
	}
	from, to := field(old, "Spec"), field(changed, "Spec")
	if !from.IsValid() || !to.IsValid() || from.Type() != to.Type() {
		return false
	}
	return !equality.Semantic.DeepEqual(from.Interface(), to.Interface())
}

// withStatus is the old object with the status of the changed one, and its version, so that conflicts are seen.
func withStatus(old, changed runtime.Object) runtime.Object {
	if from, ok := changed.(*Custom); ok {
		if to, ok := old.(*Custom); ok && from.Object["status"] != nil {
			to.Object["status"] = from.Object["status"]
		}
	}
	from, to := field(changed, "Status"), field(old, "Status")
	if from.IsValid() && to.IsValid() && from.Type() == to.Type() {
		to.Set(from)
	}
	if a, err := meta.Accessor(changed); err == nil {
		if b, err := meta.Accessor(old); err == nil {
			b.SetResourceVersion(a.GetResourceVersion())
		}
	}
	return old
}
