package cluster

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// portForwardProtocol is what streams of forwarded ports are called in an upgrade.
const portForwardProtocol = "portforward.k8s.io"

// forwards are the ports of played pods that lead somewhere, by podPort, as host:port.
type forwards struct {
	mu sync.Mutex
	to map[podPort]string
}

type podPort struct {
	podKey
	port int
}

// Forward makes kubectl port-forward to a port of a played pod lead to an address of this machine, such as that of a program
// which stands for the pod.
func (k *Kubelets) Forward(namespace, pod string, port int, address string) {
	k.forwards.mu.Lock()
	defer k.forwards.mu.Unlock()
	if k.forwards.to == nil {
		k.forwards.to = map[podPort]string{}
	}
	k.forwards.to[podPort{podKey{namespace, pod}, port}] = address
}

// target is where a port leads.
func (f *forwards) target(pod podKey, port string) (string, error) {
	number, err := strconv.Atoi(port)
	if err != nil {
		return "", fmt.Errorf("couldn't read port %q: %w", port, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	address, ok := f.to[podPort{pod, number}]
	if !ok {
		return "", fmt.Errorf("nothing listens on port %d of pod %s/%s: call Forward", number, pod.namespace, pod.name)
	}
	return address, nil
}

// portForward answers the API server's request to forward ports of a pod: a connection with a pair of streams, one for
// errors and one for data, for each connection that is forwarded.
func (k *Kubelets) portForward(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, []string{portForwardProtocol}); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	streams := make(chan httpstream.Stream, 16)
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if connection == nil {
		return // it has been answered
	}
	defer connection.Close()
	pod := podKey{r.PathValue("namespace"), r.PathValue("pod")}
	problems := map[string]httpstream.Stream{}
	for {
		select {
		case <-connection.CloseChan():
			return
		case s := <-streams:
			id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				problems[id] = s
				continue
			}
			problem := problems[id]
			delete(problems, id)
			go func() {
				if err := k.carry(pod, s); err != nil && problem != nil {
					_, _ = io.WriteString(problem, err.Error())
				}
				if problem != nil {
					problem.Close()
				}
			}()
		}
	}
}

// carry connects a stream of data with what its port leads to, until both are done.
func (k *Kubelets) carry(pod podKey, data httpstream.Stream) error {
	defer data.Close()
	address, err := k.forwards.target(pod, data.Headers().Get(corev1.PortHeader))
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return fmt.Errorf("couldn't reach what stands for pod %s/%s: %w", pod.namespace, pod.name, err)
	}
	defer conn.Close()
	var there sync.WaitGroup
	there.Go(func() {
		_, _ = io.Copy(conn, data)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	})
	_, err = io.Copy(data, conn)
	data.Close()
	conn.Close()
	there.Wait()
	return err
}
