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

// A server that is silent for a moment again and again, for ever, was not silent all the time: what ends meanwhile is not told
// for ever as what is only not heard.
func TestSilencesAgainAndAgain(t *testing.T) {
	var h hearing
	now := time.Now()
	for _, word := range []time.Duration{2 * time.Second, 100 * time.Millisecond} {
		longest := time.Duration(0)
		for range 10_000 {
			h.noteAt(now)
			h.noteAt(now.Add(word))
			now = now.Add(word + 3*time.Second)
			h.noteAt(now)
			var p Position
			h.tell(&p)
			if !p.Silence.Until.Equal(now) {
				t.Fatalf("the silence that ended at %v isn't told: %+v", now, p)
			}
			longest = max(longest, p.Silence.Until.Sub(p.Silence.Since))
		}
		// A minute of words, and the silences around them.
		if most := wordsMost + time.Duration(wordsMost/word+2)*3*time.Second; longest > most || longest < most-10*time.Second {
			t.Errorf("with words of %v it was told of a silence of %v, want about %v at most", word, longest, most)
		}
	}
}
