package exposition

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/common/expfmt"
)

// TextContentType is the Content-Type of answers in the text format.
const TextContentType = "text/plain; version=0.0.4; charset=utf-8"

// Negotiate chooses the format by a request's Accept header, and the Content-Type that goes with it. What asks for
// neither format, protobuf for example, gets text.
func Negotiate(header http.Header) (Format, string) {
	if f := expfmt.NegotiateAccept(header, expfmt.DefaultOpenMetricsAcceptedFormats()...); f.FormatType() == expfmt.TypeOpenMetrics {
		return OpenMetrics, string(f)
	}
	return Text, TextContentType
}

// AcceptsGzip tells whether a request's Accept-Encoding header allows gzip.
func AcceptsGzip(header http.Header) bool {
	accepted, any := -1.0, -1.0
	for _, value := range header.Values("Accept-Encoding") {
		for entry := range strings.SplitSeq(value, ",") {
			name, parameters, _ := strings.Cut(entry, ";")
			weight := 1.0
			if q, ok := strings.CutPrefix(strings.TrimSpace(parameters), "q="); ok {
				weight, _ = strconv.ParseFloat(q, 64)
			}
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "x-gzip":
				accepted = weight
			case "*":
				any = weight
			}
		}
	}
	if accepted < 0 {
		accepted = any
	}
	return accepted > 0
}
