package apiserver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// gzipFrom is the size from which answers are compressed for clients that take it, as the real server does.
const gzipFrom = 128 << 10

// write sends one object that isn't kept in the store: a Status, a review, a discovery document.
func (s *Server) write(w http.ResponseWriter, f format, code int, obj runtime.Object) {
	if obj.GetObjectKind().GroupVersionKind().Empty() {
		if kinds, _, err := scheme.Scheme.ObjectKinds(obj); err == nil {
			obj.GetObjectKind().SetGroupVersionKind(kinds[0])
		}
	}
	if status, ok := obj.(*metav1.Status); ok {
		status.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Status"})
	}
	body, err := encodeAny(f, obj)
	if err != nil {
		s.log.Error("couldn't encode an answer", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", f.mediaType)
	w.WriteHeader(code)
	w.Write(body)
}

func encodeAny(f format, obj runtime.Object) ([]byte, error) {
	if typed, ok := obj.(object); ok && f.protobuf() {
		gvk := obj.GetObjectKind().GroupVersionKind()
		raw, err := typed.Marshal()
		if err != nil {
			return nil, fmt.Errorf("couldn't encode a %s: %w", gvk.Kind, err)
		}
		return appendEnvelope(nil, gvk.GroupVersion().String(), gvk.Kind, raw), nil
	}
	body, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("couldn't encode a %T: %w", obj, err)
	}
	if f.mediaType == runtime.ContentTypeYAML {
		return yaml.JSONToYAML(body)
	}
	return append(body, '\n'), nil
}

// fail sends an error as the API does: as a Status.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f, _ := negotiate(r, "")
	f.shape = whole
	var status metav1.Status
	if api, ok := err.(errors.APIStatus); ok {
		status = api.Status()
	} else {
		status = errors.NewInternalError(err).Status()
	}
	if status.Code == http.StatusInternalServerError {
		s.log.Warn("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	s.write(w, f, int(status.Code), &status)
}

// appendItem appends one object of the store, as a document of its own.
func appendItem(b []byte, f format, res *Resource, it *item) ([]byte, error) {
	switch {
	case f.shape == partial && f.protobuf():
		return appendEnvelope(b, "meta.k8s.io/v1", "PartialObjectMetadata", it.metadata()), nil
	case f.protobuf():
		return appendEnvelope(b, res.APIVersion(), res.Kind, it.raw), nil
	}
	obj, err := shaped(f, res, it)
	if err != nil {
		return b, err
	}
	body, err := encodeAny(f, obj)
	return append(b, body...), err
}

// shaped gives what is encoded as JSON for one object.
func shaped(f format, res *Resource, it *item) (runtime.Object, error) {
	switch f.shape {
	case partial:
		return it.partial()
	case table:
		return newTable(f, res, []*item{it}, metav1.ListMeta{ResourceVersion: formatVersion(it.version)}, true)
	}
	return it.decodeWithKind(res)
}

func (s *Server) writeItem(w http.ResponseWriter, r *http.Request, f format, code int, res *Resource, it *item) {
	body, err := appendItem(nil, f, res, it)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", f.mediaType)
	w.WriteHeader(code)
	w.Write(body)
}

// writeList sends items as a list.
func (s *Server) writeList(w http.ResponseWriter, r *http.Request, f format, res *Resource, items []*item, listMeta metav1.ListMeta) {
	out := newBody(w, r)
	w.Header().Set("Content-Type", f.mediaType)
	var err error
	switch {
	case f.protobuf():
		err = writeProtobufList(out, f, res, items, &listMeta)
	case f.shape == table:
		var t runtime.Object
		if t, err = newTable(f, res, items, listMeta, true); err == nil {
			err = writeAny(out, f, t)
		}
	case f.mediaType == runtime.ContentTypeYAML:
		list := bytes.Buffer{}
		if err = writeJSONList(&list, f, res, items, &listMeta); err == nil {
			err = writeYAML(out, list.Bytes())
		}
	default:
		err = writeJSONList(out, f, res, items, &listMeta)
	}
	if err != nil {
		s.log.Warn("couldn't write a list", "resource", res.Name, "error", err)
		panic(http.ErrAbortHandler)
	}
	out.Close()
}

func writeProtobufList(out io.Writer, f format, res *Resource, items []*item, listMeta *metav1.ListMeta) error {
	apiVersion, kind := res.APIVersion(), res.Kind+"List"
	bytesOf := func(it *item) []byte { return it.raw }
	if f.shape == partial {
		apiVersion, kind, bytesOf = "meta.k8s.io/v1", "PartialObjectMetadataList", (*item).metadata
	}
	b, err := appendListHeader(nil, apiVersion, kind, listMeta, func(yield func(int)) {
		for _, it := range items {
			yield(len(bytesOf(it)))
		}
	})
	if err != nil {
		return err
	}
	for _, it := range items {
		raw := bytesOf(it)
		b = appendFieldHeader(b, 2, len(raw))
		if _, err := out.Write(b); err != nil {
			return err
		}
		if _, err := out.Write(raw); err != nil {
			return err
		}
		b = b[:0]
	}
	_, err = out.Write(b)
	return err
}

func writeJSONList(out io.Writer, f format, res *Resource, items []*item, listMeta *metav1.ListMeta) error {
	apiVersion, kind := res.APIVersion(), res.Kind+"List"
	if f.shape == partial {
		apiVersion, kind = "meta.k8s.io/v1", "PartialObjectMetadataList"
	}
	header, err := json.Marshal(listMeta)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, `{"kind":%q,"apiVersion":%q,"metadata":%s,"items":[`, kind, apiVersion, header); err != nil {
		return err
	}
	for i, it := range items {
		if i > 0 {
			if _, err := out.Write([]byte{','}); err != nil {
				return err
			}
		}
		var obj runtime.Object
		if f.shape == partial {
			obj, err = it.partial()
		} else {
			obj, err = it.decode(res)
		}
		if err != nil {
			return err
		}
		body, err := json.Marshal(obj)
		if err != nil {
			return err
		}
		if _, err := out.Write(body); err != nil {
			return err
		}
	}
	_, err = out.Write([]byte("]}\n"))
	return err
}

func writeAny(out io.Writer, f format, obj runtime.Object) error {
	body, err := encodeAny(f, obj)
	if err != nil {
		return err
	}
	_, err = out.Write(body)
	return err
}

func writeYAML(out io.Writer, body []byte) error {
	text, err := yaml.JSONToYAML(body)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

var gzips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails only for a level that doesn't exist
	return z
}}

// body buffers the start of an answer, and compresses it if it turns out to be large and the client takes it.
type body struct {
	w       http.ResponseWriter
	out     *bufio.Writer
	start   []byte
	z       *gzip.Writer
	decided bool
	takesIt bool
}

func newBody(w http.ResponseWriter, r *http.Request) *body {
	return &body{w: w, takesIt: strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")}
}

func (b *body) Write(p []byte) (int, error) {
	if b.decided {
		return b.out.Write(p)
	}
	b.start = append(b.start, p...)
	if len(b.start) < gzipFrom {
		return len(p), nil
	}
	b.decided = true
	if b.takesIt {
		b.w.Header().Set("Content-Encoding", "gzip")
		b.z = gzips.Get().(*gzip.Writer)
		b.z.Reset(b.w)
		b.out = bufio.NewWriterSize(b.z, 64<<10)
	} else {
		b.out = bufio.NewWriterSize(b.w, 64<<10)
	}
	if _, err := b.out.Write(b.start); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close sends what is left.
func (b *body) Close() {
	if !b.decided {
		b.w.Write(b.start)
		return
	}
	b.out.Flush()
	if b.z != nil {
		b.z.Close()
		gzips.Put(b.z)
	}
}
