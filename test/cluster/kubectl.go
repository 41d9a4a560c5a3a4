package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Kubectl runs kubectl with all rights and returns what it printed on standard output. Its error holds what it printed
// on standard error.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.KubectlInput(ctx, nil, args...)
}

// KubectlInput is Kubectl with something to read on standard input.
func (c *Cluster) KubectlInput(ctx context.Context, input io.Reader, args ...string) (string, error) {
	// Kubectl believes a cached list of the server's groups for hours; here groups come and go within seconds.
	cache, err := os.MkdirTemp(c.Dir, "kubectl-")
	if err != nil {
		return "", fmt.Errorf("couldn't make a cache for kubectl: %w", err)
	}
	defer os.RemoveAll(cache)
	all := append([]string{"--kubeconfig=" + c.Kubeconfig, "--cache-dir=" + cache}, args...)
	return command(ctx, c.paths["kubectl"], input, all...)
}

// command runs a program that ends by itself.
func command(ctx context.Context, path string, input io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = input
	cmd.SysProcAttr = bound()
	cmd.WaitDelay = time.Minute // nobody else holds what it prints on; a machine that stands still may read its end late
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := spawn(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("couldn't run %s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Apply creates or updates the objects of a manifest, which may hold several YAML documents, with kubectl. The API server
// refuses a pod in a new namespace until a controller has made the namespace's service account, and it waits for that for a
// second or two only; so what was refused for that is applied again.
func (c *Cluster) Apply(ctx context.Context, manifest string) error {
	var refused error
	err := Eventually(ctx, readyTimeout, func() error {
		_, err := c.KubectlInput(ctx, strings.NewReader(manifest), "apply", "-f", "-")
		if err != nil && strings.Contains(err.Error(), "error looking up service account") {
			return err
		}
		refused = err
		return nil
	})
	return errors.Join(err, refused)
}

// RegisterAPIService makes the API server hand requests for an aggregated API, such as v1beta1.metrics.k8s.io, to the
// server on the given port of this machine, and waits until it finds the API available. Called again, it points the same
// API to another port; that it is available may then still be said of the server before, so poll for the answer that
// is expected.
func (c *Cluster) RegisterAPIService(ctx context.Context, name string, port int) error {
	version, group, ok := strings.Cut(name, ".")
	if !ok {
		return fmt.Errorf("couldn't register %q: the name of an APIService is version.group", name)
	}
	service := "local-" + strings.ReplaceAll(name, ".", "-")
	err := c.Apply(ctx, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: kube-system}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: %[2]s}
spec:
  version: %[3]s
  group: %[4]s
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: %[1]s, namespace: kube-system, port: %[5]d}
`, service, name, version, group, port))
	if err != nil {
		return fmt.Errorf("couldn't register %s: %w", name, err)
	}
	return Eventually(ctx, readyTimeout, func() error { return c.available(ctx, name) })
}

// available returns nil if the aggregation layer says that it reaches the API.
func (c *Cluster) available(ctx context.Context, name string) error {
	raw, err := c.Client.Discovery().RESTClient().Get().AbsPath("/apis/apiregistration.k8s.io/v1/apiservices/" + name).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("couldn't read APIService %s: %w", name, err)
	}
	var service struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := json.Unmarshal(raw, &service); err != nil {
		return fmt.Errorf("couldn't decode APIService %s: %w", name, err)
	}
	for _, condition := range service.Status.Conditions {
		if condition.Type == "Available" && condition.Status == "True" {
			return nil
		} else if condition.Type == "Available" {
			return fmt.Errorf("APIService %s isn't available: %s", name, condition.Message)
		}
	}
	return fmt.Errorf("APIService %s has no condition yet", name)
}
