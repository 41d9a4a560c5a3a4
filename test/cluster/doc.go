// Package cluster starts a real Kubernetes control plane on this machine, with played kubelets, for tests that must see
// what users see.
//
// What is real: etcd, kube-apiserver with RBAC and its aggregation layer, kube-controller-manager, kubectl,
// metrics-server and Prometheus, built by package pins. What is played, by [Kubelets]: nodes that serve
// /metrics/resource over HTTPS with usage that the test decides, and pods that are bound, run and deleted as a scheduler
// and kubelets would do it. Everything listens on loopback, on ports that were free, and keeps its data in one folder.
//
//	c, err := cluster.Start(ctx, cluster.Config{Nodes: 3, Log: t.Logf})
//	defer c.Close()
//	err = c.Apply(ctx, deploymentYAML)
//	c.Kubelets.SetUsage(cluster.Match{Namespace: "shop", Labels: map[string]string{"app": "web"}}, cluster.Usage{CPU: 250, Memory: 64 << 20})
//	p, err := c.Run(ctx, cluster.Spec{Name: "metricsapi", Path: bin, Args: ..., Ready: cluster.HTTPReady(...)})
//	err = c.RegisterAPIService(ctx, "v1beta1.metrics.k8s.io", port)
//	out, err := c.Kubectl(ctx, "top", "pod", "-A")
//
// Promises: nothing that it started outlives Close, nor the process that called Start, however that ends (the latter on
// Linux). Nothing waits by sleeping: readiness is polled with a deadline, and a program that fails to become ready
// yields an error with the end of its log. The package does not import testing, so that a person can have the same
// cluster with go run ./cmd/cluster.
package cluster
