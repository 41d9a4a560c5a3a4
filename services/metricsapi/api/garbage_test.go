package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	internalscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestSelectorsThatCostTooMuch: what would keep a core busy is refused at once, with what to do instead, and counted; what
// is merely long is answered.
func TestSelectorsThatCostTooMuch(t *testing.T) {
	s := start(t, small)
	repeat := func(n int, format string) string {
		var terms []string
		for i := range n {
			terms = append(terms, fmt.Sprintf(format, i))
		}
		return strings.Join(terms, ",")
	}
	for name, c := range map[string]struct {
		parameter, selector string
		code                int
		says                string
		pods                int
	}{
		"ten thousand terms":          {"labelSelector", repeat(10_000, "!absent-%d"), 400, "the label selector has 10000 requirements, and at most 250 are answered; put the values of one key into one requirement", 0},
		"one too many":                {"labelSelector", repeat(251, "!a%d"), 400, "has 251 requirements", 0},
		"as many as may be":           {"labelSelector", repeat(250, "!a%d"), 200, "", 5},
		"100 KB of values":            {"labelSelector", "app in (web," + repeat(7000, "another-%06d") + ")", 200, "", 1},
		"100 KB in one value":         {"labelSelector", "app=" + strings.Repeat("x", 100_000), 400, "must be no more than 63", 0},
		"100 KB of parentheses":       {"labelSelector", strings.Repeat("(", 100_000), 400, "expected: !, identifier", 0},
		"100 KB of what closes them":  {"labelSelector", strings.Repeat("),", 50_000), 400, "has 50001 requirements", 0},
		"nothing but commas":          {"labelSelector", strings.Repeat(",", 100), 400, "", 0},
		"no text":                     {"labelSelector", "a=\x00\xff", 400, "", 0},
		"a name that is none":         {"labelSelector", "-/-=x", 400, "", 0},
		"ten thousand fields":         {"fieldSelector", repeat(10_000, "metadata.name!=p%d"), 400, "the field selector has 10000 requirements", 0},
		"a field that is not known":   {"fieldSelector", "status.phase=Running", 400, `\"status.phase\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"`, 0},
		"a field without a value":     {"fieldSelector", "metadata.name", 400, "invalid selector", 0},
		"a field with an odd escape":  {"fieldSelector", `metadata.name=a\b`, 400, "invalid field selector", 0},
		"both sides of a field match": {"fieldSelector", "metadata.namespace=shop,metadata.namespace!=shop", 200, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			code, body := s.get(group + "/pods?" + c.parameter + "=" + url.QueryEscape(c.selector))
			if code != c.code || !strings.Contains(body, c.says) {
				t.Errorf("%d %.300s, want %d and %q", code, body, c.code, c.says)
			}
			if n := strings.Count(body, `"timestamp"`); n != c.pods {
				t.Errorf("%d pods, want %d", n, c.pods)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	refused := s.service.metrics.refused
	if labels, fields := testutil.ToFloat64(refused.WithLabelValues(refusedLabels)), testutil.ToFloat64(refused.WithLabelValues(refusedFields)); labels != 3 || fields != 1 {
		t.Errorf("%v and %v were counted", labels, fields)
	}
	if code, body := s.get(groupV1 + "/namespaces/shop/pods?labelSelector=" + url.QueryEscape(repeat(300, "!a%d"))); code != 400 || !strings.Contains(body, `"reason":"BadRequest"`) {
		t.Errorf("v1: %d %s", code, body)
	}
	// Nobody learns of it without being allowed to ask.
	ask, err := http.NewRequest(http.MethodGet, s.url+group+"/pods?labelSelector="+url.QueryEscape(repeat(300, "!a%d")), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client(nil).Do(ask)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("anonymous: %s", response.Status)
	}
}

// TestUnreadableQueriesAreNotLogged: the library is not shown what it would log, and yet finds out what it always did.
func TestUnreadableQueriesAreNotLogged(t *testing.T) {
	factory := &request.RequestInfoFactory{APIPrefixes: sets.NewString("apis", "api"), GrouplessAPIPrefixes: sets.NewString("api")}
	seen := &seen{RequestInfoResolver: factory}
	const long = 100_000
	for query, readable := range map[string]bool{
		"": true,
		"labelSelector=app%3Dweb&fieldSelector=metadata.name%3Dweb-1&watch=1":       true,
		"fieldSelector=status.phase%3DRunning&unknown=" + strings.Repeat("x", long): true,
		"labelSelector=" + strings.Repeat("(", long):                                false,
		"labelSelector=app%3D" + strings.Repeat("x", long):                          false,
		"labelSelector=" + strings.Repeat("!a,", long) + "!a":                       false, // too many
		"labelSelector=((&watch=true":                                               false,
		"labelSelector=((&watch=0":                                                  false,
		"fieldSelector=metadata.name&watch=" + strings.Repeat("y", 10):              false,
		"fieldSelector=a%3D%5Cb":                                                    false,
		"limit=many&labelSelector=app%3Dweb&x=" + strings.Repeat("x", long):         false,
		"timeoutSeconds=soon&resourceVersion=" + strings.Repeat("x", long):          false,
	} {
		r, err := http.NewRequest(http.MethodGet, "https://server"+group+"/namespaces/shop/pods?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := (&resolver{seen}).NewRequestInfo(r)
		if err != nil {
			t.Fatal(err)
		}
		want, err := factory.NewRequestInfo(r)
		if err != nil {
			t.Fatal(err)
		}
		if !readable {
			want.LabelSelector, want.FieldSelector = "", "" // so that more than is asked for has to be allowed
			if n := len(seen.query); n > 50 {
				t.Errorf("%.60s: the library is shown %d bytes", query, n)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.60s (-want +got):\n%s", query, diff)
		}
		values, _ := url.ParseQuery(seen.query)
		if err := internalscheme.ParameterCodec.DecodeParameters(values, metav1.SchemeGroupVersion, new(metainternalversion.ListOptions)); err != nil {
			t.Errorf("%.60s: the library can't read what it is shown: %v", query, err)
		}
		if r.URL.RawQuery != query {
			t.Errorf("%.60s: the request was changed", query)
		}
	}
}

// seen is a resolver that notes what it is shown.
type seen struct {
	request.RequestInfoResolver
	query string
}

func (s *seen) NewRequestInfo(r *http.Request) (*request.RequestInfo, error) {
	s.query = r.URL.RawQuery
	return s.RequestInfoResolver.NewRequestInfo(r)
}

func TestTerms(t *testing.T) {
	for selector, want := range map[string]int{
		"": 1, "a": 1, "a,b": 2, "a in (b,c,d),e": 2, "a in (b,c),d notin (e,f),!g": 3, "),": 2, "a in (b,c": 1, ",": 2, "))),,": 3,
	} {
		if got := terms(selector); got != want {
			t.Errorf("%q: %d, want %d", selector, got, want)
		}
	}
}

// TestClientsThatSendNonsense: each gets an answer that tells what is wrong, or what metrics-server answers, and the server
// goes on.
func TestClientsThatSendNonsense(t *testing.T) {
	s := start(t, small)
	for name, c := range map[string]struct {
		path    string
		headers []header
		code    int
		says    string
	}{
		"a resourceVersion of garbage":      {"/pods?resourceVersion=%00%ff", nil, 200, `"items":[`},
		"a negative resourceVersion":        {"/pods?resourceVersion=-1", nil, 200, `"items":[`},
		"exactly an old resourceVersion":    {"/pods?resourceVersion=1&resourceVersionMatch=Exact", nil, 200, `"items":[`},
		"an unknown match":                  {"/pods?resourceVersion=1&resourceVersionMatch=Roughly", nil, 422, `Unsupported value: \"Roughly\"`},
		"a match without a version":         {"/pods?resourceVersionMatch=Exact", nil, 422, "forbidden unless resourceVersion is provided"},
		"a limit that is none":              {"/pods?limit=many", nil, 400, "invalid syntax"},
		"a negative limit":                  {"/pods?limit=-1", nil, 200, `"items":[`},
		"a limit beyond numbers":            {"/pods?limit=99999999999999999999", nil, 400, "value out of range"},
		"a continue token of garbage":       {"/pods?continue=" + strings.Repeat("x", 100_000), nil, 200, `"items":[`},
		"a time-out that is none":           {"/pods?timeoutSeconds=soon", nil, 400, "invalid syntax"},
		"a negative time-out":               {"/pods?timeoutSeconds=-5", nil, 200, `"items":[`},
		"a negative request time-out":       {"/pods?timeout=-5s", nil, 200, `"items":[`},
		"parameters that nobody knows":      {"/pods?a=b&;&%3D=c", nil, 200, `"items":[`},
		"a query that can't be read":        {"/pods?labelSelector=%zz", nil, 200, `"items":[`},
		"an Accept of garbage":              {"/pods", []header{{"Accept", ";q=x,,;=/"}}, 406, "application/json"},
		"an Accept of another kind":         {"/pods", []header{{"Accept", "image/png"}}, 406, "application/vnd.kubernetes.protobuf"},
		"an Accept of another type's Table": {"/pods", []header{{"Accept", "application/json;as=Table;g=meta.k8s.io;v=v9"}}, 406, ""},
		"an Accept of 100 KB":               {"/pods", []header{{"Accept", strings.Repeat("a/b,", 25_000)}}, 406, ""},
		"another Content-Type":              {"/pods", []header{{"Content-Type", "nonsense"}}, 200, `"items":[`},
		"no such version":                   {"/../v2/pods", nil, 404, ""},
		"a namespace that can't be":         {"/namespaces/%2e%2e%2f%00/pods", nil, 404, ""},
		"a name of 10 KB":                   {"/namespaces/shop/pods/" + strings.Repeat("x", 10_000), nil, 404, "not found"},
		"a subresource":                     {"/namespaces/shop/pods/web-1/status", nil, 404, "could not find the requested resource"},
	} {
		t.Run(name, func(t *testing.T) {
			code, body := s.get(group+c.path, c.headers...)
			if code != c.code || !strings.Contains(body, c.says) {
				t.Errorf("%d %.300s, want %d and %q", code, body, c.code, c.says)
			}
		})
	}
	for _, size := range []int{100, 50 << 20} { // nobody reads it
		request := s.request(http.MethodGet, group+"/nodes")
		request.Body, request.ContentLength = io.NopCloser(io.LimitReader(endless{}, int64(size))), int64(size)
		response, err := s.client(nil).Do(request)
		if err != nil {
			continue // HTTP/2 ends the stream as soon as it has answered
		}
		response.Body.Close()
		if response.StatusCode != 200 {
			t.Errorf("a GET with a body of %d bytes: %s", size, response.Status)
		}
	}
	request := s.request(http.MethodGet, group+"/pods?labelSelector="+strings.Repeat("x", 2<<20))
	if response, err := s.client(nil).Do(request); err == nil {
		response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("2 MB of query: %s", response.Status)
		}
	}
	testenv.Eventually(t, 5*time.Second, func() error {
		if code, body := s.get(group + "/nodes/node-a"); code != 200 {
			return fmt.Errorf("afterwards: %d %s", code, body)
		}
		return nil
	})
}

// endless is a body without end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return copy(b, bytes.Repeat([]byte("x"), len(b))), nil }
