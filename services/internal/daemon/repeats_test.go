package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"k8s.io/klog/v2"
)

// TestLibrariesCannotFloodTheLog: with attributes, and with what differs in a formatted line.
func TestLibrariesCannotFloodTheLog(t *testing.T) {
	var out bytes.Buffer
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.Level(-4)})
	libraries := lessRepeats(handler)
	at := func(level slog.Level, seconds float64, message string, attrs ...any) {
		t.Helper()
		record := slog.NewRecord(time.Unix(1e9, 0).Add(time.Duration(seconds*float64(time.Second))), level, message, 0)
		record.Add(attrs...)
		if err := libraries.WithGroup("g").WithAttrs([]slog.Attr{slog.Int("a", 1)}).Handle(context.Background(), record); err != nil {
			t.Fatal(err)
		}
	}
	lines := func() int { return strings.Count(out.String(), "\n") }
	for i := range 1000 {
		at(slog.LevelError, float64(i)/101, "Failed to encode watch event", "err", fmt.Sprint("client ", i))
		at(slog.LevelError, float64(i)/101, fmt.Sprintf("Failed to make webhook authenticator request: read 127.0.0.1:%d: EOF", 30000+i))
	}
	if lines() != 2 || strings.Contains(out.String(), "left out") {
		t.Fatalf("%d lines, want one of each:\n%s", lines(), out.String())
	}
	out.Reset()
	at(slog.LevelError, 10, "Failed to encode watch event")
	if got := out.String(); lines() != 1 || !strings.Contains(got, `repeats left out"=999`) {
		t.Errorf("ten seconds later:\n%s", got)
	}
	out.Reset()
	at(slog.LevelInfo, 10, "Failed to encode watch event")  // another line: its level
	at(slog.LevelError, 10, "Failed to decode watch event") // another text
	for range 3 {
		at(slog.LevelError, 10, "Observed a panic")
		at(slog.Level(-2), 10, "for debugging")
	}
	if lines() != 8 {
		t.Errorf("%d lines, want 8:\n%s", lines(), out.String())
	}
	out.Reset()
	at(slog.LevelError, 5, "Failed to encode watch event") // a clock that went back doesn't silence it for long
	if lines() != 1 {
		t.Errorf("after the clock went back:\n%s", out.String())
	}
	for i := range 3 * mostRepeats {
		at(slog.LevelInfo, 11, strings.Repeat("x", i%90)+"|"+strings.Repeat("y", i/90))
	}
	if n := len(libraries.(*repeats).told.lines); n > mostRepeats {
		t.Errorf("%d lines are kept", n)
	}
}

// TestLessRepeatsFromKlog goes the way of the Kubernetes libraries, and that of our own lines, which are all logged.
func TestLessRepeatsFromKlog(t *testing.T) {
	defer klog.CaptureState().Restore()
	var out bytes.Buffer
	log, err := new(loggingFlags).apply(&out)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		klog.Background().WithName("UnhandledError").Error(nil, "from a library")
		klog.Errorf("formatted %d", i)
		log.Error("our own")
	}
	for text, want := range map[string]int{"from a library": 1, "formatted": 1, "our own": 5} {
		if got := strings.Count(out.String(), text); got != want {
			t.Errorf("%q was logged %d times, want %d:\n%s", text, got, want, out.String())
		}
	}
}
