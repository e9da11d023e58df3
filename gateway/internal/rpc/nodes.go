package rpc

import (
	"context"
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// nodeOptions is how the journal keeps the options of a node.
type nodeOptions struct {
	Approval *program.ApprovalOptions `json:"approval"`
	Task     *program.TaskOptions     `json:"task"`
	Signal   *program.SignalOptions   `json:"signal"`
}

// optionsOf reads them; what cannot be read counts as absent.
func optionsOf(n *store.Node) (o nodeOptions) {
	if json.Unmarshal(n.Options, &o) != nil {
		return nodeOptions{}
	}
	return o
}

func (r *Router) listNodeStates(ctx context.Context, _ *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	rows := []wire.NodeStateRow{}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		if _, err := loadRun(v, id, notFound); err != nil {
			return err
		}
		nodes, err := v.NodeStates(id)
		if err != nil {
			return err
		}
		attempts, err := v.AttemptsOf(id)
		if err != nil {
			return err
		}
		latest := map[program.Key]*store.Attempt{}
		for _, a := range attempts {
			k := program.Key{NodeID: a.NodeID, Iteration: a.Iteration}
			if l := latest[k]; l == nil || l.Attempt < a.Attempt {
				latest[k] = a
			}
		}
		for _, n := range nodes {
			if n.Kind == string(program.KindEffect) {
				continue
			}
			row := wire.NodeStateRow{NodeID: n.NodeID, Iteration: n.Iteration, State: n.State,
				UpdatedAtMs: optionalMs(n.UpdatedAtMs), Label: optional(n.Label)}
			if a := latest[program.Key{NodeID: n.NodeID, Iteration: n.Iteration}]; a != nil {
				number := a.Attempt
				row.LastAttempt = &number
				row.StartedAtMs, row.FinishedAtMs = optionalMs(a.StartedAtMs), optionalMs(a.FinishedAtMs)
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}
