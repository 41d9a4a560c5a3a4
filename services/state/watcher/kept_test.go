package watcher

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// learned is a packer that has its dictionary.
var learned = func() *packer {
	p := &packer{}
	for i := 0; p.dict.Load() == nil; i++ {
		p.learn(messageOf("nodes", fmt.Sprint("o", i), state{"u", fmt.Sprint(i)}, time.Unix(1, 0)))
	}
	return p
}()

// keep is a message as a feed gives it to the book.
func keep(m message) *kept {
	k, err := learned.keep(m)
	if err != nil {
		panic(err)
	}
	return k
}

// withObject is a message with these bytes in place of its object.
func withObject(object []byte) message {
	c := schemas.ObjectChange{Operation: schemas.Applied, APIVersion: "v1", Kind: "Node", Resource: "nodes", Name: "o", UID: "u", ResourceVersion: "1", Time: 5, Object: object}
	return c.Marshal()
}

// isKept complains of a message that isn't what was kept of it.
func isKept(t *testing.T, k *kept, m message) {
	t.Helper()
	want, err := m.head()
	if err != nil {
		t.Fatal(err)
	}
	if got := k.head(); got != want {
		t.Fatalf("the header is %v, want %v", got, want)
	}
	if !bytes.Equal(k.message(), m) || k.len() != len(m) {
		t.Fatalf("%d bytes are kept as %d, and these aren't the same", len(m), k.len())
	}
	if before := []byte("before"); !bytes.Equal(k.append(before), append(before, m...)) {
		t.Fatal("it isn't the same behind something else")
	}
}

func TestKept(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	text := func(n int) []byte { return []byte(strings.Repeat("the state of an object, ", n/24+1)[:n]) }
	for name, p := range map[string]*packer{"without a dictionary": {}, "with one": learned} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{0, 1, 15, 16, 300, 5_000, 65_400, 65_500, 65_535, 65_536, 66_000, 70_000, 1 << 20} {
				for _, object := range [][]byte{noise(n), text(n), append(text(n), noise(n)...)} {
					m := withObject(object)
					if p != learned {
						p = &packer{}
					}
					k, err := p.keep(m)
					if err != nil {
						t.Fatal(err)
					}
					isKept(t, k, m)
					if len(k.bytes) > len(m) {
						t.Errorf("%d bytes take %d", len(m), len(k.bytes))
					}
				}
			}
		})
	}
	if _, err := learned.keep(message{0x91, 99}); err == nil {
		t.Error("a message that can't be read is kept")
	}
}

// TestKeptManyFields is about messages of a newer version, which say that they have more fields than they have bytes once
// they are packed.
func TestKeptManyFields(t *testing.T) {
	m := withObject(nil)
	h, err := m.head()
	if err != nil {
		t.Fatal(err)
	}
	for _, fields := range []int{12, 15, 16, 300, 60_000} {
		longer := append(wire.AppendArrayLen(nil, fields), m[1:h.length]...)
		longer = append(longer, bytes.Repeat([]byte{0xc0}, fields-11)...)
		isKept(t, keep(longer), longer)
	}
}

// messagesOfPods are those of pods that differ in name and UID.
func messagesOfPods(t testing.TB, n int) []message {
	t.Helper()
	text, err := os.ReadFile("../../internal/objects/testdata/pod.json")
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(text, &pod); err != nil {
		t.Fatal(err)
	}
	kind, _ := objects.ByResource("pods")
	encoder, err := objects.NewEncoder(kind)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]message, n)
	for i := range all {
		pod.Name, pod.UID = fmt.Sprint("checkout-7d9c6b8f5d-", i), types.UID(fmt.Sprintf("0c6e7a3e-5b1f-4a53-9d0b-%012d", i))
		if all[i], err = encoder.AppendMessage(nil, &pod, schemas.Applied, time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestKeptPods says that pods take a quarter at most, and that what was kept before there was a dictionary stays readable.
func TestKeptPods(t *testing.T) {
	const pods = 400
	var p packer
	var all [pods]*kept
	messages := messagesOfPods(t, pods)
	var group sync.WaitGroup
	for first := range 4 {
		group.Go(func() {
			for i := first; i < pods; i += 4 {
				all[i], _ = p.keep(messages[i])
			}
		})
	}
	group.Wait()
	whole, packed := 0, 0
	for i, k := range all {
		isKept(t, k, messages[i])
		whole += len(messages[i])
		packed += len(k.bytes)
	}
	if packed > whole/4 {
		t.Errorf("%d pods of %d bytes take %d", pods, whole, packed)
	}
}

func FuzzKept(f *testing.F) {
	f.Add([]byte(messageOf("nodes", "o", state{"u", "1"}, time.Unix(1, 0))))
	f.Add([]byte(withObject(bytes.Repeat([]byte("abcdefgh"), 9_000))))
	f.Add(append(append(wire.AppendArrayLen(nil, 90), withObject(nil)[1:]...), make([]byte, 80)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := message(b).head(); err != nil {
			return
		}
		isKept(t, keep(b), b)
		k, err := new(packer).keep(b)
		if err != nil {
			t.Fatal(err)
		}
		isKept(t, k, b)
	})
}

// BenchmarkKept packs pods and unpacks them.
func BenchmarkKept(b *testing.B) {
	messages := messagesOfPods(b, 100)
	var p packer
	all := make([]*kept, len(messages))
	whole, packed := 0, 0
	for range 2 { // the second time there is a dictionary
		whole, packed = 0, 0
		for i, m := range messages {
			all[i], _ = p.keep(m)
			whole, packed = whole+len(m), packed+len(all[i].bytes)
		}
	}
	b.Run("pack", func(b *testing.B) {
		b.SetBytes(int64(whole / len(messages)))
		for i := 0; b.Loop(); i++ {
			_, _ = p.keep(messages[i%len(messages)])
		}
		b.ReportMetric(float64(whole)/float64(packed), "ratio")
	})
	b.Run("unpack", func(b *testing.B) {
		b.SetBytes(int64(whole / len(messages)))
		var room []byte
		for i := 0; b.Loop(); i++ {
			room = all[i%len(all)].append(room[:0])
		}
	})
}
