package cluster

import (
	"fmt"
	"net"
	"net/http"
	"strings"
)

// Fault answers a scrape in the place of a kubelet.
type Fault func(http.ResponseWriter, *http.Request)

// Hang accepts the request and never answers.
func Hang(_ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
}

// Reset closes the connection (on HTTP/2: the stream) without an answer.
func Reset(w http.ResponseWriter, _ *http.Request) {
	if hijacker, ok := w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			if tcp, ok := conn.(interface{ NetConn() net.Conn }); ok {
				if raw, ok := tcp.NetConn().(*net.TCPConn); ok {
					// A close that does not linger is sent as a reset.
					_ = raw.SetLinger(0)
				}
			}
			conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// Status answers with an HTTP status, such as 401 or 500, as a kubelet words it.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, http.StatusText(code), code)
	}
}

// HTML answers 200 with a page, as a proxy in between may do.
func HTML(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n")
}

// Body answers 200 with the given text as metrics, such as series without labels.
func Body(text string) Fault {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", expositionType)
		fmt.Fprint(w, text)
	}
}

// Flood answers 200 with the given number of bytes of well-formed metrics, and stops when the reader does.
func Flood(bytes int) Fault {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", expositionType)
		for sent, i := 0, 0; sent < bytes; i++ {
			n, err := fmt.Fprintf(w, "container_memory_working_set_bytes{container=\"c\",namespace=\"flood\",pod=\"p-%d-%s\"} 1\n", i, strings.Repeat("x", 4000))
			if err != nil {
				return
			}
			sent += n
		}
	}
}
