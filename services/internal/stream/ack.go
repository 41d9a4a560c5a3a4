package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// delivery is what the server says of a message that it delivers, in the subject for its acknowledgement.
type delivery struct {
	stream   uint64 // sequence in the stream
	consumer uint64 // sequence of this delivery: 1, 2, 3 ... for each consumer
	time     int64  // when the message was stored, Unix nanoseconds
	pending  uint64 // messages that this consumer has yet to deliver
}

// parseDelivery reads $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, or the
// newer form, which has two tokens before the stream and may have more behind.
func parseDelivery(subject string) (d delivery, ok bool) {
	s, ok := strings.CutPrefix(subject, "$JS.ACK.")
	if !ok {
		return d, false
	}
	skip := 3
	if n := strings.Count(s, "."); n >= 8 {
		skip = 5
	} else if n != 6 {
		return d, false
	}
	for range skip {
		s = s[strings.IndexByte(s, '.')+1:]
	}
	var values [4]uint64
	for i := range values {
		token := s
		if dot := strings.IndexByte(s, '.'); dot >= 0 {
			token, s = s[:dot], s[dot+1:]
		}
		if values[i], ok = number(token); !ok {
			return d, false
		}
	}
	return delivery{values[0], values[1], int64(values[2]), values[3]}, true
}

// number reads a decimal number.
func number(s string) (n uint64, ok bool) {
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 || n > (1<<64-1-9)/10 {
			return 0, false
		}
		n = 10*n + uint64(c)
	}
	return n, len(s) > 0
}

// parsePubAck reads the server's answer to a published message: the sequence that it got, or the error.
func parsePubAck(data []byte) (sequence uint64, err error) {
	var answer struct {
		Stream   string              `json:"stream"`
		Sequence uint64              `json:"seq"`
		Error    *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return 0, fmt.Errorf("couldn't read the server's answer: %w", err)
	}
	if answer.Error != nil {
		return 0, answer.Error
	}
	if answer.Sequence == 0 || answer.Stream == "" {
		return 0, errors.New("the server's answer is not one of a stream")
	}
	return answer.Sequence, nil
}
