package scraper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/headwater-metrics/headwater/schemas"
)

// decode reads the body of /stats/summary, in one pass and without keeping anything of it, or says why it can't be read:
// then nothing of it counts. Fields that it doesn't know, and those of CPU time and working set, are stepped over. A number
// that can't be true is counted, and is as one that is not there.
func (m *summary) decode(body []byte) error {
	r := jsonReader{b: body, m: m}
	for more := r.begin('{'); more; more = r.next('}') {
		switch string(r.key()) {
		case "node":
			r.node()
		case "pods":
			for more := r.begin('['); more; more = r.next(']') {
				r.pod()
			}
		default:
			r.skip()
		}
	}
	r.space()
	if r.err == nil && r.i < len(body) {
		r.fail(errors.New("something follows the JSON object"))
	}
	if r.err == nil && !utf8.Valid(m.names) {
		r.err = errUTF8
	}
	return r.err
}

func (r *jsonReader) node() {
	n := &r.m.node
	*n = nodeSummary{}
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "network":
			r.network(&n.network)
		case "fs":
			r.filesystem(&n.rootfs)
		case "runtime":
			for more := r.begin('{'); more; more = r.next('}') {
				switch string(r.key()) {
				case "imageFs":
					r.filesystem(&n.images)
				case "containerFs":
					r.filesystem(&n.containers)
				default:
					r.skip()
				}
			}
		default:
			r.measured(key, &n.measured)
		}
	}
}

func (r *jsonReader) pod() {
	at := len(r.m.pods)
	r.m.pods = append(r.m.pods, podSummary{})
	p := &r.m.pods[at]
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "podRef":
			for more := r.begin('{'); more; more = r.next('}') {
				switch string(r.key()) {
				case "name":
					p.name = r.name()
				case "namespace":
					p.namespace = r.name()
				case "uid":
					p.uid = r.name()
				default:
					r.skip()
				}
			}
		case "containers":
			p.containers.from = int32(len(r.m.containers))
			for more := r.begin('['); more; more = r.next(']') {
				r.container()
			}
			p.containers.to = int32(len(r.m.containers))
		case "network":
			r.network(&p.network)
		case "volume":
			p.volumes.from = int32(len(r.m.volumes))
			for more := r.begin('['); more; more = r.next(']') {
				r.volume()
			}
			p.volumes.to = int32(len(r.m.volumes))
		case "ephemeral-storage":
			r.filesystem(&p.ephemeral)
		case "process_stats":
			for more := r.begin('{'); more; more = r.next('}') {
				if string(r.key()) == "process_count" {
					p.processes = r.uint()
				} else {
					r.skip()
				}
			}
		default:
			r.measured(key, &p.measured)
		}
	}
}

func (r *jsonReader) container() {
	r.m.containers = append(r.m.containers, containerSummary{})
	c := &r.m.containers[len(r.m.containers)-1]
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "name":
			c.name = r.name()
		case "startTime":
			c.start = r.time()
		case "rootfs":
			r.filesystem(&c.rootfs)
		case "logs":
			r.filesystem(&c.logs)
		default:
			r.measured(key, &c.measured)
		}
	}
}

// measured reads the value of key, if it is one that nodes, pods and containers have in common.
func (r *jsonReader) measured(key []byte, to *measured) {
	e, p := &to.extra, &to.pressure
	switch string(key) {
	case "cpu":
		for more := r.begin('{'); more; more = r.next('}') {
			if string(r.key()) == "psi" {
				r.stall(&p.CPUWaiting, &p.CPUStalled)
			} else {
				r.skip()
			}
		}
	case "memory":
		for more := r.begin('{'); more; more = r.next('}') {
			switch string(r.key()) {
			case "usageBytes":
				e.Usage = r.uint()
			case "rssBytes":
				e.RSS = r.uint()
			case "pageFaults":
				e.PageFaults = r.uint()
			case "majorPageFaults":
				e.MajorPageFaults = r.uint()
			case "psi":
				r.stall(&p.MemoryWaiting, &p.MemoryStalled)
			default:
				r.skip()
			}
		}
	case "io":
		for more := r.begin('{'); more; more = r.next('}') {
			if string(r.key()) == "psi" {
				r.stall(&p.IOWaiting, &p.IOStalled)
			} else {
				r.skip()
			}
		}
	case "swap":
		for more := r.begin('{'); more; more = r.next('}') {
			if string(r.key()) == "swapUsageBytes" {
				e.SwapUsage = r.uint()
			} else {
				r.skip()
			}
		}
	default:
		r.skip()
	}
}

// stall reads what a cgroup has lost by waiting. The API says nanoseconds; but the kubelet passes on what the kernel says,
// which is microseconds, and so reads it who exports it (cAdvisor).
func (r *jsonReader) stall(waiting, stalled *schemas.Optional) {
	for more := r.begin('{'); more; more = r.next('}') {
		var to *schemas.Optional
		switch string(r.key()) {
		case "some":
			to = waiting
		case "full":
			to = stalled
		default:
			r.skip()
			continue
		}
		for more := r.begin('{'); more; more = r.next('}') {
			if string(r.key()) != "total" {
				r.skip()
				continue
			}
			*to = r.uint()
			if to.Value > math.MaxInt64/1000 {
				r.m.refused[dropOutOfRange]++
				*to = schemas.Optional{}
			}
			to.Value *= 1000
		}
	}
}

// network reads a network namespace's counters: those of all interfaces, or of the default one where they are not listed.
func (r *jsonReader) network(to *networkSummary) {
	m := r.m
	*to = networkSummary{}
	var standard interfaceSummary
	var listed stretch
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "time":
			to.time = r.time()
		case "interfaces":
			listed.from = int32(len(m.interfaces))
			for more := r.begin('['); more; more = r.next(']') {
				var one interfaceSummary
				for more := r.begin('{'); more; more = r.next('}') {
					r.counters(r.key(), &one)
				}
				if one.name.from < one.name.to {
					m.interfaces = append(m.interfaces, one)
				}
			}
			listed.to = int32(len(m.interfaces))
		default:
			r.counters(key, &standard)
		}
	}
	if listed.from == listed.to && standard.name.from < standard.name.to {
		listed = stretch{int32(len(m.interfaces)), int32(len(m.interfaces) + 1)}
		m.interfaces = append(m.interfaces, standard)
	}
	to.interfaces = listed
}

func (r *jsonReader) counters(key []byte, to *interfaceSummary) {
	switch string(key) {
	case "name":
		to.name = r.name()
	case "rxBytes":
		to.usage.ReceivedBytes = r.uint()
	case "rxErrors":
		to.usage.ReceiveErrors = r.uint()
	case "txBytes":
		to.usage.TransmittedBytes = r.uint()
	case "txErrors":
		to.usage.TransmitErrors = r.uint()
	default:
		r.skip()
	}
}

// filesystem reads how full a filesystem is, into an empty one.
func (r *jsonReader) filesystem(to *schemas.Filesystem) {
	*to = schemas.Filesystem{}
	for more := r.begin('{'); more; more = r.next('}') {
		if key := r.key(); !r.ofFilesystem(key, to) {
			r.skip()
		}
	}
}

func (r *jsonReader) ofFilesystem(key []byte, to *schemas.Filesystem) bool {
	switch string(key) {
	case "time":
		to.Time = r.time()
	case "usedBytes":
		to.Used = r.uint()
	case "capacityBytes":
		to.Capacity = r.uint()
	case "availableBytes":
		to.Available = r.uint()
	case "inodes":
		to.Inodes = r.uint()
	case "inodesUsed":
		to.InodesUsed = r.uint()
	case "inodesFree":
		to.InodesFree = r.uint()
	default:
		return false
	}
	return true
}

// volume reads a volume, and keeps it if it belongs to a claim.
func (r *jsonReader) volume() {
	var v volumeSummary
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "name":
			v.name = r.name()
		case "pvcRef":
			for more := r.begin('{'); more; more = r.next('}') {
				switch string(r.key()) {
				case "name":
					v.claim = r.name()
				case "namespace":
					v.claimNamespace = r.name()
				default:
					r.skip()
				}
			}
		case "volumeHealthStats":
			for more := r.begin('{'); more; more = r.next('}') {
				if string(r.key()) == "abnormal" {
					v.abnormal = r.bool()
				} else {
					r.skip()
				}
			}
		default:
			if !r.ofFilesystem(key, &v.filesystem) {
				r.skip()
			}
		}
	}
	if v.claim.from < v.claim.to {
		r.m.volumes = append(r.m.volumes, v)
	}
}

// jsonReader reads JSON from its beginning to its end. After an error its methods do nothing, so that loops come to an
// end, and err tells of it. null stands for what is not there.
type jsonReader struct {
	b   []byte
	i   int
	err error
	m   *summary // where names and refused numbers go
}

var (
	errJSON     = errors.New("this isn't JSON")
	errJSONKind = errors.New("a value of another kind is wanted here")
	errJSONEnd  = errors.New("the body ends too early")
)

// fail notes the first error, with the place where it is.
func (r *jsonReader) fail(err error) {
	if r.err != nil {
		return
	}
	if r.i >= len(r.b) {
		err = errJSONEnd
	}
	const shown = 60
	near := r.b[min(r.i, len(r.b)):min(r.i+shown, len(r.b))]
	r.err = fmt.Errorf("byte %d: %w: %q", r.i, err, near)
	r.i = len(r.b)
}

// space steps over white space and returns what follows, 0 at the end.
func (r *jsonReader) space() byte {
	if r.i < len(r.b) && r.b[r.i] > ' ' {
		return r.b[r.i]
	}
	return r.spaces()
}

func (r *jsonReader) spaces() byte {
	for ; r.i < len(r.b); r.i++ {
		if c := r.b[r.i]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
	}
	return 0
}

// begin reads the opening bracket of an object or array and tells whether anything is in it; null is an empty one.
func (r *jsonReader) begin(open byte) bool {
	switch r.space() {
	case open:
		r.i++
		if r.space() == open+2 { // as } is to {, and ] to [
			r.i++
			return false
		}
		return r.err == nil
	case 'n':
		r.literal("null")
	default:
		r.wrong()
	}
	return false
}

// next reads what follows an element and tells whether another one comes.
func (r *jsonReader) next(end byte) bool {
	switch r.space() {
	case ',':
		r.i++
		return r.err == nil
	case end:
		r.i++
	default:
		r.fail(errJSON)
	}
	return false
}

// key reads a field's name and the colon. The name is valid until the next call.
func (r *jsonReader) key() []byte {
	if r.space() != '"' {
		r.fail(errJSON)
		return nil
	}
	key := r.text()
	if r.space() != ':' {
		r.fail(errJSON)
		return nil
	}
	r.i++
	return key
}

// text reads a string, at whose quote the reader is.
func (r *jsonReader) text() []byte {
	start := r.i + 1
	for i := start; i < len(r.b); i++ {
		switch c := r.b[i]; {
		case c == '"':
			r.i = i + 1
			return r.b[start:i]
		case c == '\\':
			return r.escapedText()
		case c < ' ':
			r.i = i
			r.fail(errJSON)
			return nil
		}
	}
	r.i = len(r.b)
	r.fail(errJSONEnd)
	return nil
}

// escapedText is text for a string with escapes, which the kubelet has no reason to write.
func (r *jsonReader) escapedText() []byte {
	start := r.i
	r.string()
	var s string
	if r.err != nil {
		return nil
	}
	if err := json.Unmarshal(r.b[start:r.i], &s); err != nil {
		r.i = start
		r.fail(errJSON)
		return nil
	}
	return []byte(s)
}

// string steps over a string, at whose quote the reader is.
func (r *jsonReader) string() {
	for i := r.i + 1; i < len(r.b); {
		end := bytes.IndexByte(r.b[i:], '"')
		if end < 0 {
			break
		}
		escape := bytes.IndexByte(r.b[i:i+end], '\\')
		if escape < 0 {
			r.i = i + end + 1
			return
		}
		i += escape + 2
	}
	r.i = len(r.b)
	r.fail(errJSONEnd)
}

// name reads a string and keeps it.
func (r *jsonReader) name() span {
	from := int32(len(r.m.names))
	switch r.space() {
	case '"':
		r.m.names = append(r.m.names, r.text()...)
	case 'n':
		r.literal("null")
	default:
		r.wrong()
	}
	return span{from, int32(len(r.m.names))}
}

// uint reads a number. One that is no count, or so great that it is a difference gone below zero, is refused.
func (r *jsonReader) uint() schemas.Optional {
	c := r.space()
	start := r.i
	var v uint64
	for ; r.i < len(r.b) && r.b[r.i] >= '0' && r.b[r.i] <= '9'; r.i++ {
		if v > (math.MaxUint64-9)/10 {
			v = math.MaxUint64 // stays too great
			continue
		}
		v = v*10 + uint64(r.b[r.i]-'0')
	}
	switch {
	case r.err != nil:
	case c == 'n':
		r.literal("null")
	case c != '-' && r.i == start:
		r.wrong()
	case c == '-' || r.i < len(r.b) && slices.Contains([]byte(".eE"), r.b[r.i]):
		r.number(start)
		reason := dropOutOfRange
		if c == '-' {
			reason = dropNegative
		}
		r.m.refused[reason]++
	case v > math.MaxInt64:
		r.m.refused[dropOutOfRange]++
	default:
		return schemas.Optional{Value: v, Valid: true}
	}
	return schemas.Optional{}
}

// number steps over a number that begins at start.
func (r *jsonReader) number(start int) {
	for r.i = start; r.i < len(r.b) && bytes.IndexByte([]byte("+-.eE0123456789"), r.b[r.i]) >= 0; r.i++ {
	}
	if !json.Valid(r.b[start:r.i]) {
		r.i = start
		r.fail(errJSON)
	}
}

// bool reads a truth value, as 1 or 0.
func (r *jsonReader) bool() schemas.Optional {
	switch r.space() {
	case 't':
		r.literal("true")
		return schemas.Optional{Value: 1, Valid: true}
	case 'f':
		r.literal("false")
		return schemas.Optional{Valid: true}
	case 'n':
		r.literal("null")
	default:
		r.wrong()
	}
	return schemas.Optional{}
}

// time reads a time in RFC 3339, as Unix nanoseconds; 0 for null.
func (r *jsonReader) time() int64 {
	switch r.space() {
	case 'n':
		r.literal("null")
		return 0
	case '"':
	default:
		r.wrong()
		return 0
	}
	start := r.i
	text := r.text()
	if r.err != nil {
		return 0
	}
	t, ok := parseUTC(text)
	if !ok {
		var err error
		if t, err = time.Parse(time.RFC3339, string(text)); err != nil {
			r.i = start
			r.fail(errors.New("this is no time as of RFC 3339"))
			return 0
		}
	}
	// What int64 can't hold is further away than anything that is believed.
	switch year := t.Year(); {
	case t.IsZero():
		return 0 // as Kubernetes writes a time that isn't set
	case year < 1700:
		return math.MinInt64
	case year > 2200:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// parseUTC reads a time of whole seconds with a Z behind it, which is what the kubelet writes.
func parseUTC(b []byte) (time.Time, bool) {
	const layout = "0000-00-00T00:00:00Z"
	if len(b) != len(layout) {
		return time.Time{}, false
	}
	var numbers [6]int
	field := 0
	for i, c := range b {
		switch {
		case layout[i] != '0':
			if c != layout[i] {
				return time.Time{}, false
			}
			field++
		case c < '0' || c > '9':
			return time.Time{}, false
		default:
			numbers[field] = numbers[field]*10 + int(c-'0')
		}
	}
	year, month, day, hour, minute, second := numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
	if month < 1 || month > 12 || day < 1 || day > 28 && day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC), true
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// literal reads null, true or false.
func (r *jsonReader) literal(want string) {
	if !bytes.HasPrefix(r.b[r.i:], []byte(want)) {
		r.fail(errJSON)
		return
	}
	r.i += len(want)
}

// wrong fails at a value of another kind than is wanted.
func (r *jsonReader) wrong() {
	if c := r.space(); c != 0 && bytes.IndexByte([]byte(`{["-0123456789tfn`), c) < 0 {
		r.fail(errJSON)
		return
	}
	r.fail(errJSONKind)
}

// endsWord tells what ends a number, null, true or false.
var endsWord = func() (t [256]bool) {
	for _, c := range []byte(" \n\t\r,:{}[]\"") {
		t[c] = true
	}
	return t
}()

// skip steps over a value, however deep it is, with a look at its brackets alone.
func (r *jsonReader) skip() {
	for depth := 0; r.err == nil; {
		switch c := r.space(); c {
		case '"':
			r.string()
		case '{', '[':
			depth++
			r.i++
			continue
		case '}', ']':
			if depth == 0 {
				r.fail(errJSON)
				return
			}
			depth--
			r.i++
		case ',', ':':
			if depth == 0 {
				r.fail(errJSON)
				return
			}
			r.i++
			continue
		case 0:
			r.fail(errJSONEnd)
			return
		default: // a number, or a word
			start := r.i
			for r.i < len(r.b) && !endsWord[r.b[r.i]] {
				r.i++
			}
			if r.i == start {
				r.fail(errJSON)
				return
			}
		}
		if depth == 0 {
			return
		}
	}
}
