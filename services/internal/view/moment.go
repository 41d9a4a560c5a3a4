package view

import (
	"time"

	"github.com/headwater-metrics/headwater/schemas"
)

// Moment is when a sample is of, Unix nanoseconds.
type Moment struct {
	Taken int64 // when it was asked for, by the clock of the ingester
	Read  int64 // when the node's own usage was read, by the clock of the kubelet; 0 where there is none
}

// MomentOf returns a sample's.
func MomentOf(s *schemas.UsageSample) Moment {
	m := Moment{Taken: s.Time}
	if s.Point != nil {
		m.Read = s.Point.Time
	}
	return m
}

// onItsWay is how long a sample may have been on its way, nanoseconds: what an ingester had sent into a line that broke
// comes when the line is mended, or never.
const onItsWay = int64(time.Minute)

// Late tells whether a sample was on its way for so long that the one held, by another ingester, is its successor. It is
// if it is older by both clocks, which are not likely to be put back together, and by no more than it can be: else a
// node whose clocks were put right would be ignored until time has caught up.
func (m Moment) Late(held Moment) bool {
	age := held.Taken - m.Taken
	return age > 0 && age < onItsWay && m.Read != 0 && m.Read < held.Read
}
