// Package wire reads and writes msgpack over plain byte slices, without reflection and without copying what nobody asked
// for. In flow the bytes of one message, out flow its values, or the other way round.
//
// It promises: no input makes it panic; a length that cannot be true (more elements than bytes are left) is an error
// before anything is allocated for it; nothing recurses; [Reader] allocates only the strings that [Reader.String]
// returns. What the Append functions write is the smallest form of each value, byte for byte what an
// Encoder of github.com/vmihailenco/msgpack/v5 writes with EncodeArrayLen, EncodeMapLen, EncodeString, EncodeUint,
// EncodeInt, EncodeFloat64, EncodeBool and EncodeNil.
package wire

import "errors"

// ErrMalformed is what every error of a [Reader] wraps: the bytes end too early, hold another type than the one asked
// for, or claim a length that they cannot have.
var ErrMalformed = errors.New("malformed message")

// Kind is the type of a msgpack value.
type Kind uint8

// The kinds. Int stands for every integer, signed or not; None for "no byte left" and for the one code that msgpack
// never uses (0xc1).
const (
	None Kind = iota
	Nil
	Bool
	Int
	Float
	String
	Binary
	Array
	Map
	Extension
)

// String names the kind, for error texts.
func (k Kind) String() string {
	switch k {
	case Nil:
		return "nil"
	case Bool:
		return "a boolean"
	case Int:
		return "an integer"
	case Float:
		return "a float"
	case String:
		return "a string"
	case Binary:
		return "binary"
	case Array:
		return "an array"
	case Map:
		return "a map"
	case Extension:
		return "an extension"
	}
	return "nothing valid"
}

// kindOf tells which kind of value the code byte c begins.
func kindOf(c byte) Kind {
	switch {
	case c < 0x80, c >= 0xe0:
		return Int
	case c < 0x90:
		return Map
	case c < 0xa0:
		return Array
	case c < 0xc0:
		return String
	}
	switch c {
	case 0xc0:
		return Nil
	case 0xc2, 0xc3:
		return Bool
	case 0xc4, 0xc5, 0xc6:
		return Binary
	case 0xca, 0xcb:
		return Float
	case 0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3:
		return Int
	case 0xd9, 0xda, 0xdb:
		return String
	case 0xdc, 0xdd:
		return Array
	case 0xde, 0xdf:
		return Map
	case 0xc1:
		return None
	}
	return Extension
}
