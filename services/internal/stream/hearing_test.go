package stream

import (
	"testing"
	"time"
)

func TestSilences(t *testing.T) {
	began := time.Now()
	var h hearing
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	for _, c := range []struct{ heard, since, until float64 }{
		{0, 0, 0},
		{2.4, 0, 0},
		{10, 2.4, 10},
		{11, 2.4, 10},
		{15, 2.4, 15}, // a word in between was none
		{17, 2.4, 15},
		{19, 2.4, 15},
		{25, 19, 25},
	} {
		h.noteAt(at(c.heard))
		var p Position
		h.tell(&p)
		if !p.Heard.Equal(at(c.heard)) || p.Silence.Until.IsZero() != (c.until == 0) ||
			c.until != 0 && (!p.Silence.Since.Equal(at(c.since)) || !p.Silence.Until.Equal(at(c.until))) {
			t.Errorf("heard at %v: %+v", c.heard, p)
		}
	}
}
