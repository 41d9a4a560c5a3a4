package api

import (
	"bytes"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestEveryFlagOfMetricsServer reads its --help, as the real one printed it: each flag is taken here, and where it has an
// effect it has the same default, but for those that differ on purpose.
func TestEveryFlagOfMetricsServer(t *testing.T) {
	options := NewOptions()
	sections := options.Flags()
	options.AddIneffective(sections.FlagSet("metrics server"))
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, name := range sections.Order {
		all.AddFlagSet(sections.FlagSets[name])
	}
	elsewhere := []string{"version", "v", "logging-format"} // every Headwater process has them, from package daemon
	onPurpose := map[string]string{"metric-resolution": "15s"}
	line := regexp.MustCompile(`^ +(?:-[a-z], )?--([a-z0-9-]+)(?: (\S+))? {2,}(.*)$`)
	otherwise := regexp.MustCompile(`\(default (.*)\)$`)
	help := strings.Split(reference(t, "help.txt"), "\n")
	var seen, kubelet int
	for i, text := range help {
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		seen++
		name, usage := m[1], m[3]
		for _, more := range help[i+1:] { // a text of several lines
			if !strings.HasPrefix(more, strings.Repeat(" ", 40)) {
				break
			}
			usage += " " + strings.TrimSpace(more)
		}
		if slices.Contains(elsewhere, name) {
			continue
		}
		f := all.Lookup(name)
		if f == nil {
			t.Errorf("there is no --%s", name)
			continue
		}
		if f.Hidden {
			if _, ok := ineffective[name]; !ok {
				t.Errorf("--%s is hidden", name)
			}
			if takesNone := m[2] == ""; takesNone != (f.NoOptDefVal != "") {
				t.Errorf("--%s takes a value: %v, but in metrics-server %v", name, f.NoOptDefVal == "", !takesNone)
			}
			kubelet++
			continue
		}
		want := ""
		if d := otherwise.FindStringSubmatch(usage); d != nil {
			want = strings.Trim(d[1], `"`)
		}
		if other, ok := onPurpose[name]; ok {
			want = other
		}
		got := f.DefValue
		if zero := want == "" && slices.Contains([]string{"0", "0s", "false", "[]", "<nil>"}, got); !zero && got != want && name != "feature-gates" {
			t.Errorf("--%s is %q by default, want %q", name, got, want)
		}
	}
	for _, name := range []string{"extended-usage", "enable-watch"} { // which metrics-server doesn't have: as if they weren't there
		if f := all.Lookup(name); f == nil || f.DefValue != "false" {
			t.Errorf("--%s is on by default: %+v", name, f)
		}
	}
	if seen < 100 || kubelet != len(ineffective) {
		t.Errorf("%d flags were found in the help text, %d of %d that have no effect", seen, kubelet, len(ineffective))
	}
}

// TestArgumentsOfMetricsServer takes those of its manifest, and says once which have no effect.
func TestArgumentsOfMetricsServer(t *testing.T) {
	options := NewOptions()
	sections := options.Flags()
	options.AddIneffective(sections.FlagSet("metrics server"))
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, name := range sections.Order {
		all.AddFlagSet(sections.FlagSets[name])
	}
	if err := all.Parse([]string{"--cert-dir=certificates", "--secure-port=10250", "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--kubelet-use-node-status-port", "--metric-resolution=15s", "--kubelet-port", "10250", "--kubelet-insecure-tls=true"}); err != nil {
		t.Fatal(err)
	}
	if options.SecureServing.BindPort != 10250 {
		t.Errorf("port %d", options.SecureServing.BindPort)
	}
	var log bytes.Buffer
	options.Kubeconfig = newKubeAPI(t).kubeconfig(t)
	if _, err := New(Config{Options: options, Cluster: "test", Conn: connection(t), Log: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "--kubelet-preferred-address-types --kubelet-use-node-status-port --kubelet-port --kubelet-insecure-tls") {
		t.Errorf("the log says %q", got)
	}
}

// TestResolution has its bounds: what is three times as long is still a duration.
func TestResolution(t *testing.T) {
	for resolution, good := range map[time.Duration]bool{time.Second: true, 24 * time.Hour: true, 0: false, -time.Second: false, time.Second - 1: false, 24*time.Hour + 1: false, 1<<63 - 1: false} {
		options := NewOptions()
		options.Resolution = resolution
		if err := options.Validate(); (err == nil) != good || err != nil && !strings.Contains(err.Error(), "--metric-resolution is") {
			t.Errorf("%v: %v", resolution, err)
		}
	}
}

// connection is one to a NATS server of the test's own.
func connection(t *testing.T) *stream.Conn {
	nats, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nats.Close)
	conn, err := stream.Connect(t.Context(), stream.ConnConfig{InProcess: nats, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// TestTextsOfFlags: each that is put in the place of the library's own has a flag, and what is said of the limit is so.
func TestTextsOfFlags(t *testing.T) {
	options := NewOptions()
	sections := options.Flags()
	said := map[string]string{}
	for _, section := range sections.FlagSets {
		section.VisitAll(func(f *pflag.Flag) { said[f.Name] = f.Usage })
	}
	for name, text := range clearer {
		if said[name] != text {
			t.Errorf("--%s says %q", name, said[name])
		}
	}
	for flag, value := range map[string]string{"feature-gates": "X=true", "emulated-version": "kube=1.36"} {
		options := NewOptions()
		options.Kubeconfig = newKubeAPI(t).kubeconfig(t)
		sections := options.Flags()
		generic := sections.FlagSet("generic")
		err := generic.Set(flag, value)
		if err == nil {
			_, err = New(Config{Options: options, Cluster: "test", Conn: connection(t)})
		}
		if err == nil || !strings.Contains(err.Error(), "there is nothing to choose here, leave them out") {
			t.Errorf("--%s=%s: %v", flag, value, err)
		}
	}
}
