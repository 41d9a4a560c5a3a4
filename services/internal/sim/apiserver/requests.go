package apiserver

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// requests counts what the server was asked, for /metrics. The zero value is ready.
type requests struct {
	mu    sync.Mutex
	count map[asked]int64
}

// asked is one sort of request. All parts come from clients, so there may be many sorts; a simulation's clients are few.
type asked struct{ client, verb, resource, subresource string }

func (r *requests) add(request *http.Request, q request) {
	client, _, _ := strings.Cut(request.UserAgent(), "/")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = map[asked]int64{}
	}
	r.count[asked{client, strings.ToUpper(q.verb), q.resource, q.subresource}]++
}

// write answers GET /metrics with the one family of the real server's that tells who asks for what. Its own addition is
// the label client, the program in the User-Agent header.
func (r *requests) write(w io.Writer) {
	r.mu.Lock()
	count := maps.Clone(r.count)
	r.mu.Unlock()
	fmt.Fprint(w, "# HELP apiserver_request_total Requests since the start of the simulation.\n# TYPE apiserver_request_total counter\n")
	sorted := slices.SortedFunc(maps.Keys(count), func(a, b asked) int {
		return cmp.Or(cmp.Compare(a.client, b.client), cmp.Compare(a.resource, b.resource), cmp.Compare(a.subresource, b.subresource), cmp.Compare(a.verb, b.verb))
	})
	for _, a := range sorted {
		fmt.Fprintf(w, "apiserver_request_total{client=\"%s\",resource=\"%s\",subresource=\"%s\",verb=\"%s\"} %d\n",
			escape.Replace(a.client), escape.Replace(a.resource), escape.Replace(a.subresource), escape.Replace(a.verb), count[a])
	}
}

// escape makes a label's value of any text.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
