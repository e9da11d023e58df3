package rpc

import (
	"context"
	"math"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func (r *Router) streamRunEvents(ctx context.Context, c *Call, p params) (any, error) {
	runID := p.str("runId")
	if runID == "" {
		return nil, wire.Errorf(wire.CodeInvalidRunID, "runId is required")
	}
	var after *int64
	if _, given := p["afterSeq"]; given {
		f, ok := p.number("afterSeq")
		if !ok || f < 0 || f != math.Trunc(f) || f > 1<<53 {
			return nil, wire.Errorf(wire.CodeSeqOutOfRange, "afterSeq must be a non-negative integer")
		}
		n := int64(f)
		after = &n
	}
	if up := r.deps.Upstream; up != nil && up.Active() {
		if err := up.Ready(ctx, runID); err != nil && !r.known(ctx, runID) {
			return nil, err
		} // what is stored can be streamed while the upstream is down
	}
	opened, werr := c.Conn.OpenRunStream(ctx, runID, after)
	if werr != nil {
		return nil, werr
	}
	return wire.StreamOpened{StreamID: opened.StreamID, RunID: runID, AfterSeq: opened.AfterSeq, CurrentSeq: opened.CurrentSeq}, nil
}

// known reports whether a run is stored here.
func (r *Router) known(ctx context.Context, runID string) bool {
	return r.deps.Store.View(ctx, func(v *store.View) error {
		_, err := v.Run(runID)
		return err
	}) == nil
}
