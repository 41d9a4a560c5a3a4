package apiserver

import (
	"mime"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// shape is what an object is turned into before it is sent.
type shape int

const (
	whole shape = iota
	partial
	table
)

// format is how an answer is encoded: one of the API's media types, and what an Accept header's "as" asks for.
type format struct {
	mediaType string
	shape     shape
	// version is the version of meta.k8s.io that a Table is written in.
	version string
	// include says what a table's rows carry: "Object", "None", or the metadata.
	include string
}

var jsonFormat = format{mediaType: runtime.ContentTypeJSON}

// negotiate picks the first format of an Accept header that can be served. It says false when there is none.
func negotiate(r *http.Request, include string) (format, bool) {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return jsonFormat, true
	}
	for clause := range strings.SplitSeq(accept, ",") {
		mediaType, parameters, err := mime.ParseMediaType(strings.TrimSpace(clause))
		if err != nil {
			continue
		}
		switch mediaType {
		case "*/*", "application/*":
			mediaType = runtime.ContentTypeJSON
		case runtime.ContentTypeJSON, runtime.ContentTypeProtobuf, runtime.ContentTypeYAML:
		default:
			continue
		}
		f := format{mediaType: mediaType, version: parameters["v"], include: include}
		if as, ok := parameters["as"]; ok {
			if parameters["g"] != "meta.k8s.io" || f.version != "v1" && f.version != "v1beta1" {
				continue
			}
			switch as {
			case "PartialObjectMetadata", "PartialObjectMetadataList":
				f.shape = partial
			case "Table":
				f.shape = table
			default:
				continue
			}
			if f.shape == table && mediaType == runtime.ContentTypeProtobuf {
				continue
			}
		}
		return f, true
	}
	return jsonFormat, false
}

func (f format) protobuf() bool { return f.mediaType == runtime.ContentTypeProtobuf }
