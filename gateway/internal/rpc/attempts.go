package rpc

import (
	"context"
	"math"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// attemptRow shows an attempt of a node; n may be nil.
func (r *Router) attemptRow(runID string, a *store.Attempt, n *store.Node) wire.AttemptRow {
	meta := a.Meta
	if len(meta) == 0 {
		meta = attemptMeta(n)
	}
	row := wire.AttemptRow{
		RunID: runID, NodeID: a.NodeID, Iteration: a.Iteration, Attempt: a.Attempt, State: a.State,
		StartedAtMs: a.StartedAtMs, FinishedAtMs: optionalMs(a.FinishedAtMs), HeartbeatAtMs: optionalMs(a.HeartbeatAtMs),
		HeartbeatDataJSON: optionalText(a.Heartbeat), ErrorJSON: r.scrub.failureText(a.Error), MetaJSON: optionalText(meta),
	}
	if t := a.Tree; t != nil {
		row.JJPointer, row.JJCwd = optional(t.After), optional(r.shownRoot(t.Root))
	}
	return row
}

// attemptsList answers newest first for one node and oldest first for a whole run.
func (r *Router) attemptsList(ctx context.Context, _ *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	nodeID, iteration := p.str("nodeId"), p.iteration()
	rows := []wire.AttemptRow{}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		if _, err := loadRun(v, id, notFound); err != nil {
			return err
		}
		var attempts []*store.Attempt
		var err error
		if nodeID != "" {
			attempts, err = v.Attempts(id, nodeID, iteration)
			slices.SortFunc(attempts, func(a, b *store.Attempt) int { return b.Attempt - a.Attempt })
		} else {
			attempts, err = v.AttemptsOf(id)
			slices.SortStableFunc(attempts, func(a, b *store.Attempt) int { return int(a.StartedAtMs - b.StartedAtMs) })
		}
		if err != nil {
			return err
		}
		nodes, err := v.Nodes(id)
		byKey := make(map[program.Key]*store.Node, len(nodes))
		for _, n := range nodes {
			byKey[program.Key{NodeID: n.NodeID, Iteration: n.Iteration}] = n
		}
		for _, a := range attempts {
			rows = append(rows, r.attemptRow(id, a, byKey[program.Key{NodeID: a.NodeID, Iteration: a.Iteration}]))
		}
		return err
	})
	return rows, err
}

func (r *Router) attemptsGet(ctx context.Context, _ *Call, p params) (any, error) {
	id, nodeID := p.str("runId"), p.str("nodeId")
	iteration, hasIteration := p.number("iteration")
	attempt, hasAttempt := p.number("attempt")
	if id == "" || nodeID == "" || !hasIteration || !hasAttempt {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "runId, nodeId, iteration, and attempt are required")
	}
	var row *wire.AttemptRow
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		if _, err := loadRun(v, id, notFound); err != nil {
			return err
		}
		if iteration < 0 || iteration > math.MaxInt32 || iteration != math.Trunc(iteration) {
			return nil
		}
		attempts, err := v.Attempts(id, nodeID, int(iteration))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(attempts, func(a *store.Attempt) bool { return float64(a.Attempt) == attempt })
		if i < 0 {
			return nil
		}
		n, err := v.Node(id, nodeID, int(iteration))
		if err != nil {
			return err
		}
		found := r.attemptRow(id, attempts[i], n)
		row = &found
		return nil
	})
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, wire.Errorf(wire.CodeNotFound, "Attempt not found")
	}
	return row, nil
}
