package api

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// itemWriter writes items of lists as the library would, byte for byte, without the library's objects in between: most of
// what an answer costs is to make, convert and walk these. It is for one goroutine.
type itemWriter struct {
	now      time.Time // metadata.creationTimestamp
	version  uint64    // metadata.resourceVersion; 0 for none
	extended bool      // usage has swap, too

	created string   // now, as JSON has it
	time    memo     // the last time, Unix seconds: most containers of a node were read at the same
	window  memo     // the last window, nanoseconds
	scratch [32]byte // for a number or quantity that has to be known before its place is
}

// memo is a number and its text; "" before there is one.
type memo struct {
	value int64
	text  []byte
}

func newItemWriter(now time.Time, version uint64, extended bool) *itemWriter {
	return &itemWriter{now: now, version: version, extended: extended, created: now.UTC().Format(time.RFC3339)}
}

// jsonNode appends a NodeMetrics.
func (w *itemWriter) jsonNode(b []byte, r *nodeReading) []byte {
	b = w.jsonMetadata(b, "", r.entry.Name, r.entry.Value.labels)
	b = w.jsonMeasured(b, r.timestamp(), r.point.Window)
	b = append(b, `"usage":`...)
	b = w.jsonUsage(b, r.point)
	return append(b, '}')
}

// jsonPod appends a PodMetrics.
func (w *itemWriter) jsonPod(b []byte, r *podReading) []byte {
	b = w.jsonMetadata(b, r.entry.Namespace, r.entry.Name, r.entry.Value.labels)
	b = w.jsonMeasured(b, r.timestamp(), r.window)
	b = append(b, `"containers":[`...)
	first := true
	for i := range r.containers {
		c := &r.containers[i]
		if !c.Point.HasRate() {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, `{"name":`...)
		b = appendJSONString(b, c.Name)
		b = append(b, `,"usage":`...)
		b = w.jsonUsage(b, &c.Point)
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

func (w *itemWriter) jsonMetadata(b []byte, namespace, name string, labels *view.Labels) []byte {
	b = append(b, `{"metadata":{`...)
	if name != "" {
		b = append(b, `"name":`...)
		b = appendJSONString(b, name)
		b = append(b, ',')
	}
	if namespace != "" {
		b = append(b, `"namespace":`...)
		b = appendJSONString(b, namespace)
		b = append(b, ',')
	}
	if w.version != 0 {
		b = append(b, `"resourceVersion":"`...)
		b = strconv.AppendUint(b, w.version, 10)
		b = append(b, `",`...)
	}
	b = append(b, `"creationTimestamp":"`...)
	b = append(b, w.created...)
	b = append(b, '"')
	for i, label := range labels.Sorted() {
		if i == 0 {
			b = append(b, `,"labels":{`...)
		} else {
			b = append(b, ',')
		}
		b = appendJSONString(b, label.Key)
		b = append(b, ':')
		b = appendJSONString(b, label.Value)
	}
	if labels.Len() > 0 {
		b = append(b, '}')
	}
	return append(b, `},`...)
}

func (w *itemWriter) jsonMeasured(b []byte, timestamp time.Time, window int64) []byte {
	b = append(b, `"timestamp":`...)
	if timestamp.IsZero() {
		b = append(b, "null"...)
	} else {
		if seconds := timestamp.Unix(); seconds != w.time.value || w.time.text == nil {
			w.time.value, w.time.text = seconds, timestamp.UTC().AppendFormat(w.time.text[:0], time.RFC3339)
		}
		b = append(b, '"')
		b = append(b, w.time.text...)
		b = append(b, '"')
	}
	if window != w.window.value || w.window.text == nil {
		w.window.value, w.window.text = window, append(w.window.text[:0], time.Duration(window).String()...)
	}
	b = append(b, `,"window":"`...)
	b = append(b, w.window.text...)
	return append(b, `",`...)
}

func (w *itemWriter) jsonUsage(b []byte, p *schemas.Point) []byte {
	b = append(b, `{"cpu":"`...)
	b = appendCPU(b, p.Rate)
	b = append(b, `","memory":"`...)
	b = appendBytes(b, p.Memory)
	if swap, ok := w.swap(p); ok {
		b = append(b, `","swap":"`...)
		b = appendBytes(b, swap)
	}
	return append(b, `"}`...)
}

// swap is what usage() has of swap.
func (w *itemWriter) swap(p *schemas.Point) (bytes uint64, ok bool) {
	if !w.extended || p.Extra == nil || !p.Extra.SwapUsage.Valid {
		return 0, false
	}
	return p.Extra.SwapUsage.Value, true
}

// appendJSONString appends s as encoding/json does.
func appendJSONString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // of a string there is no error
			return append(b, text...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendCPU appends nanocores as a resource.Quantity of scale -9 prints them: with the largest suffix that leaves no fraction.
func appendCPU(b []byte, nanocores uint64) []byte {
	if nanocores > math.MaxInt64 {
		return appendQuantity(b, nanocores, -9, resource.DecimalSI)
	}
	return appendDecimal(b, nanocores, "num kMGTPE")
}

// appendBytes appends bytes as a binary resource.Quantity prints them.
func appendBytes(b []byte, bytes uint64) []byte {
	if bytes > math.MaxInt64 {
		return appendQuantity(b, bytes, 0, resource.BinarySI)
	}
	if bytes < 1024 {
		return appendDecimal(b, bytes, " k")
	}
	suffix := 0
	for ; bytes%1024 == 0; suffix++ {
		bytes /= 1024
	}
	b = strconv.AppendUint(b, bytes, 10)
	if suffix > 0 {
		b = append(b, " KMGTPE"[suffix], 'i')
	}
	return b
}

// appendDecimal appends a value with the largest of the suffixes, each 1000 times the one before, that leaves no fraction;
// a space is none.
func appendDecimal(b []byte, value uint64, suffixes string) []byte {
	if value == 0 {
		return append(b, '0')
	}
	suffix := 0
	for ; value%1000 == 0; suffix++ {
		value /= 1000
	}
	b = strconv.AppendUint(b, value, 10)
	if suffixes[suffix] != ' ' {
		b = append(b, suffixes[suffix])
	}
	return b
}

func appendQuantity(b []byte, value uint64, scale resource.Scale, format resource.Format) []byte {
	q := quantity(value, scale, format)
	return append(b, q.String()...)
}
