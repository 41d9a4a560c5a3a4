package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

func TestABadFileChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.have(2)
	files := newConfigMap(t, map[string]string{"config.yaml": "metric_denylist: [kube_pod_info]\n"})
	path := files.path("config.yaml")
	w.start(func(o *Options) { o.ConfigFile = path })
	w.ready()
	for i, bad := range []string{"metric_denylist: [kube_pod_labels]\nmetric_denyliste: []\n", "metric_denylist: ['(']\n", "shard: 7\n", "\x00"} {
		files.set(map[string]string{"config.yaml": bad})
		w.metric("headwater_exporter_config_reloads_total", `result="failure"`, float64(i+1))
		w.metric("headwater_exporter_config_last_reload_successful", "", 0)
		w.metric("kube_state_metrics_last_config_reload_successful", fmt.Sprintf(`filename=%q,type="config"`, path), 0)
		w.eventually("!kube_pod_info{", "# TYPE kube_pod_labels gauge")
	}
	// What isn't a file is not waited for.
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	w.metric("headwater_exporter_config_reloads_total", `result="failure"`, 5)
	w.served(1)
	write(t, path+".new", "metric_denylist: [kube_pod_labels]\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	w.served(2)
	w.metric("headwater_exporter_config_last_reload_successful", "", 1)
	w.metric("kube_state_metrics_last_config_reload_successful", `type="config"`, 1)
	w.eventually("!kube_pod_labels{", "# TYPE kube_pod_info gauge")
	// md5's first six bytes, as kube-state-metrics has them.
	w.metric("kube_state_metrics_config_hash", `type="config"`, (&file{data: []byte("metric_denylist: [kube_pod_labels]\n")}).hash())
}

func TestTheHashIsThatOfKubeStateMetrics(t *testing.T) {
	if got := (&file{data: []byte("hello")}).hash(); got != 83271534788957 { // 5d 41 40 2a bc 4b, the last one highest
		t.Errorf("%.0f", got)
	}
}

func TestAFileThatGoesAwayAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.have(2)
	folder := filepath.Join(t.TempDir(), "folder")
	path := filepath.Join(folder, "config.yaml")
	service := w.make(func(o *Options) { o.ConfigFile, o.ContinueWithoutConfig = path, true })
	service.lookTime = 20 * time.Millisecond // nobody tells of a folder that isn't there
	w.run(service)
	w.ready()
	w.eventually("# TYPE kube_pod_info gauge")
	come := func() {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, "metric_denylist: [kube_pod_info]\n")
	}
	come()
	w.served(2)
	w.eventually("!kube_pod_info{")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	w.metric("headwater_exporter_config_last_reload_successful", "", 0)
	w.eventually("!kube_pod_info{")
	come()
	w.metric("headwater_exporter_config_last_reload_successful", "", 1)
	w.served(2)
}

func TestFilesAtTheStart(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "config.yaml")
	begin := func(change func(*Options)) error {
		options := NewOptions()
		options.ConfigFile = path
		change(options)
		_, err := New(Config{Options: options, Conn: new(stream.Conn), Cluster: cluster})
		return err
	}
	if err := begin(func(*Options) {}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--config") {
		t.Error(err)
	}
	if err := begin(func(o *Options) { o.ContinueWithoutConfig = true }); err != nil {
		t.Error(err)
	}
	write(t, path, "resources:\n- widgets\n")
	if err := begin(func(o *Options) { o.ContinueWithoutConfig = true }); err == nil || !strings.Contains(err.Error(), path+":2: resources: ") {
		t.Error(err)
	}
	write(t, path, "custom_resource_state_config_file: "+filepath.Join(folder, "custom.yaml")+"\n")
	if err := begin(func(*Options) {}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--custom-resource-state-config-file") {
		t.Error(err)
	}
	if err := begin(func(o *Options) { o.Custom.ContinueWithoutFile = true }); err != nil {
		t.Error(err)
	}
	write(t, path, "port: 1\ntelemetry_port: 2\n")
	options := NewOptions()
	options.ConfigFile = path
	s, err := New(Config{Options: options, Conn: new(stream.Conn), Cluster: cluster})
	if err != nil || s.Options().ListenAddress != ":1" || s.Options().TelemetryAddress != ":2" || options.ListenAddress != ":8080" {
		t.Errorf("%v", err)
	}
}
