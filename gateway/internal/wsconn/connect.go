package wsconn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// session is what a successful connect sets; the next one replaces it.
type session struct {
	principal *auth.Principal
	filter    []string              // nil or empty: every run (Q9)
	plain     *eventlog.PlainCursor // nil without run:read
}

// connect runs in the reading goroutine: frames that follow it in a pipeline see
// its outcome.
func (c *conn) connect(req wire.Request) {
	params, failure := wire.DecodeConnect(req)
	if failure != nil {
		c.finish(reply{id: req.ID, failure: failure})
		return
	}
	p, failure := c.site.Auth.Authenticate(c.req, params.Token)
	if failure != nil {
		c.finish(reply{id: req.ID, failure: failure})
		if !c.authed { // only this goroutine sets it
			c.shut(wire.ClosePolicy, wire.ReasonAuth, ClosedAuthFailed)
		}
		return
	}
	s := &session{principal: p, filter: params.Subscribe}
	if p.Allows(wire.ScopeRunRead) {
		// Attached before the snapshot is read: what is committed in between is in
		// both, nothing is in neither.
		s.plain = c.reg.deps.Log.AttachPlain(c.kickF)
		s.plain.Filter(filterOf(s.filter))
	}
	payload, err := c.hello(p)
	if err != nil {
		c.reg.log.Warn("hello failed", zap.Error(err), zap.String("remote", c.remote))
		c.finish(reply{id: req.ID, failure: wire.Errorf(wire.CodeStorageUnavailable,
			"The gateway cannot read its state right now; try again.").With("retryable", true)})
		if s.plain != nil {
			s.plain.Detach()
		}
		return
	}
	if !c.authed && !c.reg.promote(c.addr) {
		if s.plain != nil {
			s.plain.Detach()
		}
		c.finish(reply{id: req.ID, failure: wire.ConnectionLimit()})
		c.shut(wire.CloseTryAgain, wire.ReasonLimit, ClosedLimit)
		return
	}
	c.ws.SetReadLimit(c.reg.options().MaxMessageBytes) // this is the reading goroutine
	c.mu.Lock()
	c.authed, c.principal, c.plain, c.named = true, p, s.plain, nil
	if s.filter != nil {
		c.named = make(map[string]struct{}, len(s.filter))
		for _, runID := range s.filter {
			c.named[runID] = struct{}{}
		}
	}
	c.nextTick = c.reg.deps.Now().Add(c.reg.options().Heartbeat)
	c.mu.Unlock()
	c.finish(reply{id: req.ID, payload: payload, session: s})
}

// filterOf is the event log's idea of a filter: an empty one means everything.
func filterOf(runs []string) []string {
	if len(runs) == 0 {
		return nil
	}
	return runs
}

// hello builds the payload around the snapshot, whose bytes sockets share.
func (c *conn) hello(p *auth.Principal) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.reg.options().RequestTimeout)
	defer cancel()
	snapshot, err := c.reg.deps.Router.Hello(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("hello snapshot: %w", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	const empty = "null" // a valid snapshot member, replaced below without reading the bytes again
	err = enc.Encode(wire.Hello{
		Protocol: wire.Protocol, Features: wire.Features(), Identity: c.reg.deps.Identity(),
		Policy: wire.HelloPolicy{HeartbeatMs: c.reg.options().Heartbeat.Milliseconds()},
		Auth: wire.HelloAuth{SessionToken: uuid.NewString(), Role: p.Role, Scopes: p.Scopes,
			UserID: optional(p.UserID), TokenID: optional(p.TokenID)},
		Snapshot: json.RawMessage(empty),
	})
	if err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	head, ok := bytes.CutSuffix(b.Bytes(), []byte(empty+"}\n"))
	if !ok {
		return nil, fmt.Errorf("hello: the snapshot is not the last member of %q", b.Bytes())
	}
	out := make([]byte, 0, len(head)+len(snapshot)+1)
	return append(append(append(out, head...), snapshot...), '}'), nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// recheck closes the socket when its grant is gone (Q29).
func (c *conn) recheck() {
	c.mu.Lock()
	authed, p := c.authed, c.principal
	c.mu.Unlock()
	if authed && c.grantEnded(p) != nil {
		c.shut(wire.ClosePolicy, wire.ReasonAuth, ClosedRevoked)
	}
}

// grantEnded says why p may not go on, nil when it may.
func (c *conn) grantEnded(p *auth.Principal) *wire.Error {
	if failure := c.site.Auth.Recheck(p); failure != nil {
		return failure
	}
	if p.ExpiresAtMs > 0 && c.reg.deps.Now().UnixMilli() >= p.ExpiresAtMs {
		return wire.Errorf(wire.CodeUnauthorized, "Token expired; issue a refreshed token.").With("refresh", "smithers token issue")
	}
	return nil
}
