package collector

func validatingWebhookConfigurations() families {
	return tableOf(namespaced[*webhookConfiguration]("validatingwebhookconfiguration"), []family[*webhookConfiguration]{
		{"kube_validatingwebhookconfiguration_info", alpha, "The ValidatingWebhookConfiguration exists; always 1.", info[*webhookConfiguration]},
		{"kube_validatingwebhookconfiguration_created", alpha, "When the ValidatingWebhookConfiguration was created, in Unix seconds.", created[*webhookConfiguration]},
		{"kube_validatingwebhookconfiguration_metadata_resource_version", alpha, "Resource version of the ValidatingWebhookConfiguration as a number; it changes with every change.", resourceVersion[*webhookConfiguration]},
		{"kube_validatingwebhookconfiguration_webhook_clientconfig_service", alpha, "The Service that a webhook of the ValidatingWebhookConfiguration calls, with empty labels for one that calls a URL; always 1.", webhookServices},
	})
}
