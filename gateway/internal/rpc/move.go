package rpc

import (
	"context"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// runsMove is an extension of the protocol.
func (r *Router) runsMove(ctx context.Context, c *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	if p.str("to") != wire.MoveToCurrent {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "to must be %q, the newest version of the run's workflow", wire.MoveToCurrent)
	}
	moved, err := r.deps.Engine.Move(ctx, id, actor(c))
	if err != nil {
		return nil, err
	}
	return wire.RunMoved{RunID: id, Moved: moved.From != moved.To, From: optional(moved.From), To: optional(moved.To), Status: moved.Status}, nil
}
