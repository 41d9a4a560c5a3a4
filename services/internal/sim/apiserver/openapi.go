package apiserver

import (
	"fmt"
	"net/http"
	"strings"

	openapi "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
)

// openapiV2 answers /openapi/v2 with a document without types, in JSON or in the protobuf that client-go asks for.
func (s *Server) openapiV2(w http.ResponseWriter, r *http.Request) {
	text := fmt.Sprintf(`{"swagger":"2.0","info":{"title":"Kubernetes (simulated)","version":%q},"paths":{}}`, Version)
	if !strings.Contains(r.Header.Get("Accept"), "protobuf") {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, text)
		return
	}
	document, err := openapi.ParseDocument([]byte(text))
	if err != nil {
		s.fail(w, r, fmt.Errorf("couldn't parse the OpenAPI document: %w", err))
		return
	}
	body, err := proto.Marshal(document)
	if err != nil {
		s.fail(w, r, fmt.Errorf("couldn't encode the OpenAPI document: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
	w.Write(body)
}
