package apiserver

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// patch is the body of a PATCH request. A server-side apply is taken as a strategic merge: who owns a field isn't kept.
type patch struct {
	kind types.PatchType
	body []byte
}

func readPatch(r *http.Request) (patch, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return patch{}, errors.NewBadRequest(fmt.Sprintf("couldn't read the patch's content type: %v", err))
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, bodyLimit))
	if err != nil {
		return patch{}, errors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", bodyLimit))
	}
	p := patch{kind: types.PatchType(mediaType), body: body}
	switch p.kind {
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType:
	case types.ApplyPatchType:
		if p.body, err = yaml.YAMLToJSON(body); err != nil {
			return p, errors.NewBadRequest(fmt.Sprintf("couldn't read the patch: %v", err))
		}
	default:
		return p, errors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "patch", schema.GroupResource{}, "",
			"the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml", 0, true)
	}
	return p, nil
}

// apply gives the object that the patch makes of another one.
func (p patch) apply(obj runtime.Object) (runtime.Object, error) {
	before, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("couldn't encode the object to patch: %w", err)
	}
	var after []byte
	switch p.kind {
	case types.JSONPatchType:
		var decoded jsonpatch.Patch
		if decoded, err = jsonpatch.DecodePatch(p.body); err == nil {
			after, err = decoded.Apply(before)
		}
	case types.MergePatchType:
		after, err = jsonpatch.MergePatch(before, p.body)
	default:
		after, err = strategicpatch.StrategicMergePatch(before, p.body, obj)
	}
	if err != nil {
		return nil, errors.NewBadRequest(fmt.Sprintf("couldn't apply the patch: %v", err))
	}
	changed, ok := reflect.New(reflect.TypeOf(obj).Elem()).Interface().(runtime.Object)
	if !ok {
		return nil, fmt.Errorf("couldn't make a %T", obj)
	}
	if err := json.Unmarshal(after, changed); err != nil {
		return nil, errors.NewBadRequest(fmt.Sprintf("the patched object isn't valid: %v", err))
	}
	return changed, nil
}

// create reads the body of a server-side apply as an object that is new.
func (p patch) create(q request) (runtime.Object, error) {
	obj, err := q.res.newObject()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(p.body, obj); err != nil {
		return nil, errors.NewBadRequest(fmt.Sprintf("couldn't read the object: %v", err))
	}
	return obj, fit(obj, q)
}
