package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	internalscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/metrics/pkg/apis/metrics"
)

// maxTerms is how many requirements a selector may have. Each of them is looked at for each label set, or object, that it
// is asked about: ten thousand of them would keep a core busy for a minute. How many values there are in "app in (a, b)"
// doesn't matter, they are found at once.
const maxTerms = 250

// Reasons of headwater_metricsapi_refused_total.
const (
	refusedLabels = "label_selector_terms"
	refusedFields = "field_selector_terms"
)

// refuse answers requests that would cost too much; all others go to next. It stands behind authorization.
func (s *Service) refuse(next http.Handler, codecs serializer.CodecFactory) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.RawQuery) > maxTerms { // in fewer characters there can't be too many
			if reason, err := tooMuch(r.URL.Query()); err != nil {
				s.metrics.refused.WithLabelValues(reason).Inc()
				responsewriters.ErrorNegotiated(err, codecs, schema.GroupVersion{Group: metrics.GroupName, Version: "v1beta1"}, w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// resolver is the library's, which logs the whole query of a list, of anybody, that it can't read: hundreds of kilobytes for each
// request. It gets such a query without what it can't read, from which it concludes the same. Who may ask is told what is wrong
// with it by whatever answers.
type resolver struct{ request.RequestInfoResolver }

// NewRequestInfo implements request.RequestInfoResolver.
func (r *resolver) NewRequestInfo(req *http.Request) (*request.RequestInfo, error) {
	if req.URL.RawQuery == "" {
		return r.RequestInfoResolver.NewRequestInfo(req)
	}
	query := req.URL.Query()
	_, err := tooMuch(query)
	if err == nil {
		err = internalscheme.ParameterCodec.DecodeParameters(query, metav1.SchemeGroupVersion, new(metainternalversion.ListOptions))
	}
	if err != nil {
		short := *req.URL
		short.RawQuery = url.Values{"watch": query["watch"]}.Encode()
		req = req.WithContext(req.Context()) // a copy
		req.URL = &short
	}
	return r.RequestInfoResolver.NewRequestInfo(req)
}

// tooMuch says which selector has too many requirements.
func tooMuch(query url.Values) (reason string, err error) {
	for _, selector := range []struct{ parameter, what, reason string }{
		{"labelSelector", "label selector", refusedLabels}, {"fieldSelector", "field selector", refusedFields},
	} {
		for _, value := range query[selector.parameter] {
			if n := terms(value); n > maxTerms {
				return selector.reason, apierrors.NewBadRequest(fmt.Sprintf(
					"the %s has %d requirements, and at most %d are answered; put the values of one key into one requirement, \"key in (a, b)\", or list all and select yourself", selector.what, n, maxTerms))
			}
		}
	}
	return "", nil
}

// terms counts the requirements of a selector: the commas outside of parentheses, and one.
func terms(selector string) int {
	n, depth := 1, 0
	for len(selector) > 0 {
		i := strings.IndexAny(selector, ",()")
		if i < 0 {
			break
		}
		switch selector[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth <= 0 {
				n++
			}
		}
		selector = selector[i+1:]
	}
	return n
}
