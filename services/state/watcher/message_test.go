package watcher

import (
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
)

func FuzzHead(f *testing.F) {
	f.Add([]byte(messageOf("nodes", "o", state{"u", "1"}, time.Unix(1, 0))))
	f.Add([]byte(keep(messageOf("nodes", "o", state{"u", "1"}, time.Unix(1, 0))).head().deletion(5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c schemas.ObjectChange
		h, err := message(b).head()
		if c.Unmarshal(b) != nil {
			return
		}
		if err != nil {
			t.Fatalf("a message that Unmarshal takes: %v", err)
		}
		want := header{c.Operation, c.Group, c.APIVersion, c.Kind, c.Resource, c.Namespace, c.Name, c.UID, c.ResourceVersion, c.Time, h.length}
		if h != want {
			t.Fatalf("%v, want %v", h, want)
		}
		if rest := wire.NewReader(b[h.length:]); rest.Skip() != nil {
			t.Fatalf("%d bytes of header, and behind it %x", h.length, b[h.length:])
		}
	})
}
