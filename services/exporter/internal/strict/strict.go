// Package strict checks expositions as the strictest of their readers would, for tests.
//
// What flows in: an exposition. What flows out: the first thing that is wrong with it. Beyond syntax: each family is one
// contiguous block with its HELP and TYPE in front, no series appears twice, sample names fit the family's type, and all
// is UTF-8.
package strict

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Summary counts what an exposition has.
type Summary struct {
	Families, Series int
}

// Text checks the Prometheus text format 0.0.4.
func Text(exposition []byte) (Summary, error) { return check(exposition, false) }

// OpenMetrics checks OpenMetrics 1.0.0.
func OpenMetrics(exposition []byte) (Summary, error) {
	body, ok := bytes.CutSuffix(exposition, []byte("# EOF\n"))
	if !ok {
		return Summary{}, errors.New("it does not end with # EOF")
	}
	return check(body, true)
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

type checker struct {
	openMetrics bool
	summary     Summary
	families    map[string]bool // that have begun
	name, kind  string          // of the family that is being read
	help        bool
	samples     int
	series      map[string]bool // of the family
}

func check(exposition []byte, openMetrics bool) (Summary, error) {
	c := checker{openMetrics: openMetrics, families: map[string]bool{}}
	if !utf8.Valid(exposition) {
		return c.summary, errors.New("it is not UTF-8")
	}
	if len(exposition) > 0 && exposition[len(exposition)-1] != '\n' {
		return c.summary, errors.New("its last line does not end")
	}
	n := 0
	for line := range bytes.Lines(exposition) {
		n++
		if err := c.line(string(line[:len(line)-1])); err != nil {
			return c.summary, fmt.Errorf("line %d: %w: %.300s", n, err, line)
		}
	}
	return c.summary, nil
}

func (c *checker) line(line string) error {
	if rest, ok := strings.CutPrefix(line, "# "); ok {
		return c.metadata(rest)
	}
	return c.sample(line)
}

func (c *checker) metadata(rest string) error {
	keyword, rest, _ := strings.Cut(rest, " ")
	name, text, ok := strings.Cut(rest, " ")
	if !ok || !metricName.MatchString(name) {
		return errors.New("malformed metadata")
	}
	switch keyword {
	case "HELP":
		if c.families[name] {
			return errors.New("the family is not contiguous, or has two HELP lines")
		}
		c.families[name] = true
		c.name, c.kind, c.help, c.samples, c.series = name, "", true, 0, map[string]bool{}
		c.summary.Families++
		return escapes(text, c.openMetrics)
	case "TYPE":
		kinds := []string{"gauge", "counter"}
		if c.openMetrics {
			kinds = append(kinds, "info", "stateset", "unknown")
		}
		if name != c.name || !c.help || c.kind != "" || c.samples > 0 {
			return errors.New("TYPE does not follow its HELP")
		}
		if !slices.Contains(kinds, text) {
			return errors.New("unexpected type")
		}
		if c.openMetrics && text == "counter" && strings.HasSuffix(name, "_total") {
			return errors.New("the family of a counter must not be named _total")
		}
		c.kind = text
		return nil
	}
	return errors.New("unexpected comment")
}

func (c *checker) sample(line string) error {
	name, rest, ok := strings.Cut(line, "{")
	if !ok {
		return errors.New("a sample without labels")
	}
	want := c.name
	if c.openMetrics {
		want += map[string]string{"counter": "_total", "info": "_info"}[c.kind]
	}
	if name != want || c.kind == "" {
		return fmt.Errorf("the sample is not of the family %q, a %s", c.name, c.kind)
	}
	labels, rest, err := parseLabels(rest, c.openMetrics)
	if err != nil {
		return err
	}
	if c.kind == "stateset" && !slices.ContainsFunc(labels, func(l string) bool { return strings.HasPrefix(l, c.name+"=") }) {
		return errors.New("a state lacks the label that is named as its family")
	}
	slices.Sort(labels)
	if key := strings.Join(labels, ","); c.series[key] {
		return errors.New("the series appears twice")
	} else {
		c.series[key] = true
	}
	c.samples++
	c.summary.Series++
	return c.valueAndTime(rest)
}

func (c *checker) valueAndTime(rest string) error {
	rest, ok := strings.CutPrefix(rest, " ")
	text, at, timed := strings.Cut(rest, " ")
	v, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil {
		return errors.New("malformed value")
	}
	if c.kind == "counter" && (v < 0 || math.IsNaN(v)) {
		return errors.New("a counter must not be negative")
	}
	if c.openMetrics && (c.kind == "info" && v != 1 || c.kind == "stateset" && v != 0 && v != 1) {
		return errors.New("an info is 1, a state 0 or 1")
	}
	if !timed {
		return nil
	}
	if c.openMetrics {
		_, err = strconv.ParseFloat(at, 64)
	} else {
		_, err = strconv.ParseInt(at, 10, 64)
	}
	if err != nil {
		return errors.New("malformed timestamp")
	}
	return nil
}

// parseLabels reads labels up to the closing brace.
func parseLabels(rest string, openMetrics bool) (labels []string, after string, err error) {
	seen := map[string]bool{}
	for first := true; ; first = false {
		if after, ok := strings.CutPrefix(rest, "}"); ok {
			return labels, after, nil
		}
		if !first {
			var ok bool
			if rest, ok = strings.CutPrefix(rest, ","); !ok {
				return nil, "", errors.New("labels are not separated by a comma")
			}
		}
		name, value, ok := strings.Cut(rest, `="`)
		if !ok || !labelName.MatchString(name) {
			return nil, "", fmt.Errorf("malformed label name %q", name)
		}
		if seen[name] {
			return nil, "", fmt.Errorf("the label %s appears twice", name)
		}
		seen[name] = true
		end := 0
		for end < len(value) && value[end] != '"' {
			if value[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(value) {
			return nil, "", errors.New("a label value does not end")
		}
		if err := escapes(value[:end], true); err != nil {
			return nil, "", err
		}
		labels = append(labels, name+"="+value[:end])
		rest = value[end+1:]
	}
}

// escapes checks that a backslash stands only before what may be escaped.
func escapes(text string, quotes bool) error {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		if i == len(text) || text[i] != '\\' && text[i] != 'n' && !(quotes && text[i] == '"') {
			return errors.New("a wrong escape")
		}
	}
	return nil
}
