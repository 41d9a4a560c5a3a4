package collector

// webhookConfiguration is a MutatingWebhookConfiguration or a ValidatingWebhookConfiguration.
type webhookConfiguration struct {
	object
	Webhooks []webhook `json:"webhooks"`
}

type webhook struct {
	Name         string `json:"name"`
	ClientConfig struct {
		Service struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"service"`
	} `json:"clientConfig"`
}

func mutatingWebhookConfigurations() families {
	return tableOf(namespaced[*webhookConfiguration]("mutatingwebhookconfiguration"), []family[*webhookConfiguration]{
		{"kube_mutatingwebhookconfiguration_info", alpha, "The MutatingWebhookConfiguration exists; always 1.", info[*webhookConfiguration]},
		{"kube_mutatingwebhookconfiguration_created", alpha, "When the MutatingWebhookConfiguration was created, in Unix seconds.", created[*webhookConfiguration]},
		{"kube_mutatingwebhookconfiguration_metadata_resource_version", alpha, "Resource version of the MutatingWebhookConfiguration as a number; it changes with every change.", resourceVersion[*webhookConfiguration]},
		{"kube_mutatingwebhookconfiguration_webhook_clientconfig_service", alpha, "The Service that a webhook of the MutatingWebhookConfiguration calls, with empty labels for one that calls a URL; always 1.", webhookServices},
	})
}

func webhookServices(c *webhookConfiguration, s *Series) {
	for i := range c.Webhooks {
		hook := &c.Webhooks[i]
		s.Add(1, "webhook_name", hook.Name, "service_name", hook.ClientConfig.Service.Name, "service_namespace", hook.ClientConfig.Service.Namespace)
	}
}
