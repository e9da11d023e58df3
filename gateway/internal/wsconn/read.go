package wsconn

import (
	"context"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// serve reads the socket until it ends.
func (c *conn) serve() {
	c.kick() // the challenge
	for {
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			c.teardown(c.readFailed(err))
			return
		}
		c.reg.received.Add(1)
		c.reg.metrics.Received(1)
		// No further frame is read while too many requests are unanswered: a client
		// that does not read its answers cannot pile them up here.
		select {
		case c.slots <- struct{}{}:
			c.handle(data)
		case <-c.stop: // only waiting for the peer's close frame
		}
	}
}

// handle answers one frame, or starts the goroutine that does.
func (c *conn) handle(data []byte) {
	req, failure := wire.DecodeFrame(data)
	if failure != nil {
		c.finish(reply{id: req.ID, failure: failure})
		return
	}
	if req.Method == wire.MethodConnect {
		c.connect(req)
		return
	}
	c.mu.Lock()
	authed, p, plain := c.authed, c.principal, c.plain
	c.mu.Unlock()
	if !authed {
		c.finish(reply{id: req.ID, failure: wire.ConnectFirst()})
		return
	}
	if failure := c.grantEnded(p); failure != nil {
		c.finish(reply{id: req.ID, failure: failure})
		c.shut(wire.ClosePolicy, wire.ReasonAuth, ClosedRevoked)
		return
	}
	if !startsRuns(req.Method) {
		plain = nil
	}
	if plain != nil {
		// Here, not in the goroutine: the order of frames is that of their effects.
		plain.Hold()
	}
	c.requests.Add(1)
	go c.dispatch(req, p, plain)
}

// startsRuns names the methods whose success may set a run going. Its events must
// not come before the response, nor be lost to a filter that gets the run only then.
func startsRuns(name string) bool {
	switch wire.ResolveMethod(name).Name {
	case "launchRun", "resumeRun", "cronRun", "runs.rerun", "retryTask", "rewindRun", "submitApproval", "submitSignal":
		return true
	}
	return false
}

func (c *conn) dispatch(req wire.Request, p *auth.Principal, held *eventlog.PlainCursor) {
	defer c.requests.Done()
	ctx, cancel := context.WithTimeout(c.ctx, c.reg.options().RequestTimeout)
	defer cancel()
	rc := &requestConn{conn: c, principal: p}
	payload, failure := c.reg.deps.Router.Dispatch(ctx, &rpc.Call{
		Principal: p, Method: req.Method, Params: req.Params, Remote: c.remote,
		Transport: rpc.TransportWS, Conn: rc, RequestID: req.ID,
	})
	out := reply{id: req.ID, payload: payload, failure: failure, opened: rc.opened, devOpened: rc.devOpened, subscribe: rc.runs, held: held}
	if failure != nil {
		c.endOpened(&out)
		out.subscribe = nil
	}
	c.name(out.subscribe)
	c.finish(out)
}

// finish hands an answer to the writing goroutine.
func (c *conn) finish(r reply) {
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		c.discard(&r)
		return
	}
	c.replies = append(c.replies, r)
	c.mu.Unlock()
	c.kick()
}

// endOpened ends the streams that an answer was to begin.
func (c *conn) endOpened(r *reply) {
	for _, s := range r.opened {
		c.endStream(s)
	}
	for _, s := range r.devOpened {
		c.endDevStream(s)
	}
	r.opened, r.devOpened = nil, nil
}

// discard gives back what an unwritten answer holds.
func (c *conn) discard(r *reply) {
	c.endOpened(r)
	if r.held != nil {
		r.held.Release()
	}
	if r.session != nil && r.session.plain != nil {
		r.session.plain.Detach()
	}
}
