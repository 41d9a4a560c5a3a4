package collector

import "encoding/base64"

type signingRequest struct {
	object
	Spec   signingRequestSpec   `json:"spec"`
	Status signingRequestStatus `json:"status"`
}

type signingRequestSpec struct {
	SignerName string `json:"signerName"`
}

type signingRequestStatus struct {
	Certificate string      `json:"certificate"` // base64
	Conditions  []condition `json:"conditions"`
}

func certificateSigningRequests() families {
	return tableOf(identifySigningRequest, []family[*signingRequest]{
		{"kube_certificatesigningrequest_annotations", alpha, "Annotations of the CertificateSigningRequest that --metric-annotations-allowlist lets through; always 1.", annotations[*signingRequest]},
		{"kube_certificatesigningrequest_labels", stable, "Labels of the CertificateSigningRequest that --metric-labels-allowlist lets through; always 1.", labels[*signingRequest]},
		{"kube_certificatesigningrequest_created", stable, "When the CertificateSigningRequest was created, in Unix seconds.", created[*signingRequest]},
		{"kube_certificatesigningrequest_condition", stable, "How many conditions of a kind the CertificateSigningRequest has.", signingRequestConditions},
		{"kube_certificatesigningrequest_cert_length", stable, "Length of the certificate that was issued, in bytes; 0 before.", signingRequestLength},
	})
}

func identifySigningRequest(r *signingRequest, s *Series) {
	s.Identify("certificatesigningrequest", r.Metadata.Name)
	s.Identify("signer_name", r.Spec.SignerName)
}

func signingRequestConditions(r *signingRequest, s *Series) {
	for _, kind := range [...]struct{ condition, label string }{{"Approved", "approved"}, {"Denied", "denied"}, {"Failed", "failed"}} {
		n := 0
		for i := range r.Status.Conditions {
			if r.Status.Conditions[i].Type == kind.condition {
				n++
			}
		}
		s.Add(float64(n), "condition", kind.label)
	}
}

func signingRequestLength(r *signingRequest, s *Series) {
	text := r.Status.Certificate
	for len(text) > 0 && text[len(text)-1] == '=' {
		text = text[:len(text)-1]
	}
	s.Add(float64(base64.RawStdEncoding.DecodedLen(len(text))))
}
