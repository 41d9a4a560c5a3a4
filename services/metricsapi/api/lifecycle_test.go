package api

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestAPIServerAwayAtStart: the server waits, says why, and serves when the API server is back.
func TestAPIServerAwayAtStart(t *testing.T) {
	for name, hinder := range map[string]struct {
		change func(k *kubeAPI, on bool)
		hint   string
	}{
		"away":      {func(k *kubeAPI, on bool) { k.away = on }, "is the API server up"},
		"forbidden": {func(k *kubeAPI, on bool) { k.forbidden = on }, "extension-apiserver-authentication-reader"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t)
			small(s)
			s.whole()
			s.kube.set(func() { hinder.change(s.kube, true) })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stopped := make(chan error, 1)
			go func() { stopped <- s.service.Run(ctx) }()
			testenv.Eventually(t, 10*time.Second, func() error {
				err := s.service.Ready()
				if err == nil {
					t.Fatal("ready without the API server")
				}
				if !strings.Contains(err.Error(), hinder.hint) || s.service.Addr() == nil {
					return err
				}
				return nil
			})
			s.kube.set(func() { hinder.change(s.kube, false) })
			testenv.Eventually(t, 15*time.Second, s.service.Ready)
			s.url = "https://" + s.service.Addr().String()
			if code, body := s.get(group + "/nodes/node-a"); code != 200 {
				t.Errorf("%d %s", code, body)
			}
			cancel()
			if err := <-stopped; err != nil {
				t.Errorf("Run: %v", err)
			}
			if s.service.Ready() == nil {
				t.Error("ready after its end")
			}
		})
	}
}

func TestEndsWhileItWaitsForTheAPIServer(t *testing.T) {
	s := newServed(t)
	s.kube.set(func() { s.kube.away = true })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.service.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestNothingGoesOnAfterTheEnd ends the server while it is about to serve, or has just begun to.
func TestNothingGoesOnAfterTheEnd(t *testing.T) {
	s := newServed(t)
	s.whole()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.service.Run(ctx) }()
	testenv.Eventually(t, 10*time.Second, func() error {
		if !goroutineIn("openWhenTrusting") && s.service.starting.Load() != nil {
			return errors.New("it doesn't serve yet")
		}
		return nil
	})
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := s.service.Ready(); err == nil {
		t.Error("it is ready after the end")
	}
	if goroutineIn("openWhenTrusting") {
		t.Error("the gate is still being opened")
	}
}

// goroutineIn tells whether a goroutine is in a function of that name.
func goroutineIn(function string) bool {
	stacks := make([]byte, 4<<20)
	return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("."+function+"("))
}

// TestTheAPIServerGoesAwayLater: what was allowed before stays allowed for the cache's time, and the members of
// system:masters need no review at all.
func TestTheAPIServerGoesAwayLater(t *testing.T) {
	s := start(t, small)
	certificate := s.kube.clients.client(t, "admin", "system:masters")
	s.kube.set(func() { s.kube.away = true })
	response, err := s.client(&certificate).Get(s.url + group + "/nodes")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("%s", response.Status)
	}
	if code, body := s.get("/readyz"); code != 200 && code != 401 { // the token can't be reviewed, the probe needs none
		t.Errorf("/readyz: %d %s", code, body)
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := newServed(t, func(c *Config) { c.Options.SecureServing.BindPort = taken.Addr().(*net.TCPAddr).Port })
	err = s.service.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), "--secure-port") {
		t.Errorf("Run: %v", err)
	}
}

func TestWrongConfiguration(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	folder := t.TempDir()
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"outside a cluster":               {func(c *Config) {}, "--authorization-kubeconfig"},
		"no such kubeconfig":              {func(c *Config) { c.Options.Kubeconfig = "no-such-file" }, `"no-such-file"`},
		"a kubeconfig that is none":       {func(c *Config) { c.Options.Kubeconfig = write("clusters: [") }, "couldn't load the kubeconfig"},
		"a kubeconfig without a server":   {func(c *Config) { c.Options.Kubeconfig = write("apiVersion: v1\nkind: Config\n") }, "couldn't load the kubeconfig"},
		"resolution":                      {func(c *Config) { c.Options.Resolution = time.Millisecond }, "--metric-resolution is 1ms"},
		"sample age":                      {func(c *Config) { c.Options.MaxSampleAge = time.Second }, "--max-sample-age is 1s"},
		"node selector":                   {func(c *Config) { c.Options.NodeSelector = "a in (" }, `--node-selector "a in ("`},
		"cluster name":                    {func(c *Config) { c.Cluster = "a.b" }, `"a.b"`},
		"port":                            {func(c *Config) { c.Options.SecureServing.BindPort = 70000 }, "--secure-port 70000"},
		"TLS version":                     {func(c *Config) { c.Options.SecureServing.MinTLSVersion = "1.3" }, `--tls-min-version is "1.3"; give one of VersionTLS10, VersionTLS11, VersionTLS12, VersionTLS13`},
		"ciphers":                         {func(c *Config) { c.Options.SecureServing.CipherSuites = []string{"none"} }, "--tls-cipher-suites: "},
		"a folder of authorities":         {func(c *Config) { c.Options.Authentication.ClientCert.ClientCA = folder }, "couldn't read certificates from --client-ca-file " + folder + ": " + folder + " is no regular file but a folder; give a file"},
		"an empty file of authorities":    {func(c *Config) { c.Options.Authentication.ClientCert.ClientCA = write("") }, "couldn't read certificates from --client-ca-file "},
		"no authority of the front proxy": {func(c *Config) { c.Options.Authentication.RequestHeader.ClientCAFile = write("") }, "; give a PEM file with those of the authorities, or leave the flag out"},
		"no file of authorities":          {func(c *Config) { c.Options.Authentication.RequestHeader.ClientCAFile = "no-such-file" }, "--requestheader-client-ca-file no-such-file: open no-such-file"},
		"feature gate":                    {func(c *Config) { c.Options.Server.GoawayChance = 1 }, "--goaway-chance"},
	} {
		config := Config{Options: NewOptions(), Cluster: "test"}
		c.change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %s", name, err, c.want)
		}
	}
}

// TestPipesInPlaceOfFiles: nobody writes to them, and who opened one would wait for ever.
func TestPipesInPlaceOfFiles(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	kubeconfig := newKubeAPI(t).kubeconfig(t)
	for flag, give := range map[string]func(*Options){
		"--kubeconfig":                   func(o *Options) { o.Kubeconfig = pipe },
		"--authentication-kubeconfig":    func(o *Options) { o.Authentication.RemoteKubeConfigFile = pipe },
		"--authorization-kubeconfig":     func(o *Options) { o.Authorization.RemoteKubeConfigFile = pipe },
		"--client-ca-file":               func(o *Options) { o.Authentication.ClientCert.ClientCA = pipe },
		"--requestheader-client-ca-file": func(o *Options) { o.Authentication.RequestHeader.ClientCAFile = pipe },
		"--tls-sni-cert-key": func(o *Options) {
			o.SecureServing.SNICertKeys = []cliflag.NamedCertKey{{CertFile: kubeconfig, KeyFile: pipe}}
		},
		"--audit-policy-file":         func(o *Options) { o.Audit.PolicyFile = pipe },
		"--audit-webhook-config-file": func(o *Options) { o.Audit.WebhookOptions.ConfigFile = pipe },
	} {
		options := NewOptions()
		options.Kubeconfig = kubeconfig
		give(options)
		if _, err := New(Config{Options: options, Cluster: "test"}); err == nil || !strings.Contains(err.Error(), pipe+" is no regular file but a named pipe; give a file") || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// TestFlagsAreThoseOfMetricsServer looks for every flag of metrics-server that concerns serving, with its default.
func TestFlagsAreThoseOfMetricsServer(t *testing.T) {
	options := NewOptions()
	sections := options.Flags()
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, name := range sections.Order {
		all.AddFlagSet(sections.FlagSets[name])
	}
	for name, value := range map[string]string{
		"metric-resolution": "15s", "kubeconfig": "", "node-selector": "", "max-sample-age": "0s",
		"bind-address": "0.0.0.0", "secure-port": "443", "cert-dir": "apiserver.local.config/certificates", "tls-cert-file": "",
		"tls-private-key-file": "", "tls-cipher-suites": "[]", "tls-curve-preferences": "[]", "tls-min-version": "", "tls-sni-cert-key": "[]",
		"http2-max-streams-per-connection": "0", "disable-http2-serving": "false", "permit-address-sharing": "false", "permit-port-sharing": "false",
		"authentication-kubeconfig": "", "authentication-skip-lookup": "false", "authentication-tolerate-lookup-failure": "false",
		"authentication-token-webhook-cache-ttl": "10s", "client-ca-file": "", "requestheader-client-ca-file": "", "requestheader-allowed-names": "[]",
		"requestheader-username-headers": "[x-remote-user]", "requestheader-group-headers": "[x-remote-group]",
		"requestheader-extra-headers-prefix": "[x-remote-extra-]", "requestheader-uid-headers": "[]",
		"authorization-kubeconfig": "", "authorization-always-allow-paths": "[/healthz,/readyz,/livez]",
		"authorization-webhook-cache-authorized-ttl": "10s", "authorization-webhook-cache-unauthorized-ttl": "10s",
		"advertise-address": "<nil>", "cors-allowed-origins": "[]", "external-hostname": "", "max-requests-inflight": "400",
		"max-mutating-requests-inflight": "200", "request-timeout": "1m0s", "min-request-timeout": "1800", "goaway-chance": "0", "livez-grace-period": "0s",
		"shutdown-delay-duration": "0s", "shutdown-send-retry-after": "false", "strict-transport-security-directives": "[]",
		"feature-gates": "", "emulated-version": "[]", "audit-log-path": "", "audit-policy-file": "", "audit-webhook-config-file": "",
		"profiling": "true", "contention-profiling": "false", "debug-socket-path": "", "enable-priority-and-fairness": "true",
	} {
		flag := all.Lookup(name)
		if flag == nil {
			t.Errorf("there is no --%s", name)
		} else if flag.DefValue != value && name != "feature-gates" {
			t.Errorf("--%s is %q by default, want %q", name, flag.DefValue, value)
		}
	}
	if err := all.Parse([]string{"-l", "pool=blue", "--secure-port=10250", "--metric-resolution=30s"}); err != nil {
		t.Fatal(err)
	}
	if options.NodeSelector != "pool=blue" || options.SecureServing.BindPort != 10250 || options.maxSampleAge() != 90*time.Second {
		t.Errorf("%+v", options)
	}
}

// TestTheGateOpensOnlyWhenTheServerTrusts connects from the very first moment on: nobody may be refused, only wait.
func TestTheGateOpensOnlyWhenTheServerTrusts(t *testing.T) {
	s := newServed(t)
	small(s)
	s.whole()
	certificate := s.kube.frontProxy.client(t, "front-proxy-client")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.service.Run(ctx) }()
	testenv.Eventually(t, 10*time.Second, func() error {
		if s.service.Addr() == nil {
			return errors.New("no address yet")
		}
		return nil
	})
	s.url = "https://" + s.service.Addr().String()
	request := s.request("GET", group+"/nodes/node-a")
	request.Header.Del("Authorization")
	request.Header.Set("X-Remote-User", "viewer")
	response, err := s.client(&certificate).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("the first request got %s", response.Status)
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}
