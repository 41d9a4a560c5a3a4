package customresource

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// certificates is a configuration as people have it, for cert-manager's certificates: conditions, times, names.
const certificates = `
spec:
  resources:
  - groupVersionKind: {group: cert-manager.io, version: v1, kind: Certificate}
    metricNamePrefix: certmanager
    labelsFromPath: {name: [metadata, name], namespace: [metadata, namespace]}
    metrics:
    - {name: certificate_info, help: About a certificate., each: {type: Info, info: {path: [spec], labelsFromPath: {issuer: [issuerRef, name], issuer_kind: [issuerRef, kind], secret: [secretName]}}}}
    - {name: certificate_labels, help: Its labels., each: {type: Info, info: {labelsFromPath: {"label_*": [metadata, labels]}}}}
    - {name: certificate_ready, help: Whether it is ready., each: {type: Gauge, gauge: {path: [status, conditions, "[type=Ready]", status]}}}
    - {name: certificate_condition, help: Its conditions., each: {type: Gauge, gauge: {path: [status, conditions], valueFrom: [status], labelsFromPath: {type: [type], reason: [reason]}}}}
    - {name: certificate_expiration, help: When it ends., each: {type: Gauge, gauge: {path: [status, notAfter]}}}
    - {name: certificate_renewal, help: When it is renewed., each: {type: Gauge, gauge: {path: [status, renewalTime]}}}
    - {name: certificate_revision, help: How often it was issued., each: {type: Gauge, gauge: {path: [status, revision]}}}
    - {name: certificate_created, help: When it was made., each: {type: Gauge, gauge: {path: [metadata, creationTimestamp]}}}
    - {name: certificate_usage, help: What it is for., each: {type: Info, info: {path: [spec, usages], labelsFromPath: {usage: []}}}}
    - {name: certificate_state, help: The reason of being ready., each: {type: StateSet, stateSet: {path: [status, conditions, "[type=Ready]", reason], labelName: reason, list: [Ready, Pending, Expired, DoesNotExist]}}}
`

func certificate(i int) string {
	return fmt.Sprintf(`{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: shop-%d-tls, namespace: team-%02d, uid: 5f000000-0000-4000-8000-%012d, resourceVersion: "%d",
  creationTimestamp: "2026-01-02T03:04:05Z", generation: 1, labels: {app.kubernetes.io/name: shop, app.kubernetes.io/instance: shop-%d, app.kubernetes.io/managed-by: Helm, team: a},
  annotations: {meta.helm.sh/release-name: shop, meta.helm.sh/release-namespace: team}, ownerReferences: [{apiVersion: networking.k8s.io/v1, kind: Ingress, name: shop, uid: x, controller: true}]},
  spec: {secretName: shop-%d-tls, dnsNames: [shop-%d.example.com, www.shop-%d.example.com], issuerRef: {name: letsencrypt, kind: ClusterIssuer, group: cert-manager.io}, usages: [digital signature, key encipherment], duration: 2160h0m0s, renewBefore: 360h0m0s, privateKey: {algorithm: RSA, size: 2048}},
  status: {notBefore: "2026-06-01T00:00:00Z", notAfter: "2026-08-30T00:00:00Z", renewalTime: "2026-08-15T00:00:00Z", revision: 3, conditions: [
    {type: Issuing, status: "False", reason: Issued, message: The certificate has been successfully issued, lastTransitionTime: "2026-06-01T00:00:00Z", observedGeneration: 1},
    {type: Ready, status: "True", reason: Ready, message: Certificate is up to date and has not expired, lastTransitionTime: "2026-06-01T00:00:00Z", observedGeneration: 1}]}}`, i, i%40, i, i, i, i, i, i)
}

var certificateKind = schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}

// BenchmarkRender renders a certificate of cert-manager: 10 metrics, 15 series.
func BenchmarkRender(b *testing.B) {
	objects := make([][]byte, 100)
	for i := range objects {
		objects[i] = encode(b, certificate(i))
	}
	resource := compile(b, certificates, nil).For(certificateKind, "certificates")
	r, err := resource.NewRenderer()
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	b.ReportAllocs()
	b.SetBytes(int64(len(objects[0])))
	for b.Loop() {
		got, err := r.Render(objects[i%len(objects)])
		if err != nil || got.Skipped > 0 {
			b.Fatal(err, got.Skipped)
		}
		i++
	}
	got, err := r.Render(objects[0])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(strings.Count(string(got.Text), "\n")), "series")
}
