package topparity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// request is one question to both sides.
type request struct {
	method, path string // GET where empty
	accept, body string
	as           string // "" the administrator, "anonymous", "nobody": a user who may do nothing
	differs      string // what differs: names of differences, by blanks
}

// reply is an answer, in the form in which it is compared.
type reply struct {
	Status int
	Header map[string]string
	Body   string
}

const (
	table   = "application/json;as=Table;v=v1;g=meta.k8s.io"
	partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
	one     = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	proto   = "application/vnd.kubernetes.protobuf"
)

// selected are pods of whom both sides say the same for as long as their kubelets repeat themselves.
var selected = url.QueryEscape("app in (steady,steady-three,restarts,restarts-often,both-restart,container-ends,large,fractions,counter-goes-back,relabelled,completed,pending)")

// questions are what both sides are asked.
func questions(nodes []string) (all []request) {
	ask := func(differs string, paths ...string) {
		for _, path := range paths {
			all = append(all, request{path: path, differs: differs})
		}
	}
	pods, top := group+"/pods", group+"/namespaces/"+home+"/pods"
	ask("", group+"/nodes", pods+"?labelSelector="+selected, top+"?labelSelector="+selected, top+"/steady", top+"/steady-three", group+"/nodes/"+nodes[plain],
		group+"/nodes?labelSelector=kubernetes.io/hostname="+nodes[plain], group+"/nodes?labelSelector=generation", group+"/nodes?labelSelector=!generation",
		group+"/nodes?fieldSelector=metadata.name="+nodes[plain], group+"/nodes?fieldSelector=metadata.name!="+nodes[plain],
		group+"/nodes?fieldSelector=metadata.namespace="+home, group+"/nodes?fieldSelector=metadata.namespace=", group+"/nodes?fieldSelector=spec.unschedulable=false",
		group+"/nodes?labelSelector=scrape=no", group+"/nodes?labelSelector=app%20in%20(", group+"/nodes?labelSelector=a%3D%3D%3Db", group+"/nodes?fieldSelector=x",
		pods+"?fieldSelector=metadata.namespace=kube-system", pods+"?fieldSelector=metadata.name=steady", pods+"?fieldSelector=metadata.name=steady,metadata.namespace="+home,
		pods+"?fieldSelector=metadata.name=steady,metadata.namespace=idle", pods+"?fieldSelector=status.phase=Running", pods+"?fieldSelector=spec.nodeName="+nodes[plain],
		top+"?fieldSelector=metadata.name=steady", top+"?fieldSelector=metadata.namespace=idle", top+"?labelSelector=generation=two,app=relabelled", top+"?labelSelector=app=steady&limit=1",
		top+"?labelSelector=app=none", group+"/namespaces/kube-system/pods", group+"/namespaces/idle/pods", group+"/namespaces/unknown/pods", group+"/namespaces/Not_A_Name/pods",
		pods+"?labelSelector="+selected+"&limit=1", pods+"?labelSelector="+selected+"&limit=-1", pods+"?labelSelector="+selected+"&limit=x", pods+"?labelSelector="+selected+"&continue=abc",
		pods+"?labelSelector="+selected+"&resourceVersion=0", pods+"?labelSelector="+selected+"&resourceVersion=abc", pods+"?labelSelector="+selected+"&resourceVersion=5&resourceVersionMatch=Exact",
		pods+"?labelSelector="+selected+"&resourceVersionMatch=Exact", pods+"?labelSelector="+selected+"&resourceVersionMatch=Nonsense", pods+"?labelSelector="+selected+"&timeoutSeconds=5",
		pods+"?labelSelector="+selected+"&timeoutSeconds=x", pods+"?labelSelector="+selected+"&sendInitialEvents=true", pods+"?labelSelector="+selected+"&pretty=true", pods+"?labelSelector="+selected+"&unknown=1",
		top+"/steady?resourceVersion=7", top+"/steady?pretty=true", top+"/steady?labelSelector=app=none",
		// What isn't there.
		group+"/nodes/unknown", group+"/nodes/"+nodes[unselected], group+"/nodes/"+nodes[deleted], group+"/nodes/Not_A_Name", top+"/unknown", top+"/"+pending, top+"/"+removed, top+"/"+completed,
		top+"/always-zero-cpu", group+"/namespaces/idle/pods/steady", group+"/namespaces/unknown/pods/steady", group+"/nodes/"+nodes[plain]+"/status", top+"/steady/log", pods+"/steady",
		group+"/services", group+"/namespaces/"+home+"/nodes", group+"/namespaces/"+home, "/apis/metrics.k8s.io/v1alpha1", "/apis/metrics.k8s.io/v1alpha1/nodes", "/apis/other.example.com", "/api", "/api/v1", "/unknown",
		"/metrics/unknown", "/debug", "/logs", "/configz",
		// What can't be watched.
		pods+"?watch=true", top+"?watch=true&labelSelector=app=steady", group+"/nodes?watch=1", pods+"?watch=true&resourceVersion=abc", pods+"?watch=x",
		group+"/watch/pods", group+"/watch/nodes", top+"?watch=true&fieldSelector=metadata.name=steady", top+"?watch=true&timeoutSeconds=1&allowWatchBookmarks=true",
		group, group+"/")
	ask("", pods+"?watch=true&sendInitialEvents=true")
	ask("v1", "/apis", "/apis/", "/apis/metrics.k8s.io", "/")
	ask("v1 version", "/openapi/v2", "/openapi/v3")
	ask("version", "/openapi/v3/apis/metrics.k8s.io/v1beta1", "/openapi/v3/version", "/openapi/v3/apis")
	ask("", "/openapi/v2/unknown", "/openapi/v3/unknown")
	ask("version", "/version", "/version/")

	accept := func(accept, differs string, paths ...string) {
		for _, path := range paths {
			all = append(all, request{path: path, accept: accept, differs: differs})
		}
	}
	lists := []string{group + "/nodes", top + "?labelSelector=" + selected, pods + "?labelSelector=" + selected, group + "/namespaces/idle/pods", group + "/nodes/" + nodes[plain], top + "/steady-three", top + "/unknown"}
	accept(table, "", lists...)
	for _, include := range []string{"None", "Metadata", "Object", "Nonsense"} {
		for _, path := range lists {
			separator := "?"
			if strings.Contains(path, "?") {
				separator = "&"
			}
			accept(table, "", path+separator+"includeObject="+include)
		}
	}
	for _, a := range []string{partial, one, "application/json;as=Table;v=v1beta1;g=meta.k8s.io", "application/json;as=Nonsense;v=v1;g=meta.k8s.io",
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io", "text/html", "image/png", "*/*", "application/cbor", "nonsense",
		"application/json;stream=watch"} {
		accept(a, "", lists...)
	}
	// These are compared as they are, so that there may be but one container, because theirs are in any order.
	for _, a := range []string{"application/yaml", "application/json;q=0.5,application/yaml;q=0.9", proto, "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", "application/yaml;as=Table;v=v1;g=meta.k8s.io"} {
		accept(a, "", group+"/nodes", top+"?labelSelector=app=steady", top+"/steady", top+"/unknown", group+"/namespaces/idle/pods")
	}
	accept("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "v1", "/apis")
	accept("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", "", "/apis")
	accept(proto, "", group, group+"/unknown")
	accept("application/yaml", "", group)

	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions, "NONSENSE"} {
		for _, path := range []string{group + "/nodes", pods, top, top + "/steady", group + "/nodes/" + nodes[plain]} {
			if method == http.MethodHead && strings.HasSuffix(path, "/pods") {
				path += "?labelSelector=" + selected
			}
			r := request{method: method, path: path}
			if method != http.MethodHead && method != http.MethodOptions {
				r.body = `{"apiVersion":"metrics.k8s.io/v1beta1","kind":"PodMetrics","metadata":{"name":"x"}}`
			}
			all = append(all, r)
		}
	}
	all = append(all, request{path: top + "/steady", body: `{"kind":"GetOptions"}`}, request{path: top + "?labelSelector=app=steady", body: "nonsense"})

	for _, as := range []string{"anonymous", "nobody"} {
		for _, path := range []string{group + "/nodes", top, top + "/steady", group + "/nodes/unknown", pods + "?watch=true", "/metrics", "/healthz", "/livez", "/readyz", "/readyz/ping", "/version", "/apis", "/openapi/v2",
			"/debug/pprof/", "/unknown", group + "/services", group + "/pods?fieldSelector=x"} {
			differs := map[string]string{"/version": "version", "/apis": "v1", "/openapi/v2": "v1 version"}[path]
			if as == "anonymous" && path != "/version" {
				differs = ""
			}
			all = append(all, request{path: path, as: as, differs: differs})
		}
	}
	return all
}

// requests asks both sides the same, and compares what they answer: status, headers and bodies.
func (w *world) requests(t *testing.T) {
	clients, err := w.clients()
	if err != nil {
		t.Fatal(err)
	}
	all := questions(w.Kubelets.Nodes())
	wrong := 0
	for _, q := range all {
		if err := soon(t.Context(), func() error { return w.same(t.Context(), q, clients[q.as]) }); err != nil {
			t.Errorf("%s %s (accept %q) as %q: %v", or(q.method, "GET"), q.path, q.accept, or(q.as, "administrator"), err)
			if wrong++; wrong == 25 {
				t.Fatal("that's enough")
			}
		}
	}
	t.Logf("%d requests", len(all))
}

// clients are those of several users, by name.
func (w *world) clients() (map[string]*http.Client, error) {
	all := map[string]*http.Client{"": w.our.client}
	anonymous, err := w.server("", 0, nil)
	if err != nil {
		return nil, err
	}
	all["anonymous"] = anonymous.client
	file, err := w.KubeconfigFor("nobody")
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return nil, err
	}
	nobody, err := w.server("", 0, config)
	if err != nil {
		return nil, err
	}
	all["nobody"] = nobody.client
	return all, nil
}

// same asks both sides one question and says how their answers differ, if they do.
func (w *world) same(ctx context.Context, q request, client *http.Client) error {
	got, err := q.put(ctx, client, w.our.url)
	if err != nil {
		return fmt.Errorf("ours: %w", err)
	}
	want, err := q.put(ctx, client, w.their.url)
	if err != nil {
		return fmt.Errorf("theirs: %w", err)
	}
	if err := w.forgive(q, &got, &want); err != nil {
		return err
	}
	if got.Status != want.Status || !maps.Equal(got.Header, want.Header) {
		return fmt.Errorf("ours answers %d %v, theirs %d %v; ours %.500s", got.Status, got.Header, want.Status, want.Header, got.Body)
	}
	if got.Body != want.Body {
		return fmt.Errorf("the bodies differ: %s", difference(got.Body, want.Body))
	}
	return nil
}

// put asks one side.
func (q request) put(ctx context.Context, client *http.Client, base string) (reply, error) {
	r, err := http.NewRequestWithContext(ctx, or(q.method, http.MethodGet), base+q.path, strings.NewReader(q.body))
	if err != nil {
		return reply{}, err
	}
	if q.accept != "" {
		r.Header.Set("Accept", q.accept)
	}
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
		if q.method == http.MethodPatch {
			r.Header.Set("Content-Type", "application/merge-patch+json")
		}
	}
	response, err := client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, err
	}
	answer := reply{response.StatusCode, map[string]string{}, string(body)}
	for name, values := range response.Header {
		// Those that say when, who, or how long: compared bodies have a length of their own.
		if !slices.Contains([]string{"Date", "Audit-Id", "Content-Length", "Etag", "Last-Modified", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"}, name) {
			answer.Header[name] = strings.Join(values, ", ")
		}
	}
	// Where it listens is its own.
	answer.Body = strings.ReplaceAll(answer.Body, base[strings.LastIndexByte(base, ':'):]+`"`, `:port"`)
	var value any
	if json.Unmarshal([]byte(answer.Body), &value) == nil {
		answer.Body = text(masked(value))
		if strings.Contains(q.path, "pretty=true") { // the form counts there, too
			answer.Body += fmt.Sprintf(" in %d lines", strings.Count(string(body), "\n"))
		}
	}
	return answer, nil
}

// forgive takes out what differs on purpose, and says so where it doesn't.
func (w *world) forgive(q request, got, want *reply) error {
	var ours, theirs any
	if json.Unmarshal([]byte(got.Body), &ours) != nil || json.Unmarshal([]byte(want.Body), &theirs) != nil {
		if q.differs != "" {
			return errors.New("an answer isn't JSON")
		}
		return nil
	}
	differs := strings.Fields(q.differs)
	if index, ok := ours.(map[string]any); ok && index["paths"] != nil && !slices.Contains(differs, "version") {
		// What there is, which is told to those who ask for what isn't there, too.
		if !slices.Contains(differs, "v1") {
			differs = append(differs, "v1")
		}
	}
	for _, name := range differs {
		if err := w.differences.use(name); err != nil {
			return err
		}
		switch name {
		case "v1":
			without := withoutV1(ours)
			if text(without) == text(ours) {
				return errors.New("ours doesn't tell of metrics.k8s.io/v1")
			}
			if text(withoutV1(theirs)) != text(theirs) {
				return errors.New("theirs tells of metrics.k8s.io/v1, too: it is no difference")
			}
			ours = without
		case "version":
			own, other, err := unversioned(ours, theirs)
			if err != nil {
				return err
			}
			ours, theirs = own, other
		default:
			return fmt.Errorf("nothing says how %s differs", name)
		}
	}
	got.Body, want.Body = text(ours), text(theirs)
	return nil
}

// unversioned is what both sides say without their versions: /version itself, or a document that tells one.
func unversioned(ours, theirs any) (own, other any, err error) {
	us, ok := ours.(map[string]any)
	them, also := theirs.(map[string]any)
	if !ok || !also {
		return nil, nil, errors.New("an answer is no object")
	}
	if them["gitVersion"] != nil {
		for field := range them {
			if _, ok := us[field].(string); !ok {
				return nil, nil, fmt.Errorf("ours has no %s", field)
			}
		}
		if us["gitVersion"] == "" {
			return nil, nil, errors.New("ours has no version")
		}
		return nil, nil, nil
	}
	for _, document := range []map[string]any{us, them} {
		if info, ok := document["info"].(map[string]any); ok && info["version"] != "" {
			info["version"] = "known"
		}
		paths, _ := document["paths"].(map[string]any)
		for _, path := range paths { // the list of documents names each by a hash of what is in it
			if fields, ok := path.(map[string]any); ok {
				if url, ok := fields["serverRelativeURL"].(string); ok {
					fields["serverRelativeURL"], _, _ = strings.Cut(url, "?hash=")
				}
			}
		}
	}
	return us, them, nil
}

// withoutV1 is a description of the API without the version v1 of the group.
func withoutV1(value any) any {
	const version = "metrics.k8s.io/v1"
	names := func(s string) bool {
		return strings.HasSuffix(s, version) || strings.Contains(s, version+"/") || strings.Contains(s, version+"?") || strings.Contains(s, "metrics.pkg.apis.metrics.v1.")
	}
	switch v := value.(type) {
	case map[string]any:
		kept := map[string]any{}
		for key, inner := range v {
			if !names(key) {
				kept[key] = withoutV1(inner)
			}
		}
		return kept
	case []any:
		kept := []any{}
		for _, inner := range v {
			switch i := inner.(type) {
			case string:
				if names(i) {
					continue
				}
			case map[string]any:
				if i["groupVersion"] == version || i["group"] == "metrics.k8s.io" && i["version"] == "v1" || i["version"] == "v1" && i["resources"] != nil {
					continue
				}
			}
			kept = append(kept, withoutV1(inner))
		}
		return kept
	}
	return value
}

// difference shows where two texts part.
func difference(got, want string) string {
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	from := max(0, at-120)
	show := func(s string) string { return s[min(from, len(s)):min(len(s), at+200)] }
	return fmt.Sprintf("from byte %d on\n  ours   ...%q\n  theirs ...%q", at, show(got), show(want))
}

// unready compares whether both say that they are ready when each kubelet was scraped once.
func (w *world) unready(t *testing.T) {
	t.Helper()
	if err := w.differences.use("ready"); err != nil {
		t.Error(err)
	}
	if err := soon(t.Context(), func() error {
		want, err := (request{path: "/readyz"}).put(t.Context(), w.our.client, w.their.url)
		if err != nil {
			return err
		}
		got, err := (request{path: "/readyz"}).put(t.Context(), w.our.client, w.our.url)
		if err != nil {
			return err
		}
		if got.Status != http.StatusOK || want.Status != http.StatusInternalServerError || !strings.Contains(want.Body, "[-]metric-storage-ready failed") {
			return fmt.Errorf("ours answers %d %s, theirs %d %s", got.Status, got.Body, want.Status, want.Body)
		}
		return nil
	}); err != nil {
		t.Errorf("after one scrape: %v", err)
	}
}

// restart kills both. The one knows at once what it knew before, the other nothing.
func (w *world) restart(t *testing.T) {
	before, err := ask(t.Context(), w.our, w.their)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*cluster.Process{w.metricsapi, w.peer} {
		p.Kill()
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.differences.use("restart"); err != nil {
		t.Error(err)
	}
	if err := cluster.Eventually(t.Context(), 2*patience, func() error {
		got, err := ask(t.Context(), w.our, w.their)
		if err != nil {
			return err
		}
		if n := len(got.theirs); n != 2 { // what is told of the lists themselves
			return fmt.Errorf("theirs has %d items", n)
		}
		for key, want := range before.ours {
			if !strings.HasSuffix(key, "/timeless") && got.ours[key] != want {
				return fmt.Errorf("%s:\n  before %s\n  after  %s", key, want, or(got.ours[key], "nothing"))
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// health compares the health endpoints, byte for byte.
func (w *world) health(t *testing.T) {
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/healthz?verbose", "/livez?verbose", "/readyz?verbose", "/healthz?verbose=true", "/readyz?exclude=ping", "/readyz?verbose&exclude=ping&exclude=log",
		"/readyz?verbose&exclude=nonsense", "/livez?verbose&exclude=metric-collection-timely", "/healthz/ping", "/healthz/log", "/healthz/metadata-informer-sync", "/healthz/poststarthook/max-in-flight-filter",
		"/healthz/poststarthook/storage-object-count-tracker-hook", "/livez/ping", "/livez/metric-collection-timely", "/livez/metadata-informer-sync", "/readyz/metric-storage-ready", "/readyz/metric-informer-sync",
		"/readyz/metadata-informer-sync", "/readyz/shutdown", "/readyz/unknown", "/healthz/metric-storage-ready", "/readyz/metric-collection-timely", "/livez/shutdown"} {
		if err := soon(t.Context(), func() error { return w.same(t.Context(), request{path: path}, w.our.client) }); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
