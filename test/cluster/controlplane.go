package cluster

import (
	"context"
	"fmt"
	"path/filepath"
)

// etcdSpec describes the cluster's store. It speaks plain HTTP on loopback and does not wait for its disk: it survives
// being killed, not a loss of power, and its data is thrown away anyway.
func (c *Cluster) etcdSpec() Spec {
	client, peer := "http://"+loopback(c.ports.etcd), "http://"+loopback(c.ports.etcdPeer)
	return Spec{
		Name: "etcd",
		Path: c.paths["etcd"],
		Args: []string{
			"--name=etcd",
			"--data-dir=" + filepath.Join(c.Dir, "etcd"),
			"--listen-client-urls=" + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=etcd=" + peer,
			"--unsafe-no-fsync",
			"--log-level=warn",
		},
		Ready: HTTPReady(client + "/readyz"),
	}
}

// apiServerSpec describes the API server: RBAC, aggregation and the usual admission, with these differences from a
// server in production.
//
//   - The kubernetes Service gets no endpoints, because a loopback address is not allowed in them.
//   - New nodes are not tainted not-ready, because the controller that would remove the taint does not run, and nobody
//     would see the taint but the exporter's users.
//
// The aggregation layer reaches a program on this machine through a Service of type ExternalName, see
// [Cluster.RegisterAPIService]; that works because aggregator routing, which wants endpoints, stays off.
func (c *Cluster) apiServerSpec() Spec {
	pki := func(name string) string { return filepath.Join(c.Dir, "pki", name) }
	return Spec{
		Name: "kube-apiserver",
		Path: c.paths["kube-apiserver"],
		Args: append([]string{
			"--etcd-servers=http://" + loopback(c.ports.etcd),
			"--bind-address=127.0.0.1",
			"--advertise-address=127.0.0.1",
			fmt.Sprintf("--secure-port=%d", c.ports.apiServer),
			"--cert-dir=" + pki(""),
			"--tls-cert-file=" + pki("apiserver.crt"),
			"--tls-private-key-file=" + pki("apiserver.key"),
			"--client-ca-file=" + pki("ca.crt"),
			"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"),
			"--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
			"--kubelet-certificate-authority=" + pki("ca.crt"),
			"--kubelet-preferred-address-types=InternalIP",
			"--authorization-mode=RBAC",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + pki("service-account.key"),
			"--service-account-signing-key-file=" + pki("service-account.key"),
			"--service-cluster-ip-range=10.96.0.0/16",
			"--endpoint-reconciler-type=none",
			"--disable-admission-plugins=TaintNodesByCondition",
			"--requestheader-client-ca-file=" + pki("front-proxy-ca.crt"),
			"--requestheader-allowed-names=front-proxy-client",
			"--requestheader-username-headers=X-Remote-User",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--proxy-client-cert-file=" + pki("front-proxy-client.crt"),
			"--proxy-client-key-file=" + pki("front-proxy-client.key"),
			"--enable-aggregator-routing=false",
		}, c.config.APIServerArgs...),
		Ready: HTTPReady("https://" + loopback(c.ports.apiServer) + "/readyz"),
	}
}

// controllerManagerSpec describes the controllers: all but those which would act on nodes that no cloud and no kubelet
// looks after. Each uses an identity of its own, as in production, so that the autoscaler meets the real roles. The
// autoscaler's periods are short, because tests wait for them; its tolerance is left alone.
func (c *Cluster) controllerManagerSpec() Spec {
	pki := func(name string) string { return filepath.Join(c.Dir, "pki", name) }
	return Spec{
		Name: "kube-controller-manager",
		Path: c.paths["kube-controller-manager"],
		Args: append([]string{
			"--kubeconfig=" + c.Kubeconfig,
			"--authentication-kubeconfig=" + c.Kubeconfig,
			"--authorization-kubeconfig=" + c.Kubeconfig,
			"--bind-address=127.0.0.1",
			fmt.Sprintf("--secure-port=%d", c.ports.controllerManager),
			"--cert-dir=" + filepath.Join(c.Dir, "kube-controller-manager"),
			"--leader-elect=false",
			"--kube-api-qps=200",
			"--kube-api-burst=400",
			"--use-service-account-credentials",
			"--root-ca-file=" + pki("ca.crt"),
			"--service-account-private-key-file=" + pki("service-account.key"),
			"--cluster-signing-cert-file=" + pki("ca.crt"),
			"--cluster-signing-key-file=" + pki("ca.key"),
			"--controllers=*,-node-lifecycle-controller,-taint-eviction-controller,-node-ipam-controller",
			"--horizontal-pod-autoscaler-sync-period=1s",
			"--horizontal-pod-autoscaler-downscale-stabilization=5s",
			"--horizontal-pod-autoscaler-initial-readiness-delay=1s",
			"--horizontal-pod-autoscaler-cpu-initialization-period=1s",
		}, c.config.ControllerManagerArgs...),
		Ready: HTTPReady("https://" + loopback(c.ports.controllerManager) + "/healthz"),
	}
}

// settle waits until the controllers have prepared the default namespace, because a pod is refused before that.
func (c *Cluster) settle(ctx context.Context) error {
	return Eventually(ctx, readyTimeout, func() error {
		_, err := c.Client.CoreV1().ServiceAccounts("default").Get(ctx, "default", getOptions)
		if err != nil {
			return fmt.Errorf("couldn't find the default service account: %w", err)
		}
		return nil
	})
}
