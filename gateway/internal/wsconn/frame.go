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

// header is how much beginText leaves for the header of a frame: what one of 126 to 65,535
// bytes needs, as most have.
const header = 4

// beginText locks the connection and returns its buffer, for the text of a frame to be
// appended to. endText must follow.
func (c *coalescer) beginText() []byte {
	c.mu.Lock()
	buf := c.bufferLocked()
	c.from = len(*buf)
	return append(*buf, make([]byte, header)...)
}

// endText takes the buffer with the text and completes the frame, whose length with its
// header it returns. It fails as message does.
func (c *coalescer) endText(buf []byte) (int, error) {
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		*c.buf = buf[:c.from]
		return 0, c.err
	case c.closed:
		*c.buf = buf[:c.from]
		return 0, websocket.ErrCloseSent
	}
	text := buf[c.from+header:]
	var room [10]byte
	if head := appendHeader(room[:0], websocket.TextMessage, len(text)); len(head) == header {
		copy(buf[c.from:], head)
	} else {
		buf = append(buf, head...) // for its length only
		copy(buf[c.from+len(head):], text)
		copy(buf[c.from:], head)
		buf = buf[:c.from+len(head)+len(text)]
	}
	*c.buf = buf
	return len(buf) - c.from, nil
}

// noBuffers keeps the library from giving each socket a buffer for writing: it only
// writes close frames, which have one of their own.
type noBuffers struct{}

func (noBuffers) Get() any { return nil }
func (noBuffers) Put(any)  {}
