// Package client is the one client of all peers. It reads WebSocket frames where they
// arrived and looks at nothing but their bounds and their numbers, so that it costs the
// same whoever sent them.
package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Opcodes of RFC 6455.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// maxMessage bounds a message: a hello with a thousand runs takes about a megabyte.
const maxMessage = 64 << 20

// CloseError is a close frame of the server.
type CloseError struct {
	Code   int // 1005: none was given
	Reason string
}

func (e *CloseError) Error() string { return fmt.Sprintf("closed: %d %s", e.Code, e.Reason) }

// Socket is one WebSocket. One goroutine may read and one may write at a time.
type Socket struct {
	Conn    net.Conn
	buf     []byte
	r, w    int
	parts   []byte // of a fragmented message
	out     []byte // queued frames, or the buffer of the last ones
	nextN   int    // id of the next request
	last    int64  // number of the last event seen by Burst
	fromEnd int    // bytes from that number's name to the end of its frame; 0: none was seen
	Bytes   int64  // payload bytes of all messages read
}

const readBuffer = 16 << 10

func newSocket(conn net.Conn) *Socket {
	return &Socket{Conn: conn, buf: make([]byte, readBuffer)}
}

// Next returns the next text or binary message. It is valid until the next call. Pings
// are answered.
func (s *Socket) Next() ([]byte, error) {
	for {
		op, final, data, err := s.frame()
		if err != nil {
			return nil, err
		}
		switch op {
		case opText, opBinary:
			if final {
				s.Bytes += int64(len(data))
				return data, nil
			}
			s.parts = append(s.parts[:0], data...)
		case opContinuation:
			s.parts = append(s.parts, data...)
			if len(s.parts) > maxMessage {
				return nil, errors.New("a fragmented message is too long")
			}
			if final {
				s.Bytes += int64(len(s.parts))
				return s.parts, nil
			}
		case opPing:
			if err := s.write(opPong, data); err != nil {
				return nil, err
			}
		case opClose:
			e := &CloseError{Code: 1005}
			if len(data) >= 2 {
				e.Code, e.Reason = int(binary.BigEndian.Uint16(data)), string(data[2:])
			}
			return nil, e
		}
	}
}

// frame reads one frame. Its data lies in the buffer.
func (s *Socket) frame() (op byte, final bool, data []byte, err error) {
	if err := s.fill(2); err != nil {
		return 0, false, nil, err
	}
	b0, b1 := s.buf[s.r], s.buf[s.r+1]
	size, head := int(b1&0x7f), 2
	switch size {
	case 126:
		head = 4
		if err := s.fill(head); err != nil {
			return 0, false, nil, err
		}
		size = int(binary.BigEndian.Uint16(s.buf[s.r+2:]))
	case 127:
		head = 10
		if err := s.fill(head); err != nil {
			return 0, false, nil, err
		}
		long := binary.BigEndian.Uint64(s.buf[s.r+2:])
		if long > maxMessage {
			return 0, false, nil, fmt.Errorf("a frame of %d bytes is too long", long)
		}
		size = int(long)
	}
	if b1&0x80 != 0 {
		return 0, false, nil, errors.New("the server masked a frame")
	}
	if err := s.fill(head + size); err != nil {
		return 0, false, nil, err
	}
	data = s.buf[s.r+head : s.r+head+size]
	s.r += head + size
	return b0 & 0x0f, b0&0x80 != 0, data, nil
}

// fill makes sure that n bytes are in the buffer.
func (s *Socket) fill(n int) error {
	if s.w-s.r >= n {
		return nil
	}
	switch {
	case n > len(s.buf):
		grown := make([]byte, n+readBuffer)
		s.w, s.r = copy(grown, s.buf[s.r:s.w]), 0
		s.buf = grown
	case s.r == s.w:
		s.r, s.w = 0, 0
	case s.r+n > len(s.buf):
		s.w, s.r = copy(s.buf, s.buf[s.r:s.w]), 0
	}
	if len(s.buf) > readBuffer && n <= readBuffer && s.w-s.r <= readBuffer { // one long message is no reason to keep its room
		small := make([]byte, readBuffer)
		s.w, s.r = copy(small, s.buf[s.r:s.w]), 0
		s.buf = small
	}
	for s.w-s.r < n {
		m, err := s.Conn.Read(s.buf[s.w:])
		s.w += m
		if err != nil && s.w-s.r < n {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// Write sends one text message.
func (s *Socket) Write(data []byte) error { return s.write(opText, data) }

// Queue adds a text message to what Flush sends. The goroutine that queues must be the
// one that flushes.
func (s *Socket) Queue(message string) { s.out = appendFrame(s.out, opText, message) }

// Flush sends what is queued in one write.
func (s *Socket) Flush() error {
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.Conn.Write(s.out)
	s.out = s.out[:0]
	return err
}

// Waiting reports whether something of the next frame has arrived.
func (s *Socket) Waiting() bool { return s.w > s.r }

func (s *Socket) write(op byte, data []byte) error {
	_, err := s.Conn.Write(appendFrame(make([]byte, 0, len(data)+14), op, data))
	return err
}

// appendFrame appends a frame. Masks guard proxies against hostile pages; here are
// neither, so the mask is zero.
func appendFrame[T string | []byte](out []byte, op byte, data T) []byte {
	out = append(out, 0x80|op)
	switch n := len(data); {
	case n < 126:
		out = append(out, 0x80|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 0x80|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 0x80|127), uint64(n))
	}
	return append(append(out, 0, 0, 0, 0), data...)
}

// Close ends the connection without a close frame.
func (s *Socket) Close() { _ = s.Conn.Close() }

// Deadline bounds reading from now on.
func (s *Socket) Deadline(d time.Duration) { _ = s.Conn.SetReadDeadline(time.Now().Add(d)) }
