package render

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// documents yields the documents of a file as JSON, or why one can't be read. A file that begins with a brace or a
// bracket is a stream of JSON values, with or without separators between them; any other is YAML, whose documents are
// separated by lines of three dashes. Documents without content are passed over.
func documents(data []byte) iter.Seq2[[]byte, error] {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) > 0 && (first[0] == '{' || first[0] == '[') {
		return jsonDocuments(data)
	}
	return yamlDocuments(data)
}

func jsonDocuments(data []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			data = bytes.TrimLeft(data, " \t\r\n")
			if rest, ok := bytes.CutPrefix(data, []byte("---")); ok {
				data = rest
				continue
			}
			if len(data) == 0 {
				return
			}
			decoder := json.NewDecoder(bytes.NewReader(data))
			var document json.RawMessage
			if err := decoder.Decode(&document); err != nil {
				yield(nil, err)
				return
			}
			data = data[decoder.InputOffset():]
			if !yield(document, nil) {
				return
			}
		}
	}
}

func yamlDocuments(data []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
		for {
			text, err := reader.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			var document []byte
			if err == nil {
				document, err = sigsyaml.YAMLToJSON(text)
			}
			if err == nil && bytes.Equal(document, []byte("null")) {
				continue
			}
			if !yield(document, err) {
				return
			}
		}
	}
}
