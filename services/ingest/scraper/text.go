package scraper

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// The tokens of the Prometheus text format (0.0.4): names, label blocks, values, timestamps. Every function takes the
// body from where its token begins and returns how many bytes the token takes. None of them allocates for what a real
// kubelet writes.

var (
	errName       = errors.New("a line begins with neither a series name nor '#'")
	errLabelBlock = errors.New(`malformed labels, want {name="value",...}`)
	errEscape     = errors.New(`a label value holds an escape other than \\, \" and \n`)
	errTwice      = errors.New("a label is given twice")
	errValue      = errors.New("no number where the value belongs")
	errTail       = errors.New("something other than a timestamp of 0 or more milliseconds follows the value")
	errTruncated  = errors.New("the body ends in the middle of a line")
	errUTF8       = errors.New("the body isn't UTF-8 text")
)

// nameBytes[c] is 2 where c may begin a series name, 1 where it may only continue one.
var nameBytes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == ':':
			t[c] = 2
		case c >= '0' && c <= '9':
			t[c] = 1
		}
	}
	return t
}()

// scanName returns the length of the series or label name at the beginning of p, 0 where there is none.
func scanName(p []byte) int {
	if len(p) == 0 || nameBytes[p[0]] != 2 {
		return 0
	}
	n := 1
	for n < len(p) && nameBytes[p[n]] != 0 {
		n++
	}
	return n
}

// scanBlanks returns the number of spaces and tabs at the beginning of p.
func scanBlanks(p []byte) int {
	n := 0
	for n < len(p) && (p[n] == ' ' || p[n] == '\t') {
		n++
	}
	return n
}

// labelValues are the values of the three labels that matter, as written: between the quotes, with escapes. nil: not given.
type labelValues struct {
	namespace, pod, container []byte
}

// scanLabels reads the label block at the beginning of p ('{' to '}').
func scanLabels(p []byte) (l labelValues, n int, err error) {
	n = 1 // the '{'
	for {
		n += scanBlanks(p[n:])
		if n == len(p) {
			return l, n, errTruncated
		}
		if p[n] == '}' {
			return l, n + 1, nil
		}
		var name []byte
		quoted := p[n] == '"' // a label's name, or the series' own one
		if quoted {
			size, err := scanQuoted(p[n:])
			if err != nil {
				return l, n, err
			}
			name, n = p[n+1:n+size-1], n+size
		} else {
			size := scanName(p[n:])
			if size == 0 || bytes.IndexByte(p[n:n+size], ':') >= 0 {
				return l, n, errLabelBlock
			}
			name, n = p[n:n+size], n+size
		}
		n += scanBlanks(p[n:])
		if n < len(p) && p[n] == '=' {
			n++
			n += scanBlanks(p[n:])
			size, err := scanQuoted(p[n:])
			if err != nil {
				return l, n, err
			}
			if err := l.set(name, p[n+1:n+size-1]); err != nil {
				return l, n, err
			}
			n += size
			n += scanBlanks(p[n:])
		} else if !quoted {
			return l, n, errLabelBlock
		}
		if n == len(p) {
			return l, n, errTruncated
		}
		switch p[n] {
		case ',':
			n++
		case '}':
		default:
			return l, n, errLabelBlock
		}
	}
}

func (l *labelValues) set(name, value []byte) error {
	var to *[]byte
	switch string(name) {
	case "namespace":
		to = &l.namespace
	case "pod":
		to = &l.pod
	case "container":
		to = &l.container
	default:
		return nil
	}
	if *to != nil {
		return errTwice
	}
	*to = value
	return nil
}

// scanQuoted reads the quoted string at the beginning of p and returns its length, quotes included.
func scanQuoted(p []byte) (int, error) {
	if len(p) == 0 || p[0] != '"' {
		return 0, errLabelBlock
	}
	for n := 1; n < len(p); n++ {
		switch p[n] {
		case '"':
			return n + 1, nil
		case '\n':
			return n, errLabelBlock
		case '\\':
			n++
			if n < len(p) && p[n] != '\\' && p[n] != '"' && p[n] != 'n' {
				return n, errEscape
			}
		}
	}
	return len(p), errTruncated
}

var unescaper = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")

// unescape returns the text that a label value as written stands for.
func unescape(written string) string {
	if strings.IndexByte(written, '\\') < 0 {
		return written
	}
	return unescaper.Replace(written)
}

// scanValue reads the number at the beginning of p: as Go reads one, without hexadecimal exponents and underscores.
func scanValue(p []byte) (v float64, n int, err error) {
	for n < len(p) && p[n] != ' ' && p[n] != '\t' && p[n] != '\n' {
		if c := p[n]; c == '_' || c == 'p' || c == 'P' {
			return 0, n, errValue
		}
		n++
	}
	if n == len(p) {
		return 0, n, errTruncated // the number may have been longer
	}
	v, err = strconv.ParseFloat(unsafe.String(unsafe.SliceData(p), n), 64)
	if err != nil {
		return 0, n, errValue
	}
	return v, n, nil
}

// scanTail reads what may follow a value, up to and with the end of the line: a timestamp in milliseconds, or nothing
// (-1).
func scanTail(p []byte) (ms int64, n int, err error) {
	ms = -1
	n = scanBlanks(p)
	for ; n < len(p) && p[n] >= '0' && p[n] <= '9'; n++ {
		ms = max(ms, 0)
		if ms > (1<<63-1-9)/10 {
			return 0, n, errTail
		}
		ms = ms*10 + int64(p[n]-'0')
	}
	n += scanBlanks(p[n:])
	if n == len(p) {
		return 0, n, errTruncated
	}
	if p[n] != '\n' {
		return 0, n, errTail
	}
	return ms, n + 1, nil
}

// lineError says where in a body the error is, and shows the beginning of the line.
func lineError(body []byte, at int, err error) error {
	if errors.Is(err, errUTF8) {
		return err
	}
	line := body[at:]
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	const shown = 120
	if len(line) > shown {
		line = line[:shown]
		for len(line) > 0 && !utf8.RuneStart(body[at+len(line)]) {
			line = line[:len(line)-1]
		}
	}
	return fmt.Errorf("line %d: %w: %q", 1+bytes.Count(body[:at], []byte{'\n'}), err, line)
}
