package e2e

import (
	"bytes"
	msgpack "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// scrapeReports listens to NATS as any client could. What it returns ends that, and gives the last report of each node,
// as an array.
func (o *own) scrapeReports() (end func() map[string][]any) {
	o.t.Helper()
	conn, err := net.Dial("tcp", hostPort(o.natsPort))
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { conn.Close() })
	subject := "k8s.v1." + o.name + ".scrape."
	if _, err := fmt.Fprintf(conn, "CONNECT {\"verbose\":false}\r\nSUB %s> 1\r\nPING\r\n", subject); err != nil {
		o.t.Fatal(err)
	}
	var running sync.WaitGroup
	got := map[string][]any{}
	var wrong error
	running.Go(func() {
		var all bytes.Buffer
		_, _ = io.Copy(&all, conn)
		for all.Len() > 0 {
			line, err := all.ReadString('\n')
			fields := strings.Fields(line)
			if err != nil || len(fields) == 0 || fields[0] != "MSG" {
				continue
			}
			var size int
			if _, err := fmt.Sscan(fields[len(fields)-1], &size); err != nil || all.Len() < size {
				return
			}
			report, rest, err := unpack(all.Next(size))
			array, ok := report.([]any)
			if err != nil || !ok || len(rest) > 0 || len(array) < 2 || fields[1] != subject+strings.ReplaceAll(fmt.Sprint(array[1]), ".", "_") {
				wrong = errors.Join(wrong, fmt.Errorf("%s: %v, %v", fields[1], report, err))
				continue
			}
			got[fmt.Sprint(array[1])] = array
		}
	})
	return func() map[string][]any {
		conn.Close()
		running.Wait()
		if wrong != nil {
			o.t.Error(wrong)
		}
		return got
	}
}

// unpack reads as much of MessagePack as scrape reports need.
func unpack(b []byte) (value any, rest []byte, err error) {
	short := errors.New("it ends too early")
	if len(b) == 0 {
		return nil, nil, short
	}
	head, b := b[0], b[1:]
	number := func(size int) (n uint64) {
		if len(b) < size {
			err = short
			return 0
		}
		var wide [8]byte
		copy(wide[8-size:], b[:size])
		b = b[size:]
		return msgpack.BigEndian.Uint64(wide[:])
	}
	text := func(size uint64) (any, []byte, error) {
		if err != nil || uint64(len(b)) < size {
			return nil, nil, short
		}
		return string(b[:size]), b[size:], nil
	}
	list := func(size uint64) (any, []byte, error) {
		all := []any{}
		for range size {
			if err == nil {
				value, b, err = unpack(b)
				all = append(all, value)
			}
		}
		return all, b, err
	}
	switch {
	case head < 0x80:
		return uint64(head), b, nil
	case head >= 0xe0:
		return int64(int8(head)), b, nil
	case head >= 0xa0 && head < 0xc0:
		return text(uint64(head & 0x1f))
	case head >= 0x90 && head < 0xa0:
		return list(uint64(head & 0x0f))
	}
	switch head {
	case 0xc0:
		return nil, b, nil
	case 0xcc, 0xcd, 0xce, 0xcf:
		n := number(1 << (head - 0xcc))
		return n, b, err
	case 0xd0, 0xd1, 0xd2, 0xd3:
		size := 1 << (head - 0xd0)
		n := int64(number(size)<<(64-8*size)) >> (64 - 8*size)
		return n, b, err
	case 0xd9, 0xda, 0xdb:
		return text(number(1 << (head - 0xd9)))
	case 0xdc, 0xdd:
		return list(number(2 << (head - 0xdc)))
	}
	return nil, nil, fmt.Errorf("byte %#x is not in a report", head)
}
