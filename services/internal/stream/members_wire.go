package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// announcement is the value of a member's key: JSON, so that `nats kv get` shows it.
type announcement struct {
	Version  int    `json:"version"` // 1; of a greater one the fields that are known count
	Name     string `json:"name"`
	State    string `json:"state"`
	Hello    bool   `json:"hello,omitempty"` // whoever hears it announces itself at once
	LeaseMS  int64  `json:"leaseMilliseconds"`
	Settings string `json:"settings,omitempty"`
	Part     int    `json:"part,omitempty"` // of Parts, with stateFixed
	Parts    int    `json:"parts,omitempty"`
}

// States of a process that announces itself.
const (
	stateMember  = "member"
	stateIdle    = "idle"    // it would like to be a member and has yet to see that it is heard
	stateLeaving = "leaving" // it ends
	// stateFixed is that of one that is no member: it does a part of the work whoever is there. Who doesn't know this state
	// takes it for idle, as any that isn't known.
	stateFixed = "fixed"
)

// Limits of what is taken from others, bytes.
const (
	maxAnnouncement = 4 << 10
	maxMemberName   = 253
	maxSettings     = 1 << 10
)

var errAnnouncement = errors.New("not an announcement of a member")

// parseAnnouncement reads the value of a key. An empty one is that of a key which somebody deleted: its member is idle until
// it announces itself again.
func parseAnnouncement(data []byte) (a announcement, err error) {
	if len(data) == 0 {
		return announcement{State: stateIdle}, nil
	}
	if len(data) > maxAnnouncement {
		return a, fmt.Errorf("%w: it has %d bytes", errAnnouncement, len(data))
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("%w: %w", errAnnouncement, err)
	}
	if a.Version < 1 || a.State == "" || a.Name == "" || len(a.Name) > maxMemberName || len(a.Settings) > maxSettings {
		return a, fmt.Errorf("%w: it lacks a version, a state or a name, or one of its texts is too long", errAnnouncement)
	}
	if a.State == stateFixed && !a.part().valid() {
		return a, fmt.Errorf("%w: it does part %d of %d", errAnnouncement, a.Part, a.Parts)
	}
	return a, nil
}

func (a announcement) json() []byte {
	data, err := json.Marshal(a)
	if err != nil {
		return nil // strings and numbers always can be written
	}
	return data
}

// part is the fixed part that is announced; zero where there is none.
func (a announcement) part() Part {
	if a.State != stateFixed {
		return Part{}
	}
	return Part{Number: a.Part, Of: a.Parts}
}

// lease is how long the announcement is good for.
func (a announcement) lease() time.Duration {
	ms := min(max(a.LeaseMS, minLease.Milliseconds()), maxLease.Milliseconds())
	return time.Duration(ms) * time.Millisecond
}

// memberKey is the key of a process: its name, as far as a key can have it, and what makes it unique.
func memberKey(name, unique string) string {
	escaped := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
			return c
		}
		return '_'
	}, name)
	return escaped + "." + unique
}

// memberName is the name in a key, as far as it can be told.
func memberName(key string) string {
	name, _, _ := strings.Cut(key, ".")
	return name
}
