package kubelet

import (
	"fmt"
	"net/http"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// latePath is where a simulated kubelet, whose process one can't reach into, is told to be late: POST
// /sim/late?by=10s&for=1m lets it answer every request of the next minute ten seconds late. It takes the right to create
// nodes/proxy. A real kubelet has no such thing.
const latePath = "/sim/late"

// late answers a request for latePath.
func (s *server) late(w http.ResponseWriter, r *http.Request, e *endpoint, user identity.User) {
	attributes := identity.Attributes{Verb: "create", Resource: "nodes", Subresource: "proxy", Name: e.node}
	if !s.farm.cfg.Users.Authorize(user, attributes) {
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=create, resource=nodes, subresource=proxy)", user.Name), http.StatusForbidden)
		return
	}
	by, errBy := time.ParseDuration(r.URL.Query().Get("by"))
	while, errFor := time.ParseDuration(r.URL.Query().Get("for"))
	if r.Method != http.MethodPost || errBy != nil || errFor != nil || by < 0 || while <= 0 {
		http.Error(w, "POST "+latePath+"?by=10s&for=1m", http.StatusBadRequest)
		return
	}
	mend, err := s.farm.Bend(e.node, fault.Late(by))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	time.AfterFunc(while, mend)
	w.WriteHeader(http.StatusNoContent)
}
