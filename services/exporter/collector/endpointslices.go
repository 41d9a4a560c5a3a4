package collector

import "strconv"

type endpointSlice struct {
	object
	AddressType string              `json:"addressType"`
	Endpoints   []sliceEndpoint     `json:"endpoints"`
	Ports       []endpointSlicePort `json:"ports"`
}

type sliceEndpoint struct {
	Addresses  []string `json:"addresses"`
	Conditions struct {
		Ready       *bool `json:"ready"`
		Serving     *bool `json:"serving"`
		Terminating *bool `json:"terminating"`
	} `json:"conditions"`
	Hostname  string `json:"hostname"`
	NodeName  string `json:"nodeName"`
	Zone      string `json:"zone"`
	TargetRef struct {
		Kind      string `json:"kind"`
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"targetRef"`
	Hints struct {
		ForZones []struct {
			Name string `json:"name"`
		} `json:"forZones"`
	} `json:"hints"`
}

type endpointSlicePort struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Port     *int64 `json:"port"`
}

func endpointSlices() families {
	return tableOf(identifyEndpointSlice, []family[*endpointSlice]{
		{"kube_endpointslice_info", alpha, "What kind of addresses the EndpointSlice holds; always 1.", func(e *endpointSlice, s *Series) { s.Add(1, "addresstype", e.AddressType) }},
		{"kube_endpointslice_created", alpha, "When the EndpointSlice was created, in Unix seconds.", created[*endpointSlice]},
		{"kube_endpointslice_endpoints_hints", alpha, "A zone that an endpoint is meant to serve; always 1.", endpointHints},
		{"kube_endpointslice_endpoints", alpha, "An address of an endpoint of the EndpointSlice: its state, and what stands behind it; always 1.", sliceEndpoints},
		{"kube_endpointslice_ports", alpha, "A port of the EndpointSlice; always 1.", slicePorts},
		{"kube_endpointslice_annotations", alpha, "Annotations of the EndpointSlice that --metric-annotations-allowlist lets through; always 1.", annotations[*endpointSlice]},
		{"kube_endpointslice_labels", alpha, "Labels of the EndpointSlice that --metric-labels-allowlist lets through; always 1.", labels[*endpointSlice]},
	})
}

func identifyEndpointSlice(e *endpointSlice, s *Series) {
	s.Identify("endpointslice", e.Metadata.Name)
	s.Identify("namespace", e.Metadata.Namespace)
}

func endpointHints(e *endpointSlice, s *Series) {
	for i := range e.Endpoints {
		endpoint := &e.Endpoints[i]
		if len(endpoint.Addresses) == 0 {
			if len(endpoint.Hints.ForZones) > 0 {
				s.Skip()
			}
			continue
		}
		for _, zone := range endpoint.Hints.ForZones { // the addresses stand for the same: the first is enough
			s.Add(1, "address", endpoint.Addresses[0], "for_zone", zone.Name)
		}
	}
}

func sliceEndpoints(e *endpointSlice, s *Series) {
	for i := range e.Endpoints {
		endpoint := &e.Endpoints[i]
		for _, address := range endpoint.Addresses {
			s.Add(1, "ready", boolOrNothing(endpoint.Conditions.Ready), "serving", boolOrNothing(endpoint.Conditions.Serving),
				"hostname", endpoint.Hostname, "terminating", boolOrNothing(endpoint.Conditions.Terminating),
				"targetref_kind", endpoint.TargetRef.Kind, "targetref_name", endpoint.TargetRef.Name, "targetref_namespace", endpoint.TargetRef.Namespace,
				"endpoint_nodename", endpoint.NodeName, "endpoint_zone", endpoint.Zone, "address", address)
		}
	}
}

func slicePorts(e *endpointSlice, s *Series) {
	for i := range e.Ports {
		port := &e.Ports[i]
		number := "" // any port
		if port.Port != nil {
			number = strconv.FormatInt(*port.Port, 10)
		}
		s.Add(1, "port_name", port.Name, "port_protocol", port.Protocol, "port_number", number)
	}
}
