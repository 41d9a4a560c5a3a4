// Package promtext reads the Prometheus text format strictly, and compares two expositions.
//
// What flows in: the bytes of an answer. What flows out: its families and series, and everything about it that a reader
// could stumble over. Parse is meant for tests that judge an exporter, so it does not stop at the first mistake, and
// knows more rules than a scraper has: a family is one block under its HELP and TYPE, and no series is there twice.
package promtext

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Scrape is one exposition.
type Scrape struct {
	// Types holds the type of each family that has a TYPE line.
	Types map[string]string
	// Series holds the value of each series. The key is name{label="value",...} with the labels in alphabetical order and
	// the values as they are escaped in the text. The value is as written.
	Series map[string]string
	// Twice holds how many more times a series was there than once.
	Twice map[string]int
	// Problems are violations of the format, a line each, at most maxProblems.
	Problems []string
}

const maxProblems = 20

// Name is the name of a series given by its key.
func Name(key string) string {
	name, _, _ := strings.Cut(key, "{")
	return name
}

// Label is the value of a label of a series given by its key, as escaped in the text; ok is false if it has no such label.
func Label(key, label string) (value string, ok bool) {
	for name, value := range labels(key) {
		if name == label {
			return value, true
		}
	}
	return "", false
}

// labels yields the labels of a well-formed key.
func labels(key string) func(func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		_, rest, _ := strings.Cut(key, "{")
		for {
			name, after, ok := strings.Cut(rest, `="`)
			if !ok {
				return
			}
			end := quote(after)
			if end < 0 || !yield(name, after[:end]) {
				return
			}
			rest = strings.TrimPrefix(after[end+1:], ",")
		}
	}
}

// parser is a Scrape in the making.
type parser struct {
	*Scrape
	line   int
	family string          // the family whose block this is
	seen   map[string]bool // families whose block began
	header map[string]bool // HELP and TYPE lines, as "HELP name"
}

// Parse reads an exposition in the text format.
func Parse(text []byte) *Scrape {
	p := parser{
		Scrape: &Scrape{Types: map[string]string{}, Series: map[string]string{}, Twice: map[string]int{}},
		seen:   map[string]bool{}, header: map[string]bool{},
	}
	if !utf8.Valid(text) {
		p.problem("the text is not UTF-8")
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		p.problem("the last line does not end")
	}
	for line := range strings.Lines(string(text)) {
		p.line++
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "":
			p.problem("an empty line")
		case line[0] == '#':
			p.comment(line)
		default:
			p.sample(line)
		}
	}
	return p.Scrape
}

func (p *parser) problem(format string, args ...any) {
	if len(p.Problems) < maxProblems {
		p.Problems = append(p.Problems, fmt.Sprintf("line %d: ", p.line)+fmt.Sprintf(format, args...))
	}
}

func (p *parser) comment(line string) {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) != 4 || fields[0] != "#" || fields[1] != "HELP" && fields[1] != "TYPE" {
		p.problem("a comment that is neither HELP nor TYPE: %q", line)
		return
	}
	name := fields[2]
	p.enter(name)
	if what := fields[1] + " " + name; p.header[what] {
		p.problem("a second %s", what)
	} else {
		p.header[what] = true
	}
	if fields[1] == "TYPE" {
		p.Types[name] = fields[3]
		if !slices.Contains([]string{"gauge", "counter", "untyped", "histogram", "summary"}, fields[3]) {
			p.problem("%s is of an unknown type %q", name, fields[3])
		}
	}
}

// enter begins the block of a family, or goes on with it.
func (p *parser) enter(name string) {
	if name == p.family {
		return
	}
	if p.seen[name] {
		p.problem("%s is in more than one block", name)
	}
	p.seen[name], p.family = true, name
}

func (p *parser) sample(line string) {
	key, value, problem := split(line)
	if problem != "" {
		p.problem("%s: %q", problem, line)
		return
	}
	name := Name(key)
	p.enter(name)
	if !p.header["TYPE "+name] {
		p.problem("%s has a series before its TYPE", name)
		p.header["TYPE "+name] = true
	}
	if _, ok := p.Series[key]; ok {
		p.problem("%s is there twice", key)
		p.Twice[key]++
		return
	}
	p.Series[key] = value
}

// Line makes the key and the value of one line of a sample.
func Line(line string) (key, value string, err error) {
	key, value, problem := split(line)
	if problem != "" {
		return "", "", fmt.Errorf("%s: %q", problem, line)
	}
	return key, value, nil
}

func split(line string) (key, value, problem string) {
	end := strings.IndexAny(line, "{ ")
	if end <= 0 {
		return "", "", "no name and value"
	}
	if !isName(line[:end], true) {
		return "", "", "a wrong name"
	}
	key, rest := line[:end], line[end:]
	if rest[0] == '{' {
		var problem string
		if key, rest, problem = withLabels(key, rest[1:]); problem != "" {
			return "", "", problem
		}
	}
	value = strings.TrimPrefix(rest, " ")
	if len(value) != len(rest)-1 {
		return "", "", "no blank before the value"
	}
	if _, err := strconv.ParseFloat(value, 64); err != nil {
		return "", "", "a wrong value"
	}
	return key, value, ""
}

func withLabels(name, rest string) (key, after, problem string) {
	var pairs []string
	for first := true; ; first = false {
		if strings.HasPrefix(rest, "}") {
			rest = rest[1:]
			break
		}
		if !first {
			if rest == "" || rest[0] != ',' {
				return "", "", "no comma between labels"
			}
			rest = rest[1:]
		}
		label, after, ok := strings.Cut(rest, `="`)
		if !ok || !isName(label, false) {
			return "", "", "a wrong label"
		}
		end := quote(after)
		if end < 0 {
			return "", "", "a label value that does not end, or is not escaped"
		}
		pairs = append(pairs, rest[:len(label)+2+end+1])
		rest = after[end+1:]
	}
	slices.SortFunc(pairs, func(a, b string) int {
		return strings.Compare(a[:strings.IndexByte(a, '=')], b[:strings.IndexByte(b, '=')])
	})
	for i := 1; i < len(pairs); i++ {
		if label := pairs[i][:strings.IndexByte(pairs[i], '=')+1]; strings.HasPrefix(pairs[i-1], label) {
			return "", "", "a label twice"
		}
	}
	if len(pairs) == 0 {
		return name, rest, ""
	}
	return name + "{" + strings.Join(pairs, ",") + "}", rest, ""
}

// quote returns where the quoted value ends that s begins within, or -1.
func quote(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i
		case '\\':
			if i++; i == len(s) || !strings.ContainsRune(`\"n`, rune(s[i])) {
				return -1
			}
		case '\n':
			return -1
		}
	}
	return -1
}

func isName(s string, colon bool) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') && (!colon || c != ':') {
			return false
		}
	}
	return s != ""
}
