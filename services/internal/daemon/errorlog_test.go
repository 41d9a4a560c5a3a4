package daemon

import (
	"bytes"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

func TestClientsCannotFloodTheLog(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1e9, 0)
	e := &errorLog{to: slog.New(slog.NewTextHandler(&out, nil)), pace: rate.NewLimiter(rate.Every(10*time.Second), 10), now: func() time.Time { return now }}
	lines := log.New(e, "", 0)
	for i := range 1000 {
		lines.Printf("http: TLS handshake error from 192.0.2.%d: EOF", i)
	}
	if n := strings.Count(out.String(), "\n"); n != 10 || !strings.Contains(out.String(), "192.0.2.9:") {
		t.Fatalf("%d lines were logged, want the first 10:\n%s", n, out.String())
	}
	lines.Print("http: panic serving 192.0.2.1:80: oh\ngoroutine 1 [running]")
	if !strings.Contains(out.String(), "level=ERROR") || !strings.Contains(out.String(), "goroutine 1") {
		t.Errorf("a panic was left out:\n%s", out.String())
	}
	out.Reset()
	now = now.Add(10 * time.Second)
	for i := range 5 {
		lines.Print(fmt.Sprint("http: later ", i))
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "http: later 0") || !strings.Contains(got, `"others left out"=990`) {
		t.Errorf("10 seconds later:\n%s", got)
	}
}
