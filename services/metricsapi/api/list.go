package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/audit"
	apiaudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/metrics/pkg/apis/metrics"
)

// format is a way in which the library would encode what it sends, that lists know by themselves.
type format struct {
	apiVersion string
	protobuf   bool // else JSON, without white space
}

// formats are those formats, by the names of the library's encoders. All versions of the API have the same fields.
type formats map[runtime.Identifier]format

func newFormats(scheme *runtime.Scheme, codecs serializer.CodecFactory) formats {
	all := formats{}
	for _, version := range scheme.PrioritizedVersionsForGroup(metrics.GroupName) {
		for _, info := range codecs.SupportedMediaTypes() {
			switch info.MediaType {
			case runtime.ContentTypeJSON, runtime.ContentTypeProtobuf:
				name := codecs.EncoderForVersion(info.Serializer, version).Identifier()
				all[name] = format{apiVersion: version.String(), protobuf: info.MediaType == runtime.ContentTypeProtobuf}
			}
		}
	}
	return all
}

// response is what a list has to know of the response that it is sent in.
type response struct {
	header http.Header
	gzip   bool // the client takes it
}

type responseKey struct{}

// withResponse lets lists encode themselves, where nothing else is to be done to them: not where the client asks for a Table or
// for metadata, nor where the answer goes to the audit log, too. It stands where the response's header is its own.
func withResponse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		info, ok := genericrequest.RequestInfoFrom(ctx)
		if !ok || !info.IsResourceRequest || info.APIGroup != metrics.GroupName || info.Verb != "list" || strings.Contains(r.Header.Get("Accept"), "as") {
			next.ServeHTTP(w, r)
			return
		}
		if a := apiaudit.AuditContextFrom(ctx); a != nil && !a.GetEventLevel().Less(audit.LevelRequestResponse) {
			next.ServeHTTP(w, r)
			return
		}
		gzip := responsewriters.ContentEncodingSupported(r, features.APIResponseCompression) == "gzip"
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, responseKey{}, &response{w.Header(), gzip})))
	})
}

// items is what a list is of.
type items interface {
	// kind is that of the list.
	kind() string
	// parts is the number of parts. None is empty.
	parts() int
	// len is the number of items in a part.
	len(part int) int
	// json appends an item.
	json(b []byte, w *itemWriter, part, i int) []byte
	// protobuf writes an item, as an element of the list.
	protobuf(b *backward, w *itemWriter, part, i int)
	// object is the list for the library, with all of its items.
	object(version uint64, now time.Time, extended bool) runtime.Object
}

// nodeItems are the items of a NodeMetricsList.
type nodeItems [][]nodeReading

func (nodeItems) kind() string         { return "NodeMetricsList" }
func (all nodeItems) parts() int       { return len(all) }
func (all nodeItems) len(part int) int { return len(all[part]) }
func (all nodeItems) json(b []byte, w *itemWriter, part, i int) []byte {
	return w.jsonNode(b, &all[part][i])
}
func (all nodeItems) protobuf(b *backward, w *itemWriter, part, i int) {
	w.protobufNode(b, &all[part][i])
}

func (all nodeItems) object(version uint64, now time.Time, extended bool) runtime.Object {
	list := &metrics.NodeMetricsList{ListMeta: metav1.ListMeta{ResourceVersion: resourceVersion(version)}, Items: []metrics.NodeMetrics{}}
	for _, part := range all {
		for i := range part {
			reading := part[i]
			reading.version = version
			list.Items = append(list.Items, reading.item(now, extended))
		}
	}
	return list
}

// podItems are the items of a PodMetricsList.
type podItems [][]podReading

func (podItems) kind() string         { return "PodMetricsList" }
func (all podItems) parts() int       { return len(all) }
func (all podItems) len(part int) int { return len(all[part]) }
func (all podItems) json(b []byte, w *itemWriter, part, i int) []byte {
	return w.jsonPod(b, &all[part][i])
}
func (all podItems) protobuf(b *backward, w *itemWriter, part, i int) {
	w.protobufPod(b, &all[part][i])
}

func (all podItems) object(version uint64, now time.Time, extended bool) runtime.Object {
	list := &metrics.PodMetricsList{ListMeta: metav1.ListMeta{ResourceVersion: resourceVersion(version)}, Items: []metrics.PodMetrics{}}
	for _, part := range all {
		for i := range part {
			reading := part[i]
			reading.version = version
			list.Items = append(list.Items, reading.item(now, extended))
		}
	}
	return list
}

// list is a list that encodes itself where it knows the format, and is an object of the library's where it doesn't. It is not
// kept: CacheEncode is the library's way to let objects encode themselves.
type list struct {
	items
	now      time.Time
	extended bool
	version  uint64 // metadata.resourceVersion, of the items, too; 0 for none
	formats  formats
	makers   *makers
	response *response
}

var _ runtime.CacheableObject = (*list)(nil)

// GetObjectKind implements runtime.Object.
func (*list) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (l *list) DeepCopyObject() runtime.Object { return l.GetObject() }

// GetObject implements runtime.CacheableObject.
func (l *list) GetObject() runtime.Object { return l.object(l.version, l.now, l.extended) }

// CacheEncode implements runtime.CacheableObject.
func (l *list) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	format, known := l.formats[id]
	if !known {
		return encode(l.GetObject(), w)
	}
	if format.protobuf {
		return l.sendProtobuf(w, format)
	}
	return l.sendJSON(w, format)
}

// sendJSON writes the list as JSON.
func (l *list) sendJSON(w io.Writer, format format) error {
	version := ""
	if l.version != 0 {
		version = fmt.Sprintf(`"resourceVersion":"%d"`, l.version)
	}
	head := fmt.Appendf(nil, `{"kind":"%s","apiVersion":"%s","metadata":{%s},"items":[`, l.kind(), format.apiVersion, version)
	tail := []byte("]}\n")
	fill := func(part int, by *maker, p *page) error {
		b := p.content[:0]
		for i := range l.len(part) {
			if part > 0 || i > 0 {
				b = append(b, ',')
			}
			b = l.json(b, by.items, part, i)
		}
		p.content = b
		return nil
	}
	if l.parts() > 1 {
		return l.sendParts(w, head, tail, fill, l.response.gzip)
	}
	return l.sendWhole(w, fill, func(int) ([]byte, []byte, error) { return head, tail, nil })
}

// sendProtobuf writes the list as protobuf, in the library's envelope.
func (l *list) sendProtobuf(w io.Writer, format format) error {
	fill := func(part int, by *maker, p *page) error {
		b := backward{b: p.content[:cap(p.content)]}
		b.reset()
		for i := l.len(part) - 1; i >= 0; i-- {
			l.protobuf(&b, by.items, part, i)
		}
		p.content = b.b[:copy(b.b, b.bytes())]
		return nil
	}
	// ends makes what is before the items, which tells how long they are, and behind them.
	ends := func(size int) (head, tail []byte, err error) {
		meta := backward{b: make([]byte, 64)}
		meta.reset()
		meta.string(fieldBytes3, "") // continue
		meta.string(fieldBytes2, resourceVersion(l.version))
		meta.string(fieldBytes1, "") // selfLink
		meta.end(fieldBytes1, 0)
		size += meta.len()
		var around bytes.Buffer
		around.WriteString("k8s\x00")
		unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: format.apiVersion, Kind: l.kind()}}
		split := 0
		_, err = unknown.MarshalToWriter(&around, size, func(io.Writer) (int, error) {
			split = around.Len()
			return size, nil
		})
		return slices.Concat(around.Bytes()[:split], meta.bytes()), around.Bytes()[split:], err
	}
	if l.parts() <= 1 {
		return l.sendWhole(w, fill, ends)
	}
	// The parts are made twice rather than kept: together they are as large as the view.
	size := 0
	if err := l.makers.inOrder(l.parts(), l.writer, fill, func(p *page) error {
		size += len(p.content)
		return nil
	}); err != nil {
		return err
	}
	head, tail, err := ends(size)
	if err != nil {
		return err
	}
	return l.sendParts(w, head, tail, fill, l.response.gzip && len(head)+size+len(tail) > gzipFrom)
}

func (l *list) writer() *itemWriter { return newItemWriter(l.now, l.version, l.extended) }

// filler fills a page with the items of a part.
type filler func(part int, by *maker, p *page) error

// sendWhole writes a list that is at most one part. The ends depend on the length of what is between them.
func (l *list) sendWhole(w io.Writer, fill filler, ends func(size int) (head, tail []byte, err error)) error {
	by := l.makers.get(l.writer())
	defer l.makers.put(by)
	p := &by.pages[0]
	p.content = p.content[:0]
	if l.parts() > 0 {
		if err := fill(0, by, p); err != nil {
			return err
		}
	}
	head, tail, err := ends(len(p.content))
	if err != nil {
		return err
	}
	p.content = append(slices.Insert(p.content, 0, head...), tail...)
	if !l.response.gzip || len(p.content) <= gzipFrom {
		_, err := w.Write(p.content)
		return err
	}
	if err := by.pack(p); err != nil {
		return err
	}
	z := l.response.newGzip(w)
	z.page(p)
	return z.close(nil)
}

// sendParts writes a list of many parts.
func (l *list) sendParts(w io.Writer, head, tail []byte, fill filler, gzip bool) error {
	if !gzip {
		if _, err := w.Write(head); err != nil {
			return err
		}
		if err := l.makers.inOrder(l.parts(), l.writer, fill, func(p *page) error {
			_, err := w.Write(p.content)
			return err
		}); err != nil {
			return err
		}
		_, err := w.Write(tail)
		return err
	}
	z := l.response.newGzip(w)
	z.stored(head, false)
	if err := l.makers.inOrder(l.parts(), l.writer, func(part int, by *maker, p *page) error {
		if err := fill(part, by, p); err != nil {
			return err
		}
		return by.pack(p)
	}, z.page); err != nil {
		return err
	}
	return z.close(tail)
}

// gzipFrom is the length beyond which answers are compressed, as in the library.
const gzipFrom = 128 << 10

// gzipWriter joins deflate blocks to a gzip stream.
type gzipWriter struct {
	w    io.Writer
	err  error // the first one
	crc  uint32
	size uint32
}

// newGzip begins the body. The library would compress it, too, if the first thing written were large.
func (r *response) newGzip(w io.Writer) *gzipWriter {
	r.header.Set("Content-Encoding", "gzip")
	r.header.Add("Vary", "Accept-Encoding")
	z := &gzipWriter{w: w}
	z.write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff}) // deflate, no name or time, fastest, no system
	return z
}

func (z *gzipWriter) write(b []byte) {
	if z.err == nil {
		_, z.err = z.w.Write(b)
	}
}

// page writes a page that is packed.
func (z *gzipWriter) page(p *page) error {
	z.sum(p.content)
	z.write(p.packed)
	return z.err
}

// stored writes up to 64 KiB as they are.
func (z *gzipWriter) stored(b []byte, last bool) {
	z.sum(b)
	block := []byte{0}
	if last {
		block[0] = 1
	}
	block = binary.LittleEndian.AppendUint16(block, uint16(len(b)))
	block = binary.LittleEndian.AppendUint16(block, ^uint16(len(b)))
	z.write(append(block, b...))
}

func (z *gzipWriter) sum(b []byte) {
	z.crc = crc32.Update(z.crc, crc32.IEEETable, b)
	z.size += uint32(len(b))
}

// close writes the tail and what ends the stream.
func (z *gzipWriter) close(tail []byte) error {
	z.stored(tail, true)
	end := binary.LittleEndian.AppendUint32(nil, z.crc)
	z.write(binary.LittleEndian.AppendUint32(end, z.size))
	return z.err
}
