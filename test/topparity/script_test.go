package topparity

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// The families of a kubelet's resource endpoint that both sides read, in the order in which a kubelet tells them.
const (
	containerCPU = iota
	containerMemory
	containerStart
	nodeCPU
	nodeMemory
	families
)

var familyNames = [families]string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_start_time_seconds",
	"node_cpu_usage_seconds_total", "node_memory_working_set_bytes"}

// line is one series as it is told: its value in text and its time in Unix milliseconds, 0 for none.
type line struct {
	family int
	value  string
	at     int64
}

// container is one counter with what belongs to it: a container, or a node's own.
type container struct {
	name   string
	start  int64  // Unix milliseconds
	born   int64  // the first start, before which its pod was not
	cpu    uint64 // nanoseconds of CPU time
	rate   uint64 // nanoseconds a second
	memory uint64 // bytes
	at     int64  // Unix milliseconds of the last reading
	offset int64  // milliseconds between the round's time and its readings', so that no two containers of a pod share theirs
	node   bool
	script map[int]string // what happens, by round
	said   []line         // the last reading
}

// read makes the reading of a round.
func (c *container) read(event string, now int64) []line {
	if event == "repeat" {
		return c.said
	}
	c.said = c.tell(event, now+c.offset)
	return c.said
}

// tell is read for what is new. The events are those of kubelets and containers, and of clocks.
func (c *container) tell(event string, now int64) []line {
	if c.at > 0 {
		c.cpu += c.rate * uint64(now-c.at) / 1000
	}
	c.at = now
	c.memory += 4096 * 3
	switch event {
	case "gone":
		return nil
	case "restart": // it crashed and was started again
		c.start = max(now-3000, c.born)
		c.cpu = c.rate * uint64(now-c.start) / 1000
	case "recreate": // the same with a pod that has just been made
		c.start, c.cpu = now, c.rate/100
	case "reset": // the counter alone: a bug of a runtime
		c.cpu = c.rate / 10
	case "start-later":
		c.start += 1000
	case "start-earlier":
		c.start -= 500
	}
	cpu, memory, start, at, memoryAt := seconds(c.cpu), strconv.FormatUint(c.memory, 10), strconv.FormatFloat(float64(c.start)/1000, 'f', -1, 64), now, now
	var before, after []line
	switch event {
	case "", "restart", "recreate", "reset", "start-later", "start-earlier":
	case "zero-cpu":
		cpu = "0"
	case "zero-memory":
		memory = "0"
	case "no-cpu":
		cpu = ""
	case "no-memory":
		memory = ""
	case "no-start":
		start = ""
	case "only-start":
		cpu, memory = "", ""
	case "late-memory":
		memoryAt += 3001
	case "early-memory":
		memoryAt -= 3001
	case "backwards":
		at, memoryAt, cpu = now-17001, now-17001, seconds(c.cpu-17*c.rate)
	case "forward":
		at, memoryAt, cpu = now+40000, now+40000, seconds(c.cpu+40*c.rate)
	case "next-hour":
		at, memoryAt, cpu = now+3600_000, now+3600_000, seconds(c.cpu+3600*c.rate)
	case "last-hour":
		at, memoryAt = now-3600_000, now-3600_000
	case "twice": // what counts is the last line of each family
		before = []line{{c.familyOf(containerCPU), seconds(c.cpu / 2), now - 5000}, {c.familyOf(containerMemory), "4096", now - 5000}}
	case "twice-zero":
		after = []line{{c.familyOf(containerCPU), "0", now}}
	case "exponent":
		memory, cpu = strconv.FormatFloat(float64(c.memory), 'e', -1, 64), strconv.FormatFloat(float64(c.cpu)/1e9, 'E', -1, 64)
	case "fraction":
		memory += ".75"
	case "large":
		memory = "1e19" // more than fits 63 bits
	case "nan":
		cpu = "NaN"
	case "infinite":
		memory = "+Inf"
	case "negative":
		memory = "-5"
	case "without-time":
		at, memoryAt = 0, 0
	case "before-christ":
		memoryAt = -62135596800000
	default:
		return []line{{containerCPU, "there is no event " + event, 0}}
	}
	said := before
	if cpu != "" {
		said = append(said, line{c.familyOf(containerCPU), cpu, at})
	}
	if memory != "" {
		said = append(said, line{c.familyOf(containerMemory), memory, memoryAt})
	}
	if start != "" && !c.node {
		said = append(said, line{containerStart, start, 0})
	}
	return append(said, after...)
}

func (c *container) familyOf(f int) int {
	if c.node {
		return f + nodeCPU - containerCPU
	}
	return f
}

func seconds(nanoseconds uint64) string {
	return strconv.FormatFloat(float64(nanoseconds)/1e9, 'g', -1, 64)
}

// pod is one pod through the rounds.
type pod struct {
	namespace, name string
	node            string // where it runs
	told            string // the node whose kubelet tells of it
	phase           string // "pending"; it runs where empty
	containers      []*container
	differs         map[int]string // the differences that are expected, by round
	model           model
	history         []string // what was told, for when sides disagree
}

func (p *pod) key() string { return "pods " + p.namespace + "/" + p.name }

// node is one node through the rounds.
type node struct {
	name    string
	own     *container
	script  map[int]string // of its answers, by round
	differs map[int]string // expected of itself and of its pods
	itself  map[int]string // expected of itself only
	away    map[int]string // rounds in which it is not scraped
	pods    []*pod         // that it tells of
}

// events reads a script: "3 restart, 5-6 gone" is what happens in rounds 3, 5 and 6.
func events(script string) map[int]string {
	all := map[int]string{}
	for part := range strings.SplitSeq(script, ",") {
		when, what, ok := strings.Cut(strings.TrimSpace(part), " ")
		if !ok {
			continue
		}
		from, to, several := strings.Cut(when, "-")
		first, _ := strconv.Atoi(from)
		last := first
		if several {
			last, _ = strconv.Atoi(to)
		}
		for round := first; round <= last; round++ {
			all[round] = what
		}
	}
	return all
}

// answer is what the node's kubelet answers in a round, and brings its pods' models up to date.
func (n *node) answer(round int, now int64) cluster.Fault {
	var said [families][]string
	add := func(labels string, lines []line) {
		for _, l := range lines {
			text := familyNames[l.family] + labels + " " + l.value
			if l.at != 0 {
				text += " " + strconv.FormatInt(l.at, 10)
			}
			said[l.family] = append(said[l.family], text)
		}
	}
	event := n.script[round]
	add("", n.own.read(n.own.script[round], now))
	silent := event != "" && event != "not-ready"
	for _, p := range n.pods {
		told := map[string][]line{}
		for _, c := range p.containers {
			lines := c.read(c.script[round], now)
			if len(lines) > 0 {
				told[c.name] = lines
			}
			add(fmt.Sprintf("{container=%q,namespace=%q,pod=%q}", c.name, p.namespace, p.name), lines)
		}
		p.history = append(p.history, fmt.Sprintf("round %d: %v", round, told))
		if silent {
			told = nil
		}
		p.model.store(told)
	}
	var text strings.Builder
	for f, lines := range said {
		if len(lines) > 0 {
			fmt.Fprintf(&text, "# HELP %[1]s as a kubelet says it\n# TYPE %[1]s gauge\n%s\n", familyNames[f], strings.Join(lines, "\n"))
		}
	}
	body := text.String()
	switch event {
	case "500":
		return cluster.Status(http.StatusInternalServerError)
	case "403":
		return cluster.Status(http.StatusForbidden)
	case "hang":
		return cluster.Hang
	case "html":
		return cluster.HTML
	case "syntax":
		body = strings.Replace(body, `namespace="`, `namespace=`, 1)
	case "empty":
		body = ""
	case "scrape-error":
		body += "# TYPE scrape_error gauge\nscrape_error 1\n# TYPE resource_scrape_error gauge\nresource_scrape_error 1\n"
	case "no-container":
		body = strings.Replace(body, `container="lonely",`, "", 1)
	case "elsewhere":
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/elsewhere/metrics" || r.URL.RawQuery != "" {
				http.NotFound(w, r)
				return
			}
			cluster.Body(body)(w, r)
		}
	}
	return cluster.Body(body)
}

// model follows what metrics-server remembers of a pod, for one thing: a flaw that nobody wants to share. A container
// that has no previous point beside one that has is given one of the year 1 when the kubelet repeats a reading.
type model struct {
	last map[string]mark
	prev map[string]mark // nil: the pod has none
}

// mark is a point, as far as it matters; none is a point that never was.
type mark struct {
	at, start int64
	none      bool
}

// store takes what was told in a round; nil for nothing.
func (m *model) store(told map[string][]line) {
	points := map[string]mark{}
	for name, lines := range told {
		var p mark
		var cpu, memory float64
		for _, l := range lines {
			value, _ := strconv.ParseFloat(l.value, 64)
			switch l.family {
			case containerCPU:
				cpu = value
			case containerMemory:
				memory, p.at = value, l.at
			case containerStart:
				p.start = int64(value * 1000)
			}
		}
		if cpu == 0 || memory == 0 {
			*m = model{}
			return
		}
		points[name] = p
	}
	if len(points) == 0 {
		*m = model{}
		return
	}
	prev := map[string]mark{}
	for name, p := range points {
		last, known := m.last[name]
		switch {
		case !known || p.start >= last.at:
		case p.at > last.at:
			prev[name] = last
		case m.prev != nil:
			if old, ok := m.prev[name]; !ok {
				prev[name] = mark{none: true}
			} else if old.none || old.at < p.at {
				prev[name] = old
			}
		}
	}
	m.last, m.prev = points, prev
	if len(prev) == 0 {
		m.prev = nil
	}
}

// flawed tells whether an answer of metrics-server rests on a point that never was.
func (m *model) flawed() bool {
	for _, p := range m.prev {
		if p.none {
			return true
		}
	}
	return false
}
