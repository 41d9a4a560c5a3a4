package debugpage

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Query is what a request asks for.
type Query struct {
	Node           string // "" for all
	Namespace, Pod string // "" for none; Node is "" then
	Limit, Offset  int    // of the list of nodes
	JSON           bool
}

// The number of nodes on one page.
const (
	defaultLimit = 500
	maxLimit     = 5000
)

// Handler answers with what page makes for a query. page is called for every request, at the same time by several; it may give
// all nodes for a list, in any order.
func Handler(page func(r *http.Request, q Query) Page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET is allowed here", http.StatusMethodNotAllowed)
			return
		}
		q, err := parse(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		p := page(r, q)
		code := http.StatusOK
		if q.Node != "" && len(p.Nodes) == 0 && !p.Unknown {
			code = http.StatusNotFound
			p.Notes = append(p.Notes, fmt.Sprintf("%s knows no node %q: kubectl get nodes lists those that exist; an ingester knows those that it selects and that are its own", p.Service, shown(q.Node)))
		}
		p.complete(q.Node != "")
		a := answer{Page: p, ResolutionSeconds: p.Resolution.Seconds(), Total: len(p.Nodes), query: q}
		a.count()
		a.cut()
		if q.JSON {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			_ = e.Encode(a) // the client may have gone
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
		w.WriteHeader(code)
		_ = view.Execute(w, a)
	})
}

// parse reads a request's query; its error is for who sent it.
func parse(r *http.Request) (Query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Query{}, fmt.Errorf("couldn't read the query: %s", shown(err.Error()))
	}
	q := Query{Node: values.Get("node"), Limit: defaultLimit}
	if pod := values.Get("pod"); pod != "" {
		var ok bool
		q.Namespace, q.Pod, ok = strings.Cut(pod, "/")
		if !ok || q.Namespace == "" || q.Pod == "" || strings.Contains(q.Pod, "/") {
			return Query{}, fmt.Errorf("pod is %q; it must be NAMESPACE/NAME", shown(pod))
		}
		if q.Node != "" {
			return Query{}, fmt.Errorf("give node or pod, not both")
		}
	}
	for _, number := range []struct {
		name string
		to   *int
		most int
		min  int
	}{{"limit", &q.Limit, maxLimit, 1}, {"offset", &q.Offset, 1 << 30, 0}} {
		text := values.Get(number.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < number.min || n > number.most {
			return Query{}, fmt.Errorf("%s is %q; it must be a number from %d to %d", number.name, shown(text), number.min, number.most)
		}
		*number.to = n
	}
	switch format := values.Get("format"); format {
	case "json":
		q.JSON = true
	case "html":
	case "":
		accept := strings.Join(r.Header.Values("Accept"), ",")
		q.JSON = strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
	default:
		return Query{}, fmt.Errorf("format is %q; it must be html or json", shown(format))
	}
	return q, nil
}

// shown is a text of a client for the message that says what is wrong with it.
func shown(text string) string {
	const limit = 100
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return text
}

// answer is a page, cut to what was asked for.
type answer struct {
	Page
	ResolutionSeconds float64        `json:"resolutionSeconds"`
	States            map[string]int `json:"states"` // how many nodes are in which state
	Total             int            `json:"total"`  // how many nodes there are
	// Next is the query of the next part of the list; "" at its end. Previous likewise.
	Next     string `json:"next,omitempty"`
	Previous string `json:"-"`

	query Query
}

func (a *answer) count() {
	a.States = map[string]int{}
	for i := range a.Nodes {
		a.States[a.Nodes[i].State]++
	}
}

// cut leaves the part of the list that was asked for.
func (a *answer) cut() {
	q := a.query
	format := ""
	if q.JSON {
		format = "&format=json" // also for whoever asks for the next part without saying so in a header
	}
	at := func(offset int) string {
		return fmt.Sprintf("?limit=%d&offset=%d%s", q.Limit, offset, format)
	}
	first := min(q.Offset, len(a.Nodes))
	last := min(first+q.Limit, len(a.Nodes))
	if last < len(a.Nodes) {
		a.Next = at(last)
	}
	if first > 0 {
		a.Previous = at(max(0, first-q.Limit))
	}
	a.Nodes = a.Nodes[first:last]
	if a.Nodes == nil {
		a.Nodes = []Node{}
	}
}
