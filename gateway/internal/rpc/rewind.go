package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// rewindRun leaves an audit row of every try that names a run.
func (r *Router) rewindRun(ctx context.Context, c *Call, p params) (any, error) {
	w := engine.Rewind{RunID: p.str("runId"), By: actor(c)}
	w.Force, _ = p.boolean("force")
	if w.RunID == "" {
		return nil, wire.Errorf(wire.CodeInvalidRunID, "runId is required")
	}
	frame, given := p.number("frameNo")
	if frame >= 0 && frame <= math.MaxInt32 {
		w.FrameNo = int64(frame)
	}
	if err := r.mayRewind(ctx, c, &w); err != nil {
		return nil, r.refusedRewind(ctx, &w, err)
	}
	if werr := checkRewind(p, frame, given); werr != nil {
		return nil, r.refusedRewind(ctx, &w, werr)
	}
	res, err := r.deps.Engine.Rewind(ctx, w)
	if err != nil {
		return nil, err
	}
	c.widen(w.RunID)
	return res, nil
}

func (r *Router) refusedRewind(ctx context.Context, w *engine.Rewind, err error) error {
	var werr *wire.Error
	if errors.As(err, &werr) {
		r.deps.Engine.RefuseRewind(ctx, w, werr, false)
	}
	return err
}

// mayRewind lets the owner of a run and administrators through.
func (r *Router) mayRewind(ctx context.Context, c *Call, w *engine.Rewind) error {
	var run *store.Run
	err := r.deps.Store.View(ctx, func(v *store.View) (err error) {
		run, err = loadRun(v, w.RunID, runNotFound)
		return err
	})
	if err != nil {
		return err
	}
	if !strings.EqualFold(c.Principal.Role, "admin") && !owns(c.Principal, run) {
		return wire.Errorf(wire.CodeUnauthorizedCamel, "Only the run owner or an admin may rewind this run.")
	}
	if wire.CheckRunID(w.RunID) != nil {
		return wire.Errorf(wire.CodeInvalidRunID, "runId must be a 1-64 character lowercase slug or an engine child-run id of at most 256 characters.")
	}
	return nil
}

// owns reports whether the caller has launched the run: later resumes and decisions
// change nothing (Q21). Callers without a user id are known by their token, or as the one
// identity of a gateway that asks for none.
func owns(p *auth.Principal, run *store.Run) bool {
	var by program.Auth
	if json.Unmarshal(run.CreatedBy, &by) != nil {
		return false
	}
	if p.UserID != "" {
		return by.TriggeredBy == p.UserID
	}
	return by.TriggeredBy == engine.NoUser && by.TokenID == p.TokenID
}

func checkRewind(p params, frame float64, given bool) *wire.Error {
	switch confirmed, _ := p.boolean("confirm"); {
	case !given:
		return wire.Errorf(wire.CodeInvalidFrameNo, "frameNo is required")
	case frame < 0 || frame > math.MaxInt32 || frame != math.Trunc(frame):
		return wire.Errorf(wire.CodeInvalidFrameNo, "frameNo must be a non-negative i32 integer.")
	case !confirmed:
		return wire.Errorf(wire.CodeConfirmationRequired, "jumpToFrame is destructive; pass confirm: true to proceed.")
	}
	return nil
}
