package stream_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// hears waits until the others that it was told of are exactly these, each as its name and part.
func (a *attendant) hears(within time.Duration, want ...string) {
	a.t.Helper()
	testenv.Eventually(a.t, within, func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		var got []string
		for _, o := range a.others {
			got = append(got, fmt.Sprintf("%s %d/%d %s", o.Name, o.Part.Number, o.Part.Of, o.Settings))
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s hears of %q, want %q", a.Self().Name, got, want)
		}
		return nil
	})
}

// toldOfOthers is how often it was told of others.
func (a *attendant) toldOfOthers() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.othersTold
}

// Those with fixed parts and the members know of each other; but no member waits for one with a fixed part or leaves work to it,
// nor does the end of one change anything for them.
func TestFixedParts(t *testing.T) {
	cfg := testenv.NATS(t)
	began := time.Now()
	fixed := func(through stream.ConnConfig, name string, number, of int) *attendant {
		return attendWith(t, stream.MembersConfig{Conn: connect(t, through), Name: name, Lease: memberLease, Part: stream.Part{Number: number, Of: of}, Settings: "s"})
	}
	line, through := newProxy(t, cfg)
	zero, one := fixed(cfg, "zero", 0, 2), fixed(through, "one", 1, 2)
	zero.hears(5*time.Second, "one 1/2 s")
	one.hears(5*time.Second, "zero 0/2 s")
	if keys := bucketKeys(t, cfg); len(keys) != 2 {
		t.Errorf("keys in the bucket: %v", keys)
	}

	a := attend(t, connect(t, cfg), "a")
	if took := a.sees(5*time.Second, "a"); took > time.Second && calm(began) {
		t.Errorf("alone among its like, and a member only after %v", took)
	}
	b := attend(t, connect(t, cfg), "b")
	a.sees(5*time.Second, "a", "b")
	b.sees(5*time.Second, "a", "b")
	a.hears(5*time.Second, "one 1/2 s", "zero 0/2 s")
	b.hears(5*time.Second, "one 1/2 s", "zero 0/2 s")
	zero.hears(5*time.Second, "a 0/0 ", "b 0/0 ", "one 1/2 s")

	changes := a.changes()
	zero.leave()
	a.hears(5*time.Second, "one 1/2 s")
	one.hears(5*time.Second, "a 0/0 ", "b 0/0 ")
	told := one.toldOfOthers()
	line.refuse(true) // it is lost
	a.hears(5 * time.Second)
	failed := one.counter("member_announcements_total", "failed")
	testenv.Eventually(t, 10*time.Second, func() error { // far beyond the others' leases, too
		if n := one.counter("member_announcements_total", "failed"); n < failed+10 {
			return fmt.Errorf("%v failures", n)
		}
		return nil
	})
	line.refuse(false)
	a.hears(10*time.Second, "one 1/2 s")
	confirmed := one.counter("member_announcements_total", "confirmed")
	testenv.Eventually(t, 10*time.Second, func() error {
		if n := one.counter("member_announcements_total", "confirmed"); n < confirmed+10 {
			return fmt.Errorf("%v announcements confirmed", n)
		}
		return nil
	})
	if n := one.toldOfOthers() - told; n != 0 && calm(began) {
		t.Errorf("who heard nobody, and then those from before, was told %d times that the others are others", n)
	}
	one.hears(10*time.Second, "a 0/0 ", "b 0/0 ")
	if n := a.changes() - changes; n != 0 && calm(began) {
		t.Errorf("the members changed %d times", n)
	}
	b.leave()
	one.hears(5*time.Second, "a 0/0 ")
	if got := zero.members(); got != nil || zero.changes()+one.changes() != 0 {
		t.Errorf("one with a fixed part was told of members: %v", got)
	}
}

// What is no part is not understood; what a later release may say of itself counts for what is known of it.
func TestOddParts(t *testing.T) {
	cfg := testenv.NATS(t)
	a := attend(t, connect(t, cfg), "a")
	a.sees(5*time.Second, "a")
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	say := func(key, fields string) {
		t.Helper()
		if err := nc.Publish("$KV.K8S_"+cluster+"_WORK."+key, []byte(`{"version":2,"name":"`+key+`","leaseMilliseconds":60000,`+fields+`}`)); err != nil {
			t.Fatal(err)
		}
	}
	for i, part := range []string{`"part":0`, `"part":2,"parts":2`, `"part":-1,"parts":2`, `"parts":-1`, `"parts":"2"`} {
		say(fmt.Sprint("bad", i), `"state":"fixed",`+part)
	}
	testenv.Eventually(t, 5*time.Second, func() error {
		if n := a.counter("member_messages_skipped_total", "unreadable"); n != 5 {
			return fmt.Errorf("%v messages skipped", n)
		}
		return nil
	})
	say("later", `"state":"resting","part":1,"parts":2`)
	say("fixed", `"state":"fixed","part":1,"parts":2,"more":{}`)
	say("member", `"state":"member","part":1,"parts":2`)
	a.sees(5*time.Second, "a", "member")
	a.hears(5*time.Second, "fixed 1/2 ")
	say("fixed", `"state":"idle"`)
	a.hears(5 * time.Second)
}
