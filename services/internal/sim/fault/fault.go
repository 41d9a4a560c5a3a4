// Package fault bends the answers of HTTP servers: a request flows in, and what flows out is what a broken server says.
//
// A Fault sees one request with the handler that would have answered it well. Faults hold no state, so one value may
// bend any number of servers at the same time.
package fault

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Fault answers a request in place of next, or with its help.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

type connKey struct{}

// ConnContext keeps the connection for Reset; a server that is to be bent sets it as its http.Server.ConnContext.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// Hang never answers, until the client gives up.
func Hang() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// Reset breaks the whole TCP connection with a reset.
func Reset() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		conn, _ := r.Context().Value(connKey{}).(net.Conn)
		if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = wrapped.NetConn()
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		if conn != nil {
			conn.Close()
		}
		panic(http.ErrAbortHandler)
	}
}

// Status answers with a status and a short text.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, fmt.Sprintf("%d %s (simulated)", code, http.StatusText(code)), code)
	}
}

// Body answers 200 with the given body.
func Body(contentType, body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		io.WriteString(w, body)
	}
}

// HTML answers 200 with a page, as a captive proxy would.
func HTML() Fault {
	return Body("text/html", "<!DOCTYPE html>\n<html><head><title>Please log in</title></head><body>Please log in.</body></html>\n")
}

// Labelless answers 200 with series that lack the labels they must have.
func Labelless() Fault {
	return Body("text/plain; version=0.0.4; charset=utf-8",
		"# TYPE container_cpu_usage_seconds_total counter\ncontainer_cpu_usage_seconds_total 12.5 1795217691955\n"+
			"# TYPE container_memory_working_set_bytes gauge\ncontainer_memory_working_set_bytes 4096 1795217691955\n"+
			"container_memory_working_set_bytes{} 4096 1795217691955\n")
}

// Huge answers 200 with size bytes of good-looking series.
func Huge(size int64) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		var block bytes.Buffer
		for i := 0; block.Len() < 64<<10; i++ {
			fmt.Fprintf(&block, "container_memory_working_set_bytes{container=\"c%d\",namespace=\"huge\",pod=\"huge\"} 4096\n", i)
		}
		for left := size; left > 0; {
			n := min(left, int64(block.Len()))
			if _, err := w.Write(block.Bytes()[:n]); err != nil {
				return
			}
			left -= n
		}
	}
}

// Late answers well after a delay.
func Late(delay time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// Trickle answers well, but sends the body in pieces of size bytes with a pause after each.
func Trickle(size int, pause time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		recorded := record(r, next)
		recorded.copyHeader(w)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for body := recorded.body.Bytes(); len(body) > 0; {
			select {
			case <-timer.C:
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
			n := min(size, len(body))
			if _, err := w.Write(body[:n]); err != nil {
				return
			}
			http.NewResponseController(w).Flush()
			body = body[n:]
			timer.Reset(pause)
		}
	}
}

// Cut answers well, but breaks off in the middle of the body.
func Cut() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		recorded := record(r, next)
		recorded.header.Set("Content-Length", strconv.Itoa(recorded.body.Len()))
		recorded.copyHeader(w)
		w.Write(recorded.body.Bytes()[:recorded.body.Len()/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// Rewrite answers with the good body after edit has changed it. The request is answered uncompressed.
func Rewrite(edit func(body []byte) []byte) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding")
		recorded := record(plain, next)
		recorded.header.Del("Content-Length")
		recorded.copyHeader(w)
		w.Write(edit(recorded.body.Bytes()))
	}
}

// recorder holds an answer that is to be bent before it is sent.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func record(r *http.Request, next http.Handler) *recorder {
	recorded := &recorder{header: http.Header{}, code: http.StatusOK}
	next.ServeHTTP(recorded, r)
	return recorded
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

func (r *recorder) copyHeader(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.code)
}
