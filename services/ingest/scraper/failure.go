package scraper

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// result is the outcome of a scrape: the value of the result label of headwater_ingest_scrapes_total.
type result string

const (
	resultSuccess  result = "success"
	resultAddress  result = "address"        // the Node object gives no address of a preferred type
	resultConnect  result = "connect"        // name resolution or TCP
	resultTLS      result = "tls"            // handshake, certificates
	resultTimeout  result = "timeout"        // --kubelet-request-timeout, whatever it was waiting for
	resultRead     result = "read"           // the connection broke while the answer was read
	resultRedirect result = "redirect"       // the kubelet pointed to another host
	resultStatus   result = "status"         // an HTTP status other than 200
	resultTooLarge result = "body_too_large" // --kubelet-max-body-bytes
	resultDecode   result = "decode"         // not the Prometheus text format
	resultLabels   result = "labels"         // a container's or pod's series without its labels
	resultEmpty    result = "empty"          // no usable series at all
	resultPublish  result = "publish"        // the message is larger than NATS takes
	resultInternal result = "internal"       // none of these: a request that couldn't be made
)

// results are all of them: each is shown from the start, with 0.
var results = []result{
	resultSuccess, resultAddress, resultConnect, resultTLS, resultTimeout, resultRead, resultRedirect, resultStatus,
	resultTooLarge, resultDecode, resultLabels, resultEmpty,
	resultPublish, resultInternal,
}

// failure is an error with its category. A failed scrape costs its node that scrape: the previous sample stands, the
// history stays, and the next scrape yields a rate again.
type failure struct {
	result result
	err    error
}

func failed(r result, err error) *failure { return &failure{result: r, err: err} }

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// resultOf returns the category of err: otherwise, where it has none.
func resultOf(err error, otherwise result) result {
	var f *failure
	if errors.As(err, &f) {
		return f.result
	}
	return otherwise
}

// oneLine returns err as a text of one line of at most limit bytes: of a longer one the beginning, which says what was
// wrong, and the end, which says what to do.
func oneLine(err error, limit int) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(strings.Map(printable, err.Error()), "\uFFFD")), " ")
	if len(text) <= limit {
		return text
	}
	const gap = " ... "
	tail := (limit - len(gap)) * 2 / 5
	head := limit - len(gap) - tail
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	from := len(text) - tail
	for from < len(text) && !utf8.RuneStart(text[from]) {
		from++
	}
	return text[:head] + gap + text[from:]
}

// printable puts a space in the place of what would not stay on a line, or not be seen.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}
