package scraper

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// Target is a node to scrape.
type Target struct {
	Node string   // the Node object's name
	URL  *url.URL // where its kubelet answers; nil where Err says why there is none
	Err  error

	// since is up to when another ingester scraped the node, as far as is known; zero where nobody knows.
	since time.Time
}

// same tells whether nothing changed that matters.
func (t Target) same(o Target) bool {
	if t.URL == nil || o.URL == nil {
		return t.URL == o.URL && t.Node == o.Node && t.Err.Error() == o.Err.Error()
	}
	return t.Node == o.Node && *t.URL == *o.URL
}

// TargetSink is told of targets. Its methods are called one at a time.
type TargetSink interface {
	// Replace says that these are all targets there are.
	Replace(all []Target)
	// Set adds a target or changes it.
	Set(Target)
	// Remove takes the node's target away; nothing happens where it has none.
	Remove(node string)
}

// node is what a target is made of: a trimmed Node object.
type node struct {
	Metadata struct {
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
		DaemonEndpoints struct {
			KubeletEndpoint struct {
				Port int32 `json:"Port"`
			} `json:"kubeletEndpoint"`
		} `json:"daemonEndpoints"`
	} `json:"status"`
}

// pathAnnotation on a Node names another path than metricsPath: kwok's simulated nodes have it.
const (
	pathAnnotation = "metrics.k8s.io/resource-metrics-path"
	metricsPath    = "/metrics/resource"
)

// addressing decides which nodes are scraped, and where.
type addressing struct {
	scheme        string
	port          int
	useStatusPort bool
	types         []string
	selector      labels.Selector
	only          string // the one node's name; "" for all
	override      string // where the one node's kubelet is, whatever its Node says; "" for what it says
}

func newAddressing(c *Config) (*addressing, error) {
	selector, err := labels.Parse(c.NodeSelector)
	if err != nil {
		return nil, fmt.Errorf("--node-selector is no label selector: %w", err)
	}
	a := &addressing{
		scheme:        "https",
		port:          c.KubeletPort,
		useStatusPort: c.KubeletUseNodeStatusPort,
		types:         c.KubeletPreferredAddressTypes,
		selector:      selector,
		only:          c.Node,
		override:      strings.Trim(c.KubeletAddress, "[]"),
	}
	if c.DeprecatedKubeletCompletelyInsecure {
		a.scheme = "http"
	}
	return a, nil
}

// target returns the target of a node; false where the node isn't to be scraped.
func (a *addressing) target(n *node) (Target, bool) {
	if a.only != "" && n.Metadata.Name != a.only || !a.selector.Matches(labels.Set(n.Metadata.Labels)) {
		return Target{}, false
	}
	t := Target{Node: n.Metadata.Name}
	address, ok := a.address(n)
	if !ok {
		t.Err = failed(resultAddress, fmt.Errorf("couldn't find an address of the types %v in the Node's status; see --kubelet-preferred-address-types", a.types))
		return t, true
	}
	port := a.port
	if status := n.Status.DaemonEndpoints.KubeletEndpoint.Port; a.useStatusPort && status != 0 {
		port = int(status)
	}
	path := n.Metadata.Annotations[pathAnnotation]
	if path == "" {
		path = metricsPath
	}
	if path[0] != '/' {
		path = "/" + path
	}
	t.URL = &url.URL{Scheme: a.scheme, Host: net.JoinHostPort(address, strconv.Itoa(port)), Path: path}
	return t, true
}

// address returns the node's first address of the best type that it has. An empty one is none: it would lead to this
// ingester's own host.
func (a *addressing) address(n *node) (string, bool) {
	if a.override != "" {
		return a.override, true
	}
	for _, want := range a.types {
		for _, address := range n.Status.Addresses {
			if address.Type == want && address.Address != "" {
				return address.Address, true
			}
		}
	}
	return "", false
}
