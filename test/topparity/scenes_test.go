package topparity

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// The nodes, by what happens to them.
const (
	plain      = iota // pods to which things happen
	random            // pods to which anything happens
	counting          // the node's own counter
	lacking           // the node's own figures, and it is not ready
	failing           // fails now and then
	hanging           // hangs once
	dead              // is away for longer than a sample is served
	homeless          // has no address for a while
	deleted           // its Node goes
	elsewhere         // has its metrics at another path
	unselected        // isn't wanted by --node-selector
	broken            // tells what can't be
	remade            // its Node goes, and another of its name comes before it is scraped again
	replaced          // the same, and a round lies between
	nodes
)

// Rounds of the script. Round 1 is the first that tells anything.
const rounds = 10

// nodeScripts are what kubelets do, and what is told of nodes themselves.
var nodeScripts = [nodes]struct{ answers, own, differs, itself, away string }{
	counting: {own: "3 reset, 5 repeat, 6-7 backwards, 8 forward"},
	lacking:  {answers: "4-6 not-ready, 7 scrape-error", own: "4 zero-cpu, 6 no-memory, 8 twice, 9 late-memory"},
	failing:  {answers: "3 500, 5 syntax, 7 html", differs: "3 kept, 4 resumed, 5 kept, 6 resumed, 7 kept, 8 resumed"},
	hanging:  {answers: "4 empty, 6 hang, 8 403", differs: "4 kept, 5 resumed, 6 kept, 7 resumed, 8 kept, 9 resumed"},
	// A sample is served for maxAge, a little more than four rounds.
	dead:     {answers: "4-7 500", differs: "4-5 kept, 6 kept?, 8 resumed"},
	homeless: {away: "4-5 no address", differs: "4-5 kept, 6 resumed"},
	// Its pods have no kubelet, and nobody deletes them: their samples last as long as any.
	deleted:   {away: "5-99 deleted", differs: "5-6 kept, 7 kept?", itself: "5-99 agree"},
	elsewhere: {answers: "1-99 elsewhere"},
	// Where a kubelet tells what it can't, the peer takes nothing or everything.
	broken:   {answers: "7 no-container", differs: "3 kept, 4 resumed, 7 unlabelled, 8 unlabelled-gap"},
	random:   {},
	remade:   {},
	replaced: {away: "5 deleted", differs: "5 kept, 6 resumed", itself: "5 agree"},
}

// scenes are the pods of the first nodes: the name says what happens, and each script is that of a container.
var scenes = []struct {
	node    int
	name    string
	scripts []string
	differs string
}{
	{plain, "steady", []string{""}, ""},
	{plain, "steady-three", []string{"", "", ""}, ""},
	{plain, "restarts", []string{"4 restart"}, ""},
	{plain, "restarts-often", []string{"4-6 restart"}, ""},
	{plain, "one-of-two-restarts", []string{"", "4 restart"}, ""},
	{plain, "both-restart", []string{"4 restart", "5 restart"}, ""},
	{plain, "restarts-and-repeats", []string{"4 restart, 5 repeat"}, ""},
	{plain, "one-of-two-restarts-and-repeats", []string{"", "4 restart, 5 repeat"}, "5 year-one"},
	{plain, "counter-goes-back", []string{"4 reset"}, ""},
	{plain, "one-of-two-counters-goes-back", []string{"", "4 reset"}, ""},
	{plain, "start-goes-forth", []string{"4 start-later"}, ""},
	{plain, "start-goes-back", []string{"4 start-earlier"}, ""},
	{plain, "zero-cpu", []string{"4 zero-cpu"}, ""},
	{plain, "zero-memory", []string{"4 zero-memory"}, ""},
	{plain, "one-of-two-has-zero-cpu", []string{"", "4-5 zero-cpu"}, ""},
	{plain, "one-of-two-has-zero-memory", []string{"4 zero-memory", ""}, ""},
	{plain, "always-zero-cpu", []string{"1-99 zero-cpu"}, ""},
	{plain, "no-cpu", []string{"4 no-cpu"}, ""},
	{plain, "no-memory", []string{"4 no-memory"}, ""},
	{plain, "one-of-two-has-only-a-start", []string{"", "4 only-start"}, ""},
	{plain, "no-start", []string{"1-99 no-start"}, ""},
	{plain, "start-comes-late", []string{"1-4 no-start"}, ""},
	{plain, "new-container", []string{"", "1-3 gone"}, ""},
	{plain, "container-ends", []string{"", "5-99 gone"}, ""},
	{plain, "container-goes-and-comes", []string{"", "5 gone"}, ""},
	{plain, "container-goes-and-comes-anew", []string{"", "5-6 gone, 7 restart"}, ""},
	{plain, "pod-goes-and-comes", []string{"5 gone"}, ""},
	{plain, "late", []string{"1-4 gone"}, ""},
	{plain, "repeats", []string{"4 repeat"}, ""},
	{plain, "repeats-at-first", []string{"2-3 repeat"}, ""},
	{plain, "repeats-for-long", []string{"4-8 repeat"}, ""},
	{plain, "one-of-two-repeats", []string{"", "4-5 repeat"}, ""},
	{plain, "goes-back-in-time", []string{"5 backwards"}, ""},
	{plain, "goes-back-twice", []string{"5-6 backwards"}, ""},
	{plain, "one-of-two-goes-back-in-time", []string{"6 backwards", ""}, ""},
	{plain, "goes-forth-in-time", []string{"4 forward"}, ""},
	{plain, "stays-forth-in-time", []string{"4-6 forward"}, ""},
	{plain, "goes-to-and-fro", []string{"4 forward, 6 backwards, 8 forward"}, ""},
	{plain, "memory-is-later", []string{"3-99 late-memory"}, ""},
	{plain, "memory-is-earlier", []string{"4 early-memory, 6 early-memory"}, ""},
	{plain, "told-twice", []string{"4 twice", ""}, ""},
	{plain, "told-twice-always", []string{"1-99 twice"}, ""},
	{plain, "told-twice-zero-at-last", []string{"4 twice-zero"}, ""},
	{plain, "exponents", []string{"1-99 exponent"}, ""},
	{plain, "fractions", []string{"1-99 fraction"}, ""},
	{plain, "large", []string{"4 large"}, ""},
	{plain, "restarts-with-zero", []string{"4 restart, 5 zero-cpu"}, ""},
	{plain, "counter-goes-back-and-repeats", []string{"4 reset, 5 repeat"}, ""},
	{plain, "next-hour", []string{"5 next-hour"}, "5-6 distant-clock"},
	{plain, "last-hour", []string{"5 last-hour"}, ""},
	{plain, "not-a-number", []string{"5 nan"}, "5-6 impossible"},
	{plain, "infinite", []string{"5 infinite"}, "5-6 impossible"},
	{plain, "negative", []string{"5 negative"}, "5-6 impossible"},
	{plain, "tie-1", []string{"", tie}, tied},
	{plain, "tie-2", []string{"", tie}, tied},
	{plain, "tie-3", []string{"", tie}, tied},
	{plain, "tie-4", []string{"", tie}, tied},
	{plain, "tie-5", []string{"", tie}, tied},
	{plain, "timeless", []string{"1-99 without-time"}, "2-99 own-time"},
	{plain, recreated, []string{"5 recreate"}, ""},
	{plain, removed, []string{""}, ""},
	{plain, completed, []string{"", ""}, ""},
	{plain, pending, []string{""}, ""},
	{plain, relabelled, []string{""}, ""},
	{broken, "told-by-another", []string{""}, "2 foreign, 3-4 agree, 5-99 foreign"},
	{broken, "before-christ", []string{"3 before-christ"}, ""},
	{broken, "lonely", []string{""}, "7 kept, 8 resumed"},
}

// The names of those pods to which the API server's side of things happens.
const (
	recreated  = "recreated"
	removed    = "removed"
	completed  = "completed"
	pending    = "pending"
	relabelled = "relabelled"
)

// The second container's readings are as old as the first's, but its rate is measured from further back.
const (
	tie  = "3 repeat, 5 repeat, 7 repeat"
	tied = "4 tie?, 6 tie?, 8 tie?"
)

// home is the namespace of all pods but a few.
const home = "top"

// cast makes nodes and pods. Starts are in Unix milliseconds.
func cast(names []string, seed uint64, start int64, some int) []*node {
	r := rand.New(rand.NewPCG(seed, 4))
	all := make([]*node, nodes)
	for i, name := range names {
		s := nodeScripts[i]
		all[i] = &node{name: name, script: events(s.answers), differs: events(s.differs), itself: events(s.itself), away: events(s.away),
			own: &container{node: true, rate: uint64(1e9 + r.IntN(1e9)), memory: 1 << 30, cpu: uint64(r.Int64N(1e15)), script: events(s.own)}}
	}
	add := func(on int, namespace, name string, scripts []string, differs string) *pod {
		n := all[on]
		p := &pod{namespace: namespace, name: name, node: n.name, told: n.name, differs: events(differs)}
		for i, script := range scripts {
			c := &container{name: fmt.Sprintf("c%d", i), start: start, rate: uint64(1e6 + r.IntN(1e9)), memory: uint64(1<<20 + r.IntN(1<<30)), offset: int64(i * 7), script: events(script)}
			c.cpu = c.rate / 7
			if script == tie {
				c.offset = 0
			}
			p.containers = append(p.containers, c)
		}
		n.pods = append(n.pods, p)
		return p
	}
	for i := range all {
		add(i, "kube-system", fmt.Sprintf("beacon-%d", i), []string{""}, "")
	}
	for _, s := range scenes {
		p := add(s.node, home, s.name, s.scripts, s.differs)
		switch s.name {
		case "told-by-another":
			p.node = names[plain]
		case pending:
			p.phase = "pending"
		case "lonely":
			p.containers[0].name = "lonely"
		}
	}
	// Between each two events there are as many rounds without one, so that most of what is compared has a value.
	dice := []string{"restart", "reset", "zero-cpu", "zero-memory", "no-cpu", "no-memory", "no-start", "only-start", "gone", "repeat", "backwards", "forward",
		"late-memory", "early-memory", "twice", "twice-zero", "start-later", "start-earlier", "exponent", "fraction", "large", "repeat", "restart"}
	for i := range some {
		var scripts []string
		for range 1 + r.IntN(3) {
			var script []string
			for round := 1; round <= rounds; round++ {
				if r.IntN(3) == 0 {
					script = append(script, fmt.Sprintf("%d %s", round, dice[r.IntN(len(dice))]))
				}
			}
			scripts = append(scripts, strings.Join(script, ", "))
		}
		add(random, "dice", fmt.Sprintf("dice-%04d", i), scripts, "")
	}
	return all
}

// expected is the difference that is expected of a pod, or of the node itself where p is nil, in a round.
func (n *node) expected(p *pod, round int) expectation {
	name := n.differs[round]
	if p == nil && n.itself[round] != "" {
		name = n.itself[round]
	}
	if p != nil && p.differs[round] != "" {
		name = p.differs[round]
	}
	if name == "agree" {
		return expectation{}
	}
	if name == "" && p != nil && p.model.flawed() {
		name = "year-one?"
	}
	name, may := strings.CutSuffix(name, "?")
	return expectation{name, may}
}
