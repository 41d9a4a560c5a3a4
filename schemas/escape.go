package schemas

import (
	"fmt"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// literal tells whether c stands for itself in a token.
func literal(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c >= 'A' && c <= 'Z'
}

// EscapeToken turns any name into one token of a subject, reversibly: letters, digits and '-' stand for themselves, '.'
// becomes '_', every other byte %XX with upper-case hexadecimal digits. The empty name is "_", and so the name "." alone is "%2E".
func EscapeToken(name string) string {
	extra := 0
	plain := true
	for i := range len(name) {
		if c := name[i]; !literal(c) {
			plain = false
			if c != '.' {
				extra += 2
			}
		}
	}
	switch {
	case name == "":
		return "_"
	case plain:
		return name
	case name == ".":
		return "%2E"
	}
	var b strings.Builder
	b.Grow(len(name) + extra)
	for i := range len(name) {
		switch c := name[i]; {
		case literal(c):
			b.WriteByte(c)
		case c == '.':
			b.WriteByte('_')
		default:
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
	return b.String()
}

// UnescapeToken undoes EscapeToken. It refuses, with ErrSubject, every token that EscapeToken does not write: empty ones,
// bytes that must be escaped, lower-case hexadecimal digits, escapes of what needs none. So a name has exactly one token.
func UnescapeToken(token string) (string, error) {
	plain := true
	for i := range len(token) {
		if !literal(token[i]) {
			plain = false
			break
		}
	}
	switch {
	case token == "":
		return "", fmt.Errorf("%w: an empty token", ErrSubject)
	case plain:
		return token, nil
	case token == "_":
		return "", nil
	case token == "%2E":
		return ".", nil
	}
	var b strings.Builder
	b.Grow(len(token))
	for i := 0; i < len(token); i++ {
		switch c := token[i]; {
		case literal(c):
			b.WriteByte(c)
		case c == '_':
			b.WriteByte('.')
		case c == '%' && i+2 < len(token):
			hi, lo := strings.IndexByte(upperHex, token[i+1]), strings.IndexByte(upperHex, token[i+2])
			d := byte(hi<<4 | lo)
			if hi < 0 || lo < 0 || literal(d) || d == '.' {
				return "", fmt.Errorf("%w: the token %q has a wrong or needless escape at byte %d", ErrSubject, token, i)
			}
			b.WriteByte(d)
			i += 2
		default:
			return "", fmt.Errorf("%w: the token %q has %q at byte %d, which must be escaped", ErrSubject, token, c, i)
		}
	}
	return b.String(), nil
}

// escapeGroup is EscapeToken for API groups: the legacy group "" is "core", a group of that name "%63ore".
func escapeGroup(group string) string {
	switch group {
	case "":
		return coreGroup
	case coreGroup:
		return coreEscaped
	}
	return EscapeToken(group)
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
