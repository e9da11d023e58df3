package rpc

import (
	"context"

	"github.com/google/uuid"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// hijackRun answers for any run there is; there is no terminal to take over. Who asked
// is in the audit table with the session's id (Q47).
func (r *Router) hijackRun(ctx context.Context, c *Call, p params) (any, error) {
	id := p.str("runId")
	if id == "" {
		return nil, wire.Errorf(wire.CodeInvalidRunID, "runId is required")
	}
	session := uuid.NewString()
	err := r.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if _, err := loadRun(&tx.View, id, runNotFound); err != nil {
			return err
		}
		tx.Touch(store.CollectionRuns)
		return r.note(tx, c, "hijack", id, map[string]string{"sessionId": session})
	})
	if err != nil {
		return nil, err
	}
	return wire.Hijacked{RunID: id, Status: wire.ControlHijackReady, SessionID: session}, nil
}
