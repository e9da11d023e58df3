package rpc

import (
	"context"
	"encoding/json"
	"errors"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// forwardedActions are the methods about a run of an upstream that change it, and what
// the audit table calls them.
var forwardedActions = map[string]string{
	wire.MethodResumeRun:      "resume",
	wire.MethodPauseRun:       "pause",
	wire.MethodCancelRun:      "cancel",
	wire.MethodRewindRun:      "rewind",
	wire.MethodRetryTask:      "retry",
	wire.MethodSubmitApproval: "decide",
	wire.MethodSubmitSignal:   "signal",
	"hijackRun":               "hijack",
}

const auditText = 256 // bytes of a member of an entry about a forwarded call

// forwardedDetail is what the audit table keeps of a forwarded call.
type forwardedDetail struct {
	Upstream      bool     `json:"upstream"`
	Outcome       string   `json:"outcome"` // ok, or the code of the error
	NodeID        string   `json:"nodeId,omitempty"`
	Iteration     *int     `json:"iteration,omitempty"`
	Approved      *bool    `json:"approved,omitempty"`
	SignalName    string   `json:"signalName,omitempty"`
	CorrelationID string   `json:"correlationId,omitempty"`
	FrameNo       *float64 `json:"frameNo,omitempty"`
	SessionID     string   `json:"sessionId,omitempty"`
	RerunOf       string   `json:"rerunOf,omitempty"`
	CronID        string   `json:"cronId,omitempty"`
}

// noteForwarded writes the audit entry of a call that an upstream has carried out, or
// may have, and of every rewind that was tried. The upstream itself may know this gateway
// only. What cannot be written is logged: the call has had its effect.
func (r *Router) noteForwarded(ctx context.Context, c *Call, m wire.Method, p params, id string, payload json.RawMessage, err error) {
	action, ok := forwardedActions[m.Name]
	if !ok || err != nil && m.Name != wire.MethodRewindRun && !upstream.MayHaveHappened(err) {
		return
	}
	d := forwardedDetail{Upstream: true, Outcome: "ok"}
	if err != nil {
		d.Outcome = wire.CodeServerError
		var werr *wire.Error
		if errors.As(err, &werr) {
			d.Outcome = werr.Code
		}
	}
	switch m.Name {
	case wire.MethodSubmitApproval, wire.MethodRetryTask:
		n := p.iteration()
		d.NodeID, d.Iteration = cut(p.str("nodeId")), &n
	case wire.MethodSubmitSignal:
		d.SignalName, d.CorrelationID = cut(p.str("signalName")), cut(p.str("correlationId"))
	case wire.MethodRewindRun:
		if n, ok := p.number("frameNo"); ok {
			d.FrameNo = &n
		}
	case "hijackRun":
		d.SessionID = cut(parseParams(payload).str("sessionId"))
	}
	if m.Name == wire.MethodSubmitApproval {
		approved := approves(p)
		d.Approved = &approved
	}
	r.noteDone(ctx, c, action, id, d)
}

// noteDone writes the entry and waits for it as long as the caller does.
func (r *Router) noteDone(ctx context.Context, c *Call, action, id string, d forwardedDetail) {
	written := make(chan struct{})
	r.deps.Store.Submit(func(tx *store.Tx) error { return r.note(tx, c, action, id, d) }, func(err error) {
		if err != nil {
			r.deps.Logger.Error("a call that Smithers has carried out is not in the audit table", zap.String("action", action),
				zap.String("run", id), zap.String("user", c.Principal.UserID), zap.Error(err))
		}
		close(written)
	})
	select {
	case <-written:
	case <-ctx.Done(): // whoever asked waits no longer; it is written all the same
	}
}

// approves tells which way a decision goes.
func approves(p params) bool {
	approved, ok := p.boolean("approved")
	if !ok {
		approved, _ = p.object("decision").boolean("approved")
	}
	return approved
}

func cut(s string) string { return s[:min(len(s), auditText)] }
