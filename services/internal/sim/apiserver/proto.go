package apiserver

import (
	"encoding/binary"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The few protobuf messages that are put together from bytes that are encoded already:
//
//	envelope   = "k8s\x00" Unknown{1: TypeMeta{1: apiVersion, 2: kind}, 2: raw}
//	list       = {1: ListMeta, 2: item, 2: item, ...}
//	watch      = length (4 bytes, big endian), WatchEvent{1: type, 2: RawExtension{1: envelope}}

const magic = "k8s\x00"

func uvarint(b []byte) (uint64, int) { return binary.Uvarint(b) }

func varintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

// fieldLen is the size of a length-delimited field with a number below 16.
func fieldLen(size int) int { return 1 + varintLen(uint64(size)) + size }

func appendFieldHeader(b []byte, number, size int) []byte {
	return binary.AppendUvarint(append(b, byte(number<<3|2)), uint64(size))
}

func appendString(b []byte, number int, s string) []byte {
	return append(appendFieldHeader(b, number, len(s)), s...)
}

// appendEnvelopeHeader starts an envelope whose raw part, of the given size, is to follow.
func appendEnvelopeHeader(b []byte, apiVersion, kind string, size int) []byte {
	b = append(b, magic...)
	b = appendFieldHeader(b, 1, fieldLen(len(apiVersion))+fieldLen(len(kind)))
	b = appendString(b, 1, apiVersion)
	b = appendString(b, 2, kind)
	return appendFieldHeader(b, 2, size)
}

func envelopeLen(apiVersion, kind string, size int) int {
	return len(magic) + fieldLen(fieldLen(len(apiVersion))+fieldLen(len(kind))) + fieldLen(size)
}

func appendEnvelope(b []byte, apiVersion, kind string, raw []byte) []byte {
	return append(appendEnvelopeHeader(b, apiVersion, kind, len(raw)), raw...)
}

// appendWatchFrame appends a whole frame of a protobuf watch.
func appendWatchFrame(b []byte, eventType, apiVersion, kind string, raw []byte) []byte {
	inner := envelopeLen(apiVersion, kind, len(raw))
	extension := fieldLen(inner)
	b = binary.BigEndian.AppendUint32(b, uint32(fieldLen(len(eventType))+fieldLen(extension)))
	b = appendString(b, 1, eventType)
	b = appendFieldHeader(b, 2, extension)
	b = appendFieldHeader(b, 1, inner)
	return appendEnvelope(b, apiVersion, kind, raw)
}

// appendListHeader appends an enveloped list up to its items, whose raw bytes are to follow, each behind
// appendFieldHeader(b, 2, len).
func appendListHeader(b []byte, apiVersion, kind string, listMeta *metav1.ListMeta, items func(yield func(size int))) ([]byte, error) {
	header, err := listMeta.Marshal()
	if err != nil {
		return nil, err
	}
	size := fieldLen(len(header))
	items(func(n int) { size += fieldLen(n) })
	b = appendEnvelopeHeader(b, apiVersion, kind, size)
	return append(appendFieldHeader(b, 1, len(header)), header...), nil
}
