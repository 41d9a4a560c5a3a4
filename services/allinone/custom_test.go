package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/services/internal/daemon"
	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

const (
	patience = 60 * time.Second
	stable   = "stable.example.com"
)

// aboutKinds is a configuration of custom resources, with a series for each object of these kinds.
func aboutKinds(kinds ...string) string {
	text := "spec:\n  resources:\n"
	for _, kind := range kinds {
		text += fmt.Sprintf("  - groupVersionKind: {group: %s, version: v1, kind: %s}\n    metrics: [{name: info, help: h, each: {type: Info, info: {labelsFromPath: {name: [metadata, name]}}}}]\n", stable, kind)
	}
	return text
}

// TestStateFollowsTheExportersConfiguration: which custom resources are watched is what the exporter's files say, always.
func TestStateFollowsTheExportersConfiguration(t *testing.T) {
	folder := t.TempDir()
	at := func(name string) string { return filepath.Join(folder, name) }
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(at("new"), []byte(text), 0o644), os.Rename(at("new"), at(name))); err != nil {
			t.Fatal(err)
		}
	}
	naming := func(name string) string { return "custom_resource_state_config_file: " + at(name) + "\n" }
	write("config.yaml", naming("crs.yaml"))
	write("crs.yaml", aboutKinds("Foo"))
	metrics, telemetry := testenv.Address(t), testenv.Address(t)
	_, securePort, err := net.SplitHostPort(testenv.Address(t))
	if err != nil {
		t.Fatal(err)
	}

	o := newOptions()
	cmd := daemon.NewCommand("allinone", "")
	o.addFlags(cmd)
	args := []string{
		"--data-dir=" + at("data"), "--nats-address=", "--sim-address=127.0.0.1:0", "--sim-nodes=1", "--sim-pods-per-node=1", "--sim-churn=0",
		"--secure-port=" + securePort, "--listen-address=" + metrics, "--telemetry-address=" + telemetry, "--config=" + at("config.yaml"),
		// Overridden by the file of --config: nobody looks for it.
		"--custom-resource-state-config-file=" + at("none.yaml"),
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, section := range cmd.Flags.Order {
		flags.AddFlagSet(cmd.Flags.FlagSets[section])
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o, testenv.Logger(t), io.Discard) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()

	var client *dynamic.DynamicClient
	testenv.Eventually(t, patience, func() error {
		config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(at("data"), "kubeconfig"))
		if err == nil {
			client, err = dynamic.NewForConfig(config)
		}
		return err
	})
	create := func(of schema.GroupVersionResource, namespace string, object map[string]any) {
		t.Helper()
		resource := dynamic.ResourceInterface(client.Resource(of))
		if namespace != "" {
			resource = client.Resource(of).Namespace(namespace)
		}
		testenv.Eventually(t, patience, func() error {
			_, err := resource.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
			return err
		})
	}
	for plural, kind := range map[string]string{"foos": "Foo", "bars": "Bar"} {
		definition := apiserver.NewDefinition(stable, plural, kind, true, apiserver.DefinedVersion{Name: "v1"})
		create(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}, "", definition.Object)
		create(schema.GroupVersionResource{Group: stable, Version: "v1", Resource: plural}, "default", map[string]any{
			"apiVersion": stable + "/v1", "kind": kind, "metadata": map[string]any{"name": "a-" + strings.ToLower(kind)},
		})
	}

	// says waits until a page has what is wanted, and nothing of what isn't ("!").
	says := func(address string, wanted ...string) {
		t.Helper()
		testenv.Eventually(t, patience, func() error {
			response, err := http.Get("http://" + address + "/metrics")
			if err != nil {
				return err
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %w", response.Status, err)
			}
			for _, want := range wanted {
				if part, not := strings.CutPrefix(want, "!"); strings.Contains(string(text), part) == not {
					return fmt.Errorf("%q is not so on %s", want, address)
				}
			}
			return nil
		})
	}
	const (
		foo, bar             = `kube_customresource_info{customresource_group="stable.example.com",customresource_kind="Foo"`, `kube_customresource_info{customresource_group="stable.example.com",customresource_kind="Bar"`
		foosWatch, barsWatch = `headwater_state_resource_available{reason="",resource="foos.stable.example.com"} 1`, `headwater_state_resource_available{reason="",resource="bars.stable.example.com"} 1`
	)
	says(metrics, foo, "!"+bar)
	says(telemetry, foosWatch, "!"+barsWatch)
	write("crs.yaml", aboutKinds("Foo", "Bar"))
	says(metrics, foo, bar)
	says(telemetry, foosWatch, barsWatch)
	// What the exporter can't use changes nothing for state either, though each kind can be read of it.
	write("crs.yaml", strings.ReplaceAll(aboutKinds("Bar"), "type: Info", "type: Odd"))
	says(telemetry, "headwater_exporter_config_last_reload_successful 0", foosWatch, barsWatch)
	says(metrics, foo, bar)
	// Another file.
	write("others.yaml", aboutKinds("Bar"))
	write("config.yaml", naming("others.yaml"))
	says(metrics, "!"+foo, bar)
	says(telemetry, "headwater_exporter_config_last_reload_successful 1", "!"+foosWatch, barsWatch)
	write("others.yaml", aboutKinds("Foo"))
	says(metrics, foo, "!"+bar)
	says(telemetry, foosWatch, "!"+barsWatch)
}
