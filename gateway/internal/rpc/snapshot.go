package rpc

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Snapshot is the state of a run for a GapResync: its row with summary and state,
// or null when retention has removed it.
func (r *Router) Snapshot(ctx context.Context, runID string) (json.RawMessage, error) {
	if up := r.deps.Upstream; up != nil && up.Active() {
		if owned, err := up.Owns(ctx, runID); err == nil && owned {
			if snapshot, err := up.Snapshot(ctx, runID); err == nil {
				return snapshot, nil
			}
		} // while it is down the copy must do
	}
	snapshot := json.RawMessage("null")
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		run, err := v.Run(runID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		row, err := r.detail(v, run)
		if err != nil {
			return err
		}
		row.System, row.StartedBy = nil, nil
		snapshot, err = encode(row)
		return err
	})
	return snapshot, err
}

// helloStatuses are the runs that a hello shows.
var helloStatuses = []string{wire.RunRunning, wire.RunWaitingApproval, wire.RunWaitingEvent, wire.RunWaitingTimer, wire.RunPaused}

// Hello is the snapshot member of a hello payload. It is at least as new as the
// call; callers who come together share the bytes, which must not be changed.
// Without run:read the lists are empty and nothing is read.
func (r *Router) Hello(ctx context.Context, p *auth.Principal) (json.RawMessage, error) {
	if p == nil || !p.Allows(wire.ScopeRunRead) {
		return encode(wire.HelloSnapshot{StateVersion: r.deps.Store.StateVersion()})
	}
	return r.hello.get(ctx)
}

func (r *Router) buildHello(ctx context.Context) (json.RawMessage, error) {
	h := wire.HelloSnapshot{StateVersion: r.deps.Store.StateVersion()} // read first: events after it are sent again
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		runs, err := v.Runs(store.RunFilter{Limit: wire.HelloRunLimit, Statuses: helloStatuses})
		if err != nil {
			return err
		}
		for _, run := range runs {
			h.Runs = append(h.Runs, r.row(run))
		}
		h.Approvals, err = approvalRows(v, store.ApprovalFilter{Limit: wire.HelloRunLimit})
		return err
	})
	if err != nil {
		return nil, err
	}
	return encode(h)
}
