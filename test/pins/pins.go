// Package pins builds the real programs that Headwater is tested against: the Kubernetes control plane, kubectl,
// Prometheus and the systems that Headwater replaces.
//
// What flows in: the modules in the folders beside this file, each with an exact go.mod and go.sum, and the Go module
// proxy. What flows out: one executable per program, in a cache folder outside the repository, so that it survives
// make clean and is shared by every checkout on the machine:
//
//	$HEADWATER_CACHE or the user's cache folder / headwater / bin / <module>-<version>-<hash> / <program>
//
// The hash covers everything that decides what the compiler makes: go.mod, go.sum, the pin's own sources, flags, Go
// version and platform. An executable at its path is therefore right by definition, and looking for it is all that a
// second run does. Programs that share a release share a module, because then they share their compiled packages.
// Programs of different releases have modules of their own, because minimal version selection would otherwise lift one
// release onto the libraries of another, and what is tested would be neither. The recommender of the vertical pod autoscaler
// is with metrics-server all the same: it is of a release that lifts none of metrics-server's libraries, and whose own are
// lifted by a patch of Kubernetes at most.
package pins

import (
	"fmt"
	"path"
	"strings"
)

// Program names one executable.
type Program struct {
	// Name is what the executable is called, and what users of this package ask for.
	Name string

	// Module is the folder, beside this file, of the module that pins the program.
	Module string

	// Package is the main package, as go build takes it inside Module.
	Package string

	// Release is the module whose version is the program's own, where that is not the version of the pinned release.
	Release string

	// Optional programs are built only when asked for by name.
	Optional bool

	// Test programs are the tests of their package, which need not be a main package.
	Test bool
}

// Programs lists every program that can be built.
var Programs = []Program{
	{Name: "etcd", Module: "kubernetes", Package: "./etcd", Release: "go.etcd.io/etcd/server/v3"},
	{Name: "kube-apiserver", Module: "kubernetes", Package: "k8s.io/kubernetes/cmd/kube-apiserver"},
	{Name: "kube-controller-manager", Module: "kubernetes", Package: "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{Name: "kubectl", Module: "kubernetes", Package: "k8s.io/kubernetes/cmd/kubectl"},
	{Name: "kubectl-1.37", Module: "kubectl-1.37", Package: "./kubectl", Optional: true},
	{Name: "metrics-server", Module: "metrics-server", Package: "sigs.k8s.io/metrics-server/cmd/metrics-server"},
	{Name: "metrics-server-e2e", Module: "metrics-server", Package: "sigs.k8s.io/metrics-server/test", Optional: true, Test: true},
	{Name: "vpa-recommender", Module: "metrics-server", Package: "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender", Release: "k8s.io/autoscaler/vertical-pod-autoscaler", Optional: true},
	{Name: "prometheus", Module: "prometheus", Package: "github.com/prometheus/prometheus/cmd/prometheus"},
	{Name: "promtool", Module: "prometheus", Package: "github.com/prometheus/prometheus/cmd/promtool"},
	{Name: "openmetrics", Module: "prometheus", Package: "./openmetrics"},
	{Name: "kube-state-metrics", Module: "kube-state-metrics", Package: "k8s.io/kube-state-metrics/v2", Optional: true},
	{Name: "oracle", Module: "kube-state-metrics", Package: "./oracle", Optional: true},
	{Name: "nats-server", Module: "nats", Package: "github.com/nats-io/nats-server/v2"},
	{Name: "staticcheck", Module: "lint", Package: "honnef.co/go/tools/cmd/staticcheck", Optional: true},
	{Name: "docker-compose", Module: "compose", Package: "github.com/docker/compose/v2/cmd", Optional: true},
}

// executable is the name that go build gives to what it makes of the package: the last element of its path, without
// that of a major version.
func (p Program) executable() string {
	if p.Test {
		return p.Name
	}
	dir, base := path.Split(p.Package)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(dir)
	}
	return base
}

// find returns the programs of the given names, or all that are not optional when none is given.
func find(names []string) ([]Program, error) {
	var found []Program
	if len(names) == 0 {
		for _, p := range Programs {
			if !p.Optional {
				found = append(found, p)
			}
		}
		return found, nil
	}
	byName := make(map[string]Program, len(Programs))
	known := make([]string, len(Programs))
	for i, p := range Programs {
		byName[p.Name], known[i] = p, p.Name
	}
	for _, name := range names {
		p, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("couldn't find a program named %q: use one of %s", name, strings.Join(known, ", "))
		}
		found = append(found, p)
	}
	return found, nil
}

// release says which requirement of a pin's go.mod is the release that it pins, and how that release is built.
type release struct {
	// path is the module whose required version names the release.
	path string

	// tags are build tags.
	tags string

	// stamps returns the linker's -X assignments that make the programs report their version.
	stamps func(version string) []string
}

// releases describes the pin modules by folder.
var releases = map[string]release{
	"kubernetes":     {path: "k8s.io/kubernetes", stamps: kubernetesStamps},
	"kubectl-1.37":   {path: "k8s.io/kubectl", stamps: stagingStamps},
	"metrics-server": {path: "sigs.k8s.io/metrics-server", stamps: clientGoStamps},

	// Prometheus compiles without its web interface, which needs npm, and without service discovery for clouds, which
	// would be most of its build; discovery by file, by HTTP and static targets remain.
	"prometheus": {path: "github.com/prometheus/prometheus", tags: "remove_all_sd", stamps: prometheusStamps},

	"kube-state-metrics": {path: "k8s.io/kube-state-metrics/v2", stamps: func(v string) []string {
		return []string{"github.com/prometheus/common/version.Version=" + v}
	}},

	"nats": {path: "github.com/nats-io/nats-server/v2", stamps: noStamps},
	"lint": {path: "honnef.co/go/tools", stamps: noStamps},
	"compose": {path: "github.com/docker/compose/v2", stamps: func(v string) []string {
		return []string{"github.com/docker/compose/v2/internal.Version=" + v}
	}},
}

func noStamps(string) []string { return nil }

// kubernetesStamps sets the version in both places from which Kubernetes programs read it: component-base for what
// they report, client-go for their user agent.
func kubernetesStamps(version string) []string {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	var stamps []string
	for _, pkg := range []string{"k8s.io/component-base/version", clientGoVersion} {
		stamps = append(stamps,
			pkg+".gitVersion="+version,
			pkg+".gitMajor="+major,
			pkg+".gitMinor="+minor,
			pkg+".gitTreeState=clean",
		)
	}
	return stamps
}

// stagingStamps are kubernetesStamps of a release of which there are only the staging modules: v0.37.2 is of v1.37.2.
func stagingStamps(version string) []string {
	return kubernetesStamps("v1" + strings.TrimPrefix(version, "v0"))
}

const clientGoVersion = "k8s.io/client-go/pkg/version"

// clientGoStamps sets the version as metrics-server's release does: not that of component-base, which would be taken for the
// version of Kubernetes by which feature gates have their defaults.
func clientGoStamps(version string) []string {
	return []string{clientGoVersion + ".gitVersion=" + version}
}

// prometheusStamps undoes the way in which Prometheus numbers its Go module: v0.315.0 is release 3.15.0.
func prometheusStamps(version string) []string {
	var minor, patch int
	if _, err := fmt.Sscanf(version, "v0.%d.%d", &minor, &patch); err != nil {
		return []string{"github.com/prometheus/common/version.Version=" + version}
	}
	return []string{fmt.Sprintf("github.com/prometheus/common/version.Version=%d.%d.%d", minor/100, minor%100, patch)}
}
