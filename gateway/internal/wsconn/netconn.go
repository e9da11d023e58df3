package wsconn

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Sizes of coalesced writing.
const (
	flushBytes = 48 << 10  // frames are sent once this much is waiting
	pieceBytes = 32 << 10  // of a write: each piece that goes through earns a new deadline
	keepBytes  = 128 << 10 // larger buffers are left to the garbage collector
	tcpPiece   = keepBytes // of a write that can be resumed: usually all, in one system call
)

var errSlowReader = errors.New("wsconn: the peer accepted no byte in time")

var bufferPool = sync.Pool{New: func() any { b := make([]byte, 0, flushBytes+pieceBytes); return &b }}

// coalescer is the connection below the WebSocket library, which reads from it and writes
// the answer to the upgrade; frames are written by message. Both only collect; Flush
// sends. It has its own lock because the library writes a close frame from the reading
// goroutine when it finds a violation of the protocol, and its own deadline: the library's is ignored, a flush fails when the peer accepts
// nothing for timeout. A failed flush poisons every later write.
type coalescer struct {
	net.Conn
	timeout func() time.Duration
	early   []byte // read by the HTTP server behind the request; served first

	mu     sync.Mutex
	buf    *[]byte
	err    error
	closed bool // a close frame was written
	from   int  // where the frame begins that beginText was called for
}

func (c *coalescer) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		if c.early = c.early[n:]; len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *coalescer) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if len(p) > 0 && p[0] == closeFirst {
		if c.closed {
			return 0, websocket.ErrCloseSent
		}
		c.closed = true
	}
	buf := c.bufferLocked()
	*buf = append(*buf, p...)
	return len(p), nil
}

func (c *coalescer) bufferLocked() *[]byte {
	if c.buf == nil {
		c.buf = bufferPool.Get().(*[]byte)
	}
	return c.buf
}

// SetWriteDeadline does nothing: Flush sets its own.
func (c *coalescer) SetWriteDeadline(time.Time) error { return nil }

// waiting returns how many bytes Flush would send.
func (c *coalescer) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		return 0
	}
	return len(*c.buf)
}

// Flush sends what was written. One goroutine at a time calls it; writing may go on
// meanwhile. The error is errSlowReader when the peer took nothing for the timeout.
func (c *coalescer) Flush() error {
	c.mu.Lock()
	buf, err := c.buf, c.err
	c.buf = nil
	c.mu.Unlock()
	if buf == nil {
		return err
	}
	if err == nil {
		err = c.send(*buf)
	}
	if cap(*buf) <= keepBytes {
		*buf = (*buf)[:0]
		bufferPool.Put(buf)
	}
	if err != nil {
		c.mu.Lock()
		if c.err == nil {
			c.err = err
		}
		err = c.err
		c.mu.Unlock()
	}
	return err
}

func (c *coalescer) send(p []byte) error {
	// TLS cannot resume a write that timed out, plain TCP can: there, some bytes
	// in time are enough.
	_, resumable := c.Conn.(*net.TCPConn)
	piece := pieceBytes
	if resumable = resumable && runtime.GOOS != "windows"; resumable { // there, how much was sent is not told
		piece = tcpPiece
	}
	for len(p) > 0 {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout())); err != nil {
			return err
		}
		n, err := c.Conn.Write(p[:min(len(p), piece)])
		p = p[n:]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if n > 0 && resumable {
				continue
			}
			return errSlowReader
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reset closes without waiting for anything: unsent bytes are dropped and the peer
// sees a reset. It never blocks, not even under TLS.
func (c *coalescer) reset() {
	raw := c.Conn
	if t, ok := raw.(interface{ NetConn() net.Conn }); ok {
		raw = t.NetConn()
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // best effort: without it the kernel keeps trying to deliver
	}
	_ = raw.Close()
}

// drop closes the TCP connection without a close frame and without a reset.
func (c *coalescer) drop() {
	raw := c.Conn
	if t, ok := raw.(interface{ NetConn() net.Conn }); ok {
		raw = t.NetConn()
	}
	_ = raw.Close()
}

// hijacker gives the library the http.Hijacker that it asserts and that wrapped
// ResponseWriters, Caddy's among them, offer only through ResponseController.
type hijacker struct {
	http.ResponseWriter
	timeout func() time.Duration
	conn    *coalescer // set by Hijack
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = &coalescer{Conn: c, timeout: h.timeout}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n) // cannot fail: the bytes are there
		h.conn.early = append([]byte(nil), early...)
	}
	// The library takes a reader of its own; this one only has to be empty.
	rw.Reader = bufio.NewReaderSize(h.conn, 16)
	return h.conn, rw, nil
}

var (
	_ net.Conn      = (*coalescer)(nil)
	_ http.Hijacker = (*hijacker)(nil)
)
