package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/internal/stall"
)

// takeover is how soon the nodes of a lost ingester have another one, and how soon one that is cut off stops.
const takeover = 2 * resolution

// severalIngesters: three share the nodes by themselves. One is killed, started again, ended in order, cut off from NATS;
// then NATS is gone for all. The Metrics API never notices: every pod always there, with the truth, and with windows that
// leave no time out.
func severalIngesters(t *testing.T, u *usageWorld) {
	u.agents(t, "several", "well", wellNodes)
	o := u.own(t, "several")
	cable := newLine(t, fmt.Sprintf("127.0.0.1:%d", o.natsPort))
	a, b, c := o.ingester("east", "group=well", 0), o.ingester("north", "group=well", 0), o.ingester("west", "group=well", cable.port)
	api, port := o.server("metricsapi")
	start(t, o.nats, o.state, api, a.Process, b.Process, c.Process)
	shares := u.shared(t, "at the start", a, b, c)
	ask := o.direct(t, port)
	eventually(t, 30*time.Second, func() error {
		items, err := decodeAnswer(ask(t.Context()))
		if err != nil {
			return err
		}
		return u.truthIn("several", items)
	})
	all := func() map[string][]string {
		shares = u.shared(t, "all three", a, b, c)
		return shares
	}
	u.disjoint(t, "several", all)
	onlooker := lookOn(t, "several", ask, func(items []podMetrics) error { return u.truthIn("several", items) })

	// Killed.
	lost := shares[a.user]
	a.Kill()
	killed := time.Now()
	took := u.takenOver(t, "several", lost, killed, b, c)
	t.Logf("killed: its %d nodes were scraped by others at most %v later", len(lost), took)
	u.shared(t, "without the killed one", b, c)
	out, err := o.Kubectl(t.Context(), fmt.Sprintf("--server=https://127.0.0.1:%d", port), "--insecure-skip-tls-verify", "top", "pod", "-n", "several")
	if err != nil {
		t.Fatal(err)
	}
	if table := rows(out); len(table) != wellNodes || table[0][1] != "425m" || table[0][2] != "264Mi" {
		t.Errorf("kubectl top says:\n%s", out)
	}

	// Started again.
	begin := time.Now()
	start(t, a.Process)
	shares = u.shared(t, "started again", a, b, c)
	t.Logf("started again: it had %d nodes %v later", len(shares[a.user]), time.Since(begin).Round(time.Millisecond))

	// Ended in order: no node waits for longer than it always does.
	given := shares[b.user]
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	stopped := time.Now()
	u.shared(t, "without the one that ended", a, c)
	took = u.takenOver(t, "several", given, stopped, a, c)
	if longest := u.longestGap("several", given, stopped); longest > resolution*3/2+slack+stall.Since(stopped.Add(-resolution)) {
		t.Errorf("ended in order, and one of its nodes was not scraped for %v", longest)
	} else {
		t.Logf("ended in order: its %d nodes were scraped by others at most %v later, and none waited longer than %v", len(given), took, longest)
	}
	start(t, b.Process)
	shares = u.shared(t, "started after it ended", a, b, c)

	// Cut off.
	lost = shares[c.user]
	cable.cut()
	away := time.Now()
	took = u.takenOver(t, "several", lost, away, a, b)
	until(t, away.Add(takeover+slack+resolution))
	if last := u.last(c.user); last.Sub(away) > takeover+slack+stall.Since(away) {
		t.Errorf("cut off, it scraped for %v more", last.Sub(away))
	} else {
		t.Logf("cut off: its %d nodes were scraped by others at most %v later, its own last scrape was %v later", len(lost), took, last.Sub(away).Round(time.Millisecond))
	}
	// What it had sent off before, and what got stuck on the way, arrives now; nobody may take it for the latest.
	cable.heal()
	healed := time.Now()
	shares = u.shared(t, "healed", a, b, c)
	u.seen(t, ask, "several", u.well(), healed)
	u.disjoint(t, "several", all)

	// NATS is gone for all: nobody knows who else is there, so nobody scrapes.
	o.nats.Kill()
	away = time.Now()
	until(t, away.Add(takeover+slack+resolution))
	for _, i := range []*ingester{a, b, c} {
		if last := u.last(i.user); last.Sub(away) > takeover+slack+stall.Since(away) {
			t.Errorf("without NATS, %s scraped for %v more", i.name, last.Sub(away))
		}
	}
	start(t, o.nats)
	back := time.Now()
	shares = u.shared(t, "with NATS again", a, b, c)
	u.disjoint(t, "several", all)
	t.Logf("NATS was away for %v", back.Sub(away).Round(time.Millisecond))
	eventually(t, 20*time.Second, func() error {
		items, err := decodeAnswer(ask(t.Context()))
		if err != nil {
			return err
		}
		for _, p := range items {
			if p.Metadata.Namespace == "several" && p.Timestamp.Before(back) {
				return fmt.Errorf("%s is still of %v", p.Metadata.Name, p.Timestamp)
			}
		}
		return nil
	})
	onlooker.end(t, false)
}

// shared waits until ingesters have divided the well nodes among them, each with some, and returns who has which.
func (u *usageWorld) shared(t *testing.T, when string, among ...*ingester) map[string][]string {
	t.Helper()
	shares, begin := map[string][]string{}, time.Now()
	took := eventually(t, 20*time.Second, func() error {
		clear(shares)
		owner := map[string]string{}
		for _, i := range among {
			page, err := debug(i.url, "")
			if err != nil {
				return err
			}
			for _, n := range page.Nodes {
				if other := owner[n.Node]; other != "" {
					return fmt.Errorf("%s: both %s and %s have %s", when, other, i.name, n.Node)
				}
				owner[n.Node] = i.name
				shares[i.user] = append(shares[i.user], n.Node)
			}
			if len(shares[i.user]) == 0 {
				return fmt.Errorf("%s: %s has no nodes: %v", when, i.name, page.Notes)
			}
			body, err := get(i.url + "/metrics")
			if err != nil {
				return err
			}
			for _, line := range []string{
				fmt.Sprintf("headwater_ingest_members %d\n", len(among)),
				fmt.Sprintf("headwater_ingest_share_nodes{share=\"own\"} %d\n", len(shares[i.user])),
				fmt.Sprintf("headwater_ingest_share_nodes{share=\"others\"} %d\n", wellNodes-len(shares[i.user])),
			} {
				if !strings.Contains(body, line) {
					return fmt.Errorf("%s: %s doesn't say %s", when, i.name, line)
				}
			}
		}
		if len(owner) != wellNodes {
			return fmt.Errorf("%s: %d of %d nodes have an ingester", when, len(owner), wellNodes)
		}
		return nil
	})
	if slow := takeover + 3*time.Second; took > slow+stall.Since(begin) {
		t.Errorf("%s: the nodes were divided after %v only", when, took)
	}
	return shares
}

// disjoint looks on for a while: each node is scraped by its ingester only, once a resolution. Where the machine stood still
// meanwhile, the nodes may be divided otherwise, and it looks on again.
func (u *usageWorld) disjoint(t *testing.T, test string, divided func() map[string][]string) {
	t.Helper()
	for try := 1; ; try++ {
		shares := divided()
		from := time.Now().Add(resolution / 4) // what is in progress is over
		to := from.Add(2 * resolution)
		until(t, to)
		wrong := u.overlaps(test, shares, from, to)
		if wrong == nil {
			return
		}
		lost := stall.Since(from)
		if lost < resolution/4 || try == 5 {
			t.Error(wrong)
			return
		}
		t.Logf("look on again, the machine stood still for %v: %v", lost, wrong)
	}
}

// overlaps says which nodes were scraped by another ingester than their own, or not once a resolution.
func (u *usageWorld) overlaps(test string, shares map[string][]string, from, to time.Time) error {
	var wrong []error
	count := map[string]int{}
	for _, v := range u.visits.between(test, from, to) {
		count[v.node]++
		if !slices.Contains(shares[v.user], v.node) {
			wrong = append(wrong, fmt.Errorf("%s scraped %s, which is not its own", v.user, v.node))
		}
	}
	for user, nodes := range shares {
		for _, node := range nodes {
			if n := count[node]; n < 1 || n > 3 {
				wrong = append(wrong, fmt.Errorf("%s of %s was scraped %d times in two resolutions", node, user, n))
			}
		}
	}
	return errors.Join(wrong...)
}

// takenOver waits until others have scraped each of the nodes since a moment, and returns how long after it that was.
func (u *usageWorld) takenOver(t *testing.T, test string, nodes []string, since time.Time, by ...*ingester) (took time.Duration) {
	t.Helper()
	eventually(t, takeover+slack+resolution, func() error {
		first := map[string]time.Time{}
		for _, v := range u.visits.between(test, since, time.Now()) {
			if _, ok := first[v.node]; !ok && slices.ContainsFunc(by, func(i *ingester) bool { return i.user == v.user }) {
				first[v.node] = v.at
			}
		}
		took = 0
		for _, node := range nodes {
			at, ok := first[node]
			if !ok {
				return fmt.Errorf("nobody has scraped %s since", node)
			}
			took = max(took, at.Sub(since))
		}
		return nil
	})
	if took > takeover+slack+stall.Since(since) {
		t.Errorf("it took %v until all had been scraped by others", took)
	}
	return took.Round(time.Millisecond)
}

// longestGap is the longest time between two scrapes of a node, the last one before a moment included.
func (u *usageWorld) longestGap(test string, nodes []string, since time.Time) (longest time.Duration) {
	last := map[string]time.Time{}
	for _, v := range u.visits.between(test, since.Add(-2*resolution), time.Now()) {
		if before, ok := last[v.node]; ok && v.at.After(since) && slices.Contains(nodes, v.node) {
			longest = max(longest, v.at.Sub(before))
		}
		last[v.node] = v.at
	}
	return longest.Round(time.Millisecond)
}

// last is when somebody was last at any node.
func (u *usageWorld) last(user string) (last time.Time) {
	for _, v := range u.visits.between(strings.SplitN(user, "-", 2)[0], time.Time{}, time.Now()) {
		if v.user == user {
			last = v.at
		}
	}
	return last
}

// fixedShares: --shard and --total-shards divide the nodes without knowing of each other, and an ingester with --node and
// --kubelet-address, as in a DaemonSet, has just the one, wherever its Node object says that it is.
func fixedShares(t *testing.T, u *usageWorld) {
	u.agents(t, "fixed", "well", wellNodes)
	o := u.own(t, "fixed")
	zero := o.ingester("zero", "group=well", 0, "--shard=0", "--total-shards=2")
	one := o.ingester("one", "group=well", 0, "--shard=1", "--total-shards=2")
	api, port := o.server("metricsapi")
	start(t, o.nats, o.state, api, zero.Process, one.Process)
	ask := o.direct(t, port)
	isTrue := func() error {
		items, err := decodeAnswer(ask(t.Context()))
		if err != nil {
			return err
		}
		return u.truthIn("fixed", items)
	}
	eventually(t, 30*time.Second, isTrue)
	shares := map[string][]string{}
	for _, i := range []*ingester{zero, one} {
		page, err := debug(i.url, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range page.Nodes {
			shares[i.user] = append(shares[i.user], n.Node)
		}
	}
	if has := slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Values(shares))...))); !slices.Equal(has, u.well()) {
		t.Errorf("the shards are %v", shares)
	}
	u.disjoint(t, "fixed", func() map[string][]string { return shares })

	// Nobody takes the other shard over, and this one's nodes go on.
	one.Kill()
	killed := time.Now().Add(resolution / 4) // what it had sent off is over
	until(t, killed.Add(takeover))
	for _, v := range u.visits.between("fixed", killed, time.Now()) {
		if v.user != zero.user || !slices.Contains(shares[zero.user], v.node) {
			t.Errorf("%s scraped %s", v.user, v.node)
		}
	}
	zero.Kill()

	// One for each of two nodes. There is no ExternalIP.
	shares = map[string][]string{}
	for i, node := range u.well()[:2] {
		address := u.Kubelets.Addresses()[i]
		local := o.ingester("local-"+fmt.Sprint(i), "", 0, "--kubelet-preferred-address-types=ExternalIP", "--kubelet-use-node-status-port=false",
			"--kubelet-address=127.0.0.1", "--kubelet-port="+address[strings.LastIndexByte(address, ':')+1:], "--node="+node)
		start(t, local.Process)
		shares[local.user] = []string{node}
	}
	begun := time.Now()
	u.seen(t, ask, "fixed", u.well()[:2], begun)
	u.disjoint(t, "fixed", func() map[string][]string { return shares })
	if err := isTrue(); err != nil {
		t.Error(err)
	}
}

// seen waits until the pods of a namespace that are on some nodes have usage from after a moment.
func (u *usageWorld) seen(t *testing.T, ask func(context.Context) ([]byte, error), namespace string, nodes []string, after time.Time) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		items, err := decodeAnswer(ask(t.Context()))
		if err != nil {
			return err
		}
		n := 0
		for _, item := range items {
			pod, ok := u.Kubelets.Pod(namespace, item.Metadata.Name)
			if item.Metadata.Namespace != namespace || !ok || !slices.Contains(nodes, pod.Node) {
				continue
			}
			if item.Timestamp.Before(after) {
				return fmt.Errorf("%s is of %v", pod.Name, item.Timestamp)
			}
			n++
		}
		if n < len(nodes) {
			return errors.Join(errNothing, fmt.Errorf("%d pods on %v", n, nodes))
		}
		return nil
	})
}
