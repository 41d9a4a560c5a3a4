package collector

import "strconv"

type endpoints struct {
	object
	Subsets []endpointSubset `json:"subsets"`
}

type endpointSubset struct {
	Addresses         []endpointAddress `json:"addresses"`
	NotReadyAddresses []endpointAddress `json:"notReadyAddresses"`
	Ports             []endpointPort    `json:"ports"`
}

type endpointAddress struct {
	IP string `json:"ip"`
}

type endpointPort struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Port     int64  `json:"port"`
}

func endpointsFamilies() families {
	return tableOf(namespaced[*endpoints]("endpoint"), []family[*endpoints]{
		{"kube_endpoint_info", stable, "The Endpoints exist; always 1.", info[*endpoints]},
		{"kube_endpoint_created", stable, "When the Endpoints were created, in Unix seconds.", created[*endpoints]},
		{"kube_endpoint_annotations", alpha, "Annotations of the Endpoints that --metric-annotations-allowlist lets through; always 1.", annotations[*endpoints]},
		{"kube_endpoint_labels", stable, "Labels of the Endpoints that --metric-labels-allowlist lets through; always 1.", labels[*endpoints]},
		{"kube_endpoint_address", stable, "A port of an address behind the Endpoints, and whether it is ready; always 1.", endpointAddresses},
		{"kube_endpoint_ports", stable | deprecated2_14, "A port of the Endpoints; always 1.", endpointPorts},
	})
}

func endpointAddresses(e *endpoints, s *Series) {
	for i := range e.Subsets {
		subset := &e.Subsets[i]
		for j := range subset.Ports {
			port := &subset.Ports[j]
			addAddresses(s, port, subset.Addresses, "true")
			addAddresses(s, port, subset.NotReadyAddresses, "false")
		}
	}
}

func addAddresses(s *Series, port *endpointPort, addresses []endpointAddress, ready string) {
	for i := range addresses {
		s.Add(1, "port_protocol", port.Protocol, "port_number", strconv.FormatInt(port.Port, 10), "port_name", port.Name,
			"ip", addresses[i].IP, "ready", ready)
	}
}

func endpointPorts(e *endpoints, s *Series) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			port := &e.Subsets[i].Ports[j]
			s.Add(1, "port_name", port.Name, "port_protocol", port.Protocol, "port_number", strconv.FormatInt(port.Port, 10))
		}
	}
}
