package wsconn

import (
	"encoding/binary"

	"github.com/gorilla/websocket"
)

// appendHeader appends the header of a whole, unmasked frame with n bytes of payload
// (RFC 6455, 5.2).
func appendHeader(dst []byte, opcode, n int) []byte {
	first := byte(opcode) | finalBit
	switch {
	case n <= 125:
		return append(dst, first, byte(n))
	case n <= 0xffff:
		return append(dst, first, 126, byte(n>>8), byte(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
	}
}

const (
	finalBit   = 0x80
	closeFirst = websocket.CloseMessage | finalBit // the first byte of a close frame
)

// message collects one frame. The library's own writing would copy each frame into a
// buffer of its own first, and keep that for the life of the socket. After a close frame,
// whoever wrote it, nothing may follow: websocket.ErrCloseSent.
func (c *coalescer) message(opcode int, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if c.closed {
		return websocket.ErrCloseSent
	}
	c.closed = opcode == websocket.CloseMessage
	buf := c.bufferLocked()
	*buf = append(appendHeader(*buf, opcode, len(data)), data...)
	return nil
}

// noBuffers keeps the library from giving each socket a buffer for writing: it only
// writes close frames, which have one of their own.
type noBuffers struct{}

func (noBuffers) Get() any { return nil }
func (noBuffers) Put(any)  {}
