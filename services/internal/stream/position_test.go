package stream

import (
	"testing"
	"time"
)

// Whoever asks for the position while one build follows another is told the sequence of the build that the rest is of.
func TestPositionIsOfOneBuild(t *testing.T) {
	r, err := NewReplay(ReplayConfig{Conn: new(Conn), Cluster: "c", Begin: func() Sink { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	old, next := StreamInfo{Created: time.Unix(1, 0), Last: 10}, StreamInfo{Created: time.Unix(2, 0), Last: 2000}
	r.begins(old, 5)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				r.begins(next, 1000)
				r.begins(old, 5)
			}
		}
	}()
	for range 200_000 {
		p := r.Position()
		if want := (Position{LogPosition: LogPosition{old.Created, 5}, Lag: 5, Fence: 10, Last: 10, Rebuilding: true}); p.Log.Equal(old.Created) && p != want {
			t.Errorf("%+v", p)
			break
		}
		if p.Log.Equal(next.Created) && (p.Sequence != 1000 || p.Lag != 1000 || p.Fence != 2000) {
			t.Errorf("%+v", p)
			break
		}
	}
	close(stop)
	<-done
}
