package schemas

import (
	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// The messages encode and decode themselves wherever github.com/vmihailenco/msgpack/v5 is used: with its Encoder and
// Decoder, its Marshal and Unmarshal, as fields of other types. The bytes are those of our own Marshal.
var (
	_ msgpack.CustomEncoder = (*UsageSample)(nil)
	_ msgpack.CustomDecoder = (*UsageSample)(nil)
	_ msgpack.CustomEncoder = (*ObjectChange)(nil)
	_ msgpack.CustomDecoder = (*ObjectChange)(nil)
)

// EncodeMsgpack writes what Marshal returns. The bytes are made by AppendMsgpack and given to e in one piece: value by
// value through e costs three times as much, and an Encoder that interns strings would write what only its own Decoder reads.
func (s *UsageSample) EncodeMsgpack(e *msgpack.Encoder) error {
	return msgpack.RawMessage(s.Marshal()).EncodeMsgpack(e)
}

// DecodeMsgpack takes the bytes of one message from d, then does what Unmarshal does, so that there is one set of rules
// for what a message is. A length that d's stream does not hold takes no memory.
func (s *UsageSample) DecodeMsgpack(d *msgpack.Decoder) error {
	raw, err := wire.ReadValue(d.Buffered(), nil)
	if err != nil {
		return err
	}
	return s.Unmarshal(raw)
}

// EncodeMsgpack writes what Marshal returns, in one piece.
func (c *ObjectChange) EncodeMsgpack(e *msgpack.Encoder) error {
	return msgpack.RawMessage(c.Marshal()).EncodeMsgpack(e)
}

// DecodeMsgpack takes the bytes of one message from d, then does what Unmarshal does. Object aliases memory of its own.
func (c *ObjectChange) DecodeMsgpack(d *msgpack.Decoder) error {
	raw, err := wire.ReadValue(d.Buffered(), nil)
	if err != nil {
		return err
	}
	return c.Unmarshal(raw)
}
