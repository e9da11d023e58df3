package wsconn

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"
)

// shut begins the end from our side: the queued responses, then a close frame, then
// a short wait for the peer's. Only the first call counts.
func (c *conn) shut(code int, reason, cause string) { c.begin(code, reason, cause) }

func (c *conn) begin(code int, reason, cause string) {
	c.mu.Lock()
	c.beginLocked(code, reason, cause)
	c.mu.Unlock()
	c.kick()
}

func (c *conn) beginLocked(code int, reason, cause string) {
	if c.closing {
		return
	}
	c.closing = true
	c.inbox.close = &closeFrame{code, reason}
	c.setCause(cause)
	close(c.stop)
}

// cut ends the connection without a close frame.
func (c *conn) cut(cause string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutLocked(cause)
}

func (c *conn) cutLocked(cause string) {
	c.setCause(cause)
	if !c.closing {
		c.closing = true
		close(c.stop)
	}
	c.nc.drop()
}

func (c *conn) setCause(cause string) {
	if c.cause == "" {
		c.cause = cause
	}
}

// lost ends the connection after a flush failed.
func (c *conn) lost(err error) {
	slow := errors.Is(err, errSlowReader)
	c.mu.Lock()
	defer c.mu.Unlock()
	if slow {
		c.setCause(ClosedSlow)
		c.nc.reset()
	}
	c.cutLocked(ClosedNetwork)
}

// readFailed notes why reading ended; linger says that the peer may still be
// sending, so that closing at once would reset what we sent last.
func (c *conn) readFailed(err error) (linger bool) {
	var closed *websocket.CloseError
	var network net.Error
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		c.setCause(ClosedClient)
		return false
	case errors.As(err, &closed), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, net.ErrClosed):
		c.setCause(ClosedNetwork)
		return false
	case errors.Is(err, websocket.ErrReadLimit):
		c.setCause(ClosedTooBig)
	default: // the library has answered a violation with 1002
		c.setCause(ClosedProtocol)
	}
	return true
}

// teardown runs in the reading goroutine after its last read.
func (c *conn) teardown(linger bool) {
	c.mu.Lock()
	if !c.closing {
		c.closing = true
		close(c.stop)
	}
	c.mu.Unlock()
	c.cancel()
	c.retire()
	c.lastWords()
	if linger {
		c.linger()
	}
	_ = c.nc.Conn.Close() // under TLS this says goodbye; it fails when we were cut
	c.requests.Wait()

	c.mu.Lock()
	cause, authed, rest, plain := c.cause, c.authed, c.replies, c.plain
	c.replies = nil
	c.mu.Unlock()
	for i := range rest {
		c.discard(&rest[i])
	}
	c.w.release(c)
	if plain != nil {
		plain.Detach()
	}
	c.reg.remove(c)
	c.reg.leave(c.addr, authed)
	c.reg.metrics.Closed(cause)
	c.reg.log.Debug("socket closed", zap.String("reason", cause), zap.String("remote", c.remote))
	if c.site.Done != nil {
		c.site.Done()
	}
	close(c.ended)
	c.reg.wg.Done()
}

// lastWords writes the close frame that answers the peer's, and what the library
// left in the buffer. The writing goroutine is gone.
func (c *conn) lastWords() {
	if c.w.broken {
		return
	}
	c.w.step(c, &work{})
	if c.w.broken {
		return
	}
	_ = c.nc.Flush() // the peer may be gone, which is what we are about to be
}

// lingerBytes is how much of what a cut-off peer still sends is read.
const lingerBytes = 16 << 20

// linger reads on for a while without looking, after the close frame was sent to a
// peer that is still sending: closing a socket with unread bytes makes the kernel
// send a reset, which may overtake the close frame.
func (c *conn) linger() {
	if t, ok := c.nc.Conn.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	}
	if c.nc.SetReadDeadline(time.Now().Add(c.reg.options().CloseWait)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.nc, lingerBytes)
}
