package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pump sends what was appended, and resynchronizes when there is trouble, until the writer ends.
func (a *Appender) pump(ctx context.Context) {
	tick := time.NewTicker(a.cfg.AckTimeout / 4)
	defer tick.Stop()
	reconnected := a.conn.reconnected()
	for ctx.Err() == nil {
		batch, first, epoch, trouble := a.take()
		switch {
		case trouble != "":
			reconnected = a.conn.reconnected() // one that comes from here on counts
			a.resync(ctx, trouble)
			continue
		case len(batch) > 0:
			a.send(batch, first, epoch)
			continue
		}
		select {
		case <-a.wake:
		case <-tick.C:
			a.checkAcks()
		case <-reconnected:
			reconnected = a.conn.reconnected()
			a.checkLine()
		case <-ctx.Done():
		}
	}
}

// take marks events as sent and returns them, the sequence of the first, and the epoch; or the trouble that there is.
func (a *Appender) take() (batch []event, first, epoch uint64, trouble string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trouble != "" {
		return nil, 0, 0, a.trouble
	}
	limit := a.cfg.MaxInFlight
	if a.stuck > 0 {
		limit = 1 // try whether it works again
	}
	n := min(len(a.queue)-a.sent, limit-a.sent, sendBatch)
	if n <= 0 {
		return nil, 0, 0, ""
	}
	if line := a.conn.line(); line != a.line {
		if a.sent > 0 { // on another line
			a.trouble = "reconnect"
			return nil, 0, 0, a.trouble
		}
		a.line = line
	}
	now := time.Now()
	for i := a.sent; i < a.sent+n; i++ {
		a.queue[i].sentAt, a.queue[i].answered = now, false
	}
	batch = append(batch, a.queue[a.sent:a.sent+n]...)
	first = a.acked + uint64(a.sent) + 1
	a.sent += n
	a.reach = max(a.reach, a.acked+uint64(a.sent))
	return batch, first, a.epoch, ""
}

// send publishes events, each with its predecessor's sequence as the one that must be the log's last.
func (a *Appender) send(batch []event, first, epoch uint64) {
	expected := []string{""}
	m := nats.Msg{Header: nats.Header{jetstream.ExpectedLastSeqHeader: expected}}
	prefix := a.inbox + "." + strconv.FormatUint(epoch, 10) + "."
	for i, e := range batch {
		sequence := first + uint64(i)
		expected[0] = strconv.FormatUint(sequence-1, 10)
		m.Subject, m.Data, m.Reply = e.subject, e.payload, prefix+strconv.FormatUint(sequence, 10)
		switch err := a.conn.nc.PublishMsg(&m); {
		case errors.Is(err, nats.ErrMaxPayload): // the server's limit was lowered: Append refuses it from now on
			a.end(fmt.Errorf("%w: %s has %d bytes", ErrTooLarge, e.subject, len(e.payload)))
			return
		case err != nil:
			a.suspect("disconnected")
			return
		}
	}
}

// suspect asks for a resync if something is in flight.
func (a *Appender) suspect(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sent > 0 && a.trouble == "" {
		a.trouble = reason
	}
}

// checkLine asks for a resync if what is in flight was sent before a reconnect.
func (a *Appender) checkLine() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sent > 0 && a.trouble == "" && a.conn.line() != a.line {
		a.trouble = "reconnect"
	}
}

// checkAcks asks for a resync when an acknowledgement is overdue.
func (a *Appender) checkAcks() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.queue[:a.sent] {
		if e := &a.queue[i]; !e.stored {
			if time.Since(e.sentAt) > a.cfg.AckTimeout && a.trouble == "" {
				a.trouble = "timeout"
			}
			return
		}
	}
}

// answer handles the server's answer to one event. It runs on the connection's goroutine for this subscription.
func (a *Appender) answer(m *nats.Msg) {
	epochToken, sequenceToken, _ := strings.Cut(m.Subject[len(a.inbox)+1:], ".")
	epoch, ok := number(epochToken)
	sequence, ok2 := number(sequenceToken)
	if !ok || !ok2 {
		return
	}
	var got uint64
	var err error
	if m.Header.Get("Status") == "503" {
		err = nats.ErrNoResponders
	} else {
		got, err = parsePubAck(m.Data)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if sequence <= a.acked || sequence > a.acked+uint64(len(a.queue)) {
		return // settled meanwhile
	}
	e := &a.queue[sequence-a.acked-1]
	if epoch == a.epoch {
		e.answered = true
	}
	switch {
	case err == nil && got == sequence:
		e.stored, e.answered = true, true
		a.advance()
		a.notify()
	case epoch == a.epoch && a.trouble == "":
		a.trouble = troubleOf(err)
		a.notify()
	case epoch == a.epoch:
		a.notify() // the pump waits for the rest of the answers
	}
}

// advance moves acked over what is stored. The caller holds mu.
func (a *Appender) advance() {
	n := 0
	for n < len(a.queue) && a.queue[n].stored {
		e := &a.queue[n]
		a.bytes -= e.size()
		a.metrics.bytes.Add(float64(len(e.payload)))
		n++
	}
	if n == 0 {
		return
	}
	a.last = a.queue[n-1]
	clear(a.queue[:n]) // for the garbage collector
	a.queue = a.queue[n:]
	a.sent = max(0, a.sent-n)
	a.acked += uint64(n)
	if a.stuck > stuckLogged {
		a.log.Info("the log takes events again", "position", a.acked, "buffered", len(a.queue))
	}
	a.stuck = 0
	a.metrics.events.Add(float64(n))
	a.metrics.position.Set(float64(a.acked))
	a.wakeWaiters()
}

// troubleOf is the label for what made a resync necessary.
func troubleOf(err error) string {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return "sequence" // stored, but somewhere else
	case errors.Is(err, nats.ErrNoResponders):
		return "no_responders"
	case errors.As(err, &api):
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return "wrong_last_sequence"
		case errInsufficientResources, errStorageResources, errAccountResources, errStreamStore:
			return "storage_full"
		}
		return "refused_" + strconv.Itoa(int(api.ErrorCode))
	}
	return "invalid_answer"
}
