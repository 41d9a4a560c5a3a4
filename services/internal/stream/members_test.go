package stream_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestMembersComeAndGo(t *testing.T) {
	cfg := testenv.NATS(t)
	began := time.Now()
	a := attend(t, connect(t, cfg), "a")
	if took := a.sees(5*time.Second, "a"); took > time.Second && calm(began) {
		t.Errorf("alone, and a member only after %v", took)
	}
	if err := a.Ready(); err != nil {
		t.Error(err)
	}
	b := attend(t, connect(t, cfg), "b.example")
	b.sees(time.Second, "a", "b.example")
	a.sees(time.Second, "a", "b.example")
	c := attend(t, connect(t, cfg), "c")
	for _, m := range []*attendant{a, b, c} {
		m.sees(time.Second, "a", "b.example", "c")
	}
	if keys := bucketKeys(t, cfg); len(keys) != 3 {
		t.Errorf("keys in the bucket: %v", keys)
	}
	left := time.Now()
	b.leave()
	for _, m := range []*attendant{a, c} {
		m.sees(time.Second, "a", "c")
		if up := m.heardUpTo(); up.Before(left) && calm(began) { // as if its lease had run out
			t.Errorf("who has left in an orderly way was silent for %v before", left.Sub(up))
		}
	}
	if keys := bucketKeys(t, cfg); len(keys) != 2 && calm(began) {
		t.Errorf("keys in the bucket after one has left: %v", keys)
	}
	if err := b.Ready(); err == nil {
		t.Error("still ready after its end")
	}
	if problems, err := testutil.GatherAndLint(a.registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// Whoever is cut off stops before the others go on in its place, and is back when the line is.
func TestMemberCutOff(t *testing.T) {
	for _, how := range []string{"cut", "nothing arrives", "nothing comes back"} {
		t.Run(how, func(t *testing.T) {
			cfg := testenv.NATS(t)
			began := time.Now()
			line, through := newProxy(t, cfg)
			a, b := attend(t, connect(t, cfg), "a"), attend(t, connect(t, through), "b")
			a.sees(5*time.Second, "a", "b")
			b.sees(5*time.Second, "a", "b")
			confirmed := b.counter("member_announcements_total", "confirmed")
			testenv.Eventually(t, 10*time.Second, func() error { // so that it was heard, and is not only in the bucket
				if n := b.counter("member_announcements_total", "confirmed"); n < confirmed+2 {
					return fmt.Errorf("%v announcements of b confirmed", n)
				}
				return nil
			})

			cut, lost := time.Now(), b.counter("member_leases_lost_total")
			switch how {
			case "cut":
				line.refuse(true)
			case "nothing arrives":
				line.hold(toServer)
			case "nothing comes back":
				line.hold(toClient)
			}
			b.sees(3 * memberLease)
			a.sees(3*memberLease, "a")
			stopped, taken := b.lastTold().Sub(cut), a.lastTold().Sub(cut)
			still, _ := stalled(cut)
			t.Logf("it stopped after %v, the other took over after %v; the machine stood still for %v", stopped, taken, still)
			if (stopped-still > memberLease*5/4 || taken-still > memberLease*3/2) && calm(began) {
				t.Errorf("it stopped after %v, the other took over after %v, with a lease of %v", stopped, taken, memberLease)
			}
			if stopped > taken+100*time.Millisecond+still {
				t.Errorf("both were members for %v", stopped-taken)
			}
			if err := b.Ready(); err == nil {
				t.Error("cut off and ready")
			}
			if d := a.silent(); (d < memberLease*9/10 && how != "nothing comes back" || d-still > memberLease*5/4) && calm(began) {
				t.Errorf("the one that was lost had been silent for %v", d)
			}
			if n := b.counter("member_leases_lost_total") - lost; n != 1 && calm(began) {
				t.Errorf("%v leases lost", n)
			}
			line.refuse(false)
			line.cut() // what was held back is lost
			a.sees(10*time.Second, "a", "b")
			b.sees(10*time.Second, "a", "b")
			if err := b.Ready(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Who is alone has nobody to make room for: it goes on while NATS is away.
func TestMemberAloneCutOff(t *testing.T) {
	cfg := testenv.NATS(t)
	line, through := newProxy(t, cfg)
	a := attend(t, connect(t, through), "a")
	a.sees(5*time.Second, "a")
	line.refuse(true)
	confirmed := a.counter("member_announcements_total", "confirmed")
	testenv.Eventually(t, 10*time.Second, func() error {
		if n := a.counter("member_announcements_total", "failed"); n < 10 { // far beyond the lease
			return fmt.Errorf("%v failures", n)
		}
		return nil
	})
	if got := a.members(); !slices.Equal(got, []string{"a"}) || a.Ready() != nil {
		t.Errorf("it sees %v: %v", got, a.Ready())
	}
	// Somebody comes that it can't know of.
	b := attend(t, connect(t, cfg), "b")
	b.sees(5*time.Second, "b")
	line.refuse(false)
	b.sees(5*time.Second, "a", "b")
	a.sees(5*time.Second, "a", "b")
	if n := a.counter("member_announcements_total", "confirmed"); n <= confirmed {
		t.Error("nothing was confirmed again")
	}
}

// A restart of NATS within the lease is nothing to the members; a longer one ends with all being members again.
func TestMembersOverRestart(t *testing.T) {
	began := time.Now()
	p := newProcess(t)
	p.start()
	a, b := attend(t, p.connect(), "a"), attend(t, p.connect(), "b")
	a.sees(5*time.Second, "a", "b")
	b.sees(5*time.Second, "a", "b")
	p.kill()
	a.sees(5 * time.Second)
	b.sees(5 * time.Second)
	if a.Ready() == nil {
		t.Error("ready without a lease")
	}
	changes := a.changes()
	p.start()
	a.sees(10*time.Second, "a", "b")
	b.sees(10*time.Second, "a", "b")
	if n := a.changes() - changes; n > 1 && calm(began) { // they wait a quarter of a second for each other
		t.Errorf("when NATS came back, the members changed %d times", n)
	}
}

// The bucket may be deleted at any time: it is made again, and nobody notices.
func TestMembersBucketLost(t *testing.T) {
	cfg := testenv.NATS(t)
	began := time.Now()
	a, b := attend(t, connect(t, cfg), "a"), attend(t, connect(t, cfg), "b")
	a.sees(5*time.Second, "a", "b")
	b.sees(5*time.Second, "a", "b")
	changes := a.changes() + b.changes()
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("$JS.API.STREAM.DELETE.KV_K8S_"+cluster+"_WORK", nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	confirmed := a.counter("member_announcements_total", "confirmed")
	testenv.Eventually(t, 10*time.Second, func() error {
		if n := a.counter("member_announcements_total", "confirmed"); n < confirmed+5 {
			return fmt.Errorf("%v announcements confirmed, %v before", n, confirmed)
		}
		if keys := bucketKeys(t, cfg); len(keys) != 2 {
			return fmt.Errorf("keys in the bucket: %v", keys)
		}
		return nil
	})
	// Four a lease, and half as many for whatever is announced beside that.
	if n, most := a.counter("member_announcements_total", "sent"), 10+6*float64(time.Since(began)/memberLease+1); n > most {
		t.Errorf("%v announcements sent, want %v at most", n, most)
	}
	if n := a.changes() + b.changes(); n != changes && calm(began) {
		t.Errorf("the members changed %d times", n-changes)
	}
}

// What else is in the bucket harms nobody.
func TestMembersBucketMisused(t *testing.T) {
	cfg := testenv.NATS(t)
	a := attend(t, connect(t, cfg), "a")
	a.sees(5*time.Second, "a")
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	prefix := "$KV.K8S_" + cluster + "_WORK."
	for i, data := range []string{
		"{", "[]", "null", `"x"`, "\xff\x00", `{"version":1}`, `{"version":1,"state":"member"}`, `{"version":-1,"name":"x","state":"member"}`,
		`{"version":1,"state":"member","name":"` + strings.Repeat("x", 254) + `"}`, strings.Repeat(" ", 5000),
		`{"version":1,"state":"member","name":"x","leaseMilliseconds":1e99}`,
	} {
		if err := nc.Publish(fmt.Sprintf("%sgarbage%d", prefix, i), []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 5*time.Second, func() error {
		if n := a.counter("member_messages_skipped_total", "unreadable"); n != 11 {
			return fmt.Errorf("%v messages skipped, want 11", n)
		}
		return nil
	})
	// One of a later version that has what is needed; its lease is far too long, but not for ever.
	if err := nc.Publish(prefix+"later.1", []byte(`{"version":7,"state":"member","name":"later","leaseMilliseconds":-5,"more":{}}`)); err != nil {
		t.Fatal(err)
	}
	a.sees(time.Second, "a", "later")
	a.sees(5*time.Second, "a")
	// Somebody deletes all keys.
	if _, err := nc.Request("$JS.API.STREAM.PURGE.KV_K8S_"+cluster+"_WORK", nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish(prefix+a.Self().Key, nil); err != nil {
		t.Fatal(err)
	}
	b := attend(t, connect(t, cfg), "b")
	b.sees(5*time.Second, "a", "b")
	a.sees(5*time.Second, "a", "b")
}

// A member that was killed is still in the bucket. Who starts waits for it for a moment only, also under its name.
func TestMemberAfterKill(t *testing.T) {
	cfg := testenv.NATS(t)
	line, through := newProxy(t, cfg)
	old := attend(t, connect(t, through), "a")
	old.sees(5*time.Second, "a")
	line.refuse(true) // it can't tell that it leaves
	old.leave()
	if keys := bucketKeys(t, cfg); len(keys) != 1 {
		t.Fatalf("keys in the bucket: %v", keys)
	}
	began := time.Now()
	a := attend(t, connect(t, cfg), "a")
	a.sees(time.Second, "a", "a")
	if took := a.sees(5*time.Second, "a"); took > 1500*time.Millisecond && calm(began) {
		t.Errorf("it waited for %v", took)
	}
	if d := a.silent(); d < time.Hour {
		t.Errorf("who was never heard was silent for %v only", d)
	}
}

// Two processes of one name are two members.
func TestMembersOfOneName(t *testing.T) {
	cfg := testenv.NATS(t)
	a, b := attend(t, connect(t, cfg), "same"), attend(t, connect(t, cfg), "same")
	a.sees(5*time.Second, "same", "same")
	b.sees(5*time.Second, "same", "same")
	if a.Self().Key == b.Self().Key {
		t.Error("they can't be told apart")
	}
	b.leave()
	a.sees(time.Second, "same")
}

func TestManyMembers(t *testing.T) {
	const many = 100
	cfg := testenv.NATS(t)
	conn := connect(t, cfg)
	var all []*attendant
	var want []string
	for i := range many {
		name := fmt.Sprintf("m-%03d", i)
		want = append(want, name)
		all = append(all, attendFor(t, conn, name, time.Minute))
	}
	for _, a := range all {
		a.sees(2*time.Minute, want...)
	}
	for _, a := range all[:many/2] {
		a.leave()
	}
	for _, a := range all[many/2:] {
		a.sees(2*time.Minute, want[many/2:]...)
	}
}

func TestMembersConfig(t *testing.T) {
	conn := testenv.Conn(t)
	good := stream.MembersConfig{Conn: conn, Cluster: cluster, Group: "WORK", Name: "a"}
	if _, err := stream.NewMembers(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*stream.MembersConfig){
		"no connection": func(c *stream.MembersConfig) { c.Conn = nil },
		"no group":      func(c *stream.MembersConfig) { c.Group = "" },
		"no name":       func(c *stream.MembersConfig) { c.Name = "" },
		"long name":     func(c *stream.MembersConfig) { c.Name = strings.Repeat("x", 254) },
		"short lease":   func(c *stream.MembersConfig) { c.Lease = time.Millisecond },
		"long lease":    func(c *stream.MembersConfig) { c.Lease = time.Hour },
		"no such part":  func(c *stream.MembersConfig) { c.Part = stream.Part{Number: 2, Of: 2} },
		"part of none":  func(c *stream.MembersConfig) { c.Part = stream.Part{Number: -1} },
		"cluster":       func(c *stream.MembersConfig) { c.Cluster = "a.b" },
	} {
		c := good
		change(&c)
		if _, err := stream.NewMembers(c); !errors.Is(err, stream.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
