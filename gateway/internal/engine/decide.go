package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Decision is an answer to an approval.
type Decision struct {
	RunID     string
	NodeID    string
	Iteration int
	Approved  bool
	Note      string
	Value     json.RawMessage // for select and rank; nil: none
	By        Actor
	// Holds reports whether the caller has a scope that the gate asks for. nil: exact
	// match or "*" among By.Scopes.
	Holds func(scope string) bool
}

// Decide stores a decision and wakes the run. Errors are those of submitApproval,
// checked in its order, inside the transaction.
func (e *Engine) Decide(ctx context.Context, d Decision) error {
	if d.Holds == nil {
		d.Holds = func(scope string) bool {
			return slices.Contains(d.By.Scopes, scope) || slices.Contains(d.By.Scopes, "*")
		}
	}
	key := program.Key{NodeID: d.NodeID, Iteration: d.Iteration}
	var part share
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		run, err := ownRun(&tx.View, d.RunID)
		if errors.Is(err, store.ErrNotFound) {
			return errRunNotFound(d.RunID)
		} else if err != nil {
			return err
		}
		part = e.registry.shareOf(run)
		return e.decide(tx, run, &d)
	})
	if err != nil {
		return apiError(err)
	}
	e.wake(d.RunID, part, &key)
	return nil
}

func (e *Engine) decide(tx *store.Tx, run *store.Run, d *Decision) error {
	a, err := tx.Approval(d.RunID, d.NodeID, d.Iteration)
	if errors.Is(err, store.ErrNotFound) {
		return wire.Errorf(wire.CodeInvalidInput, "Node %s is not waiting for approval.", d.NodeID)
	} else if err != nil {
		return err
	}
	if a.Status != wire.ApprovalRequested {
		return wire.Errorf(wire.CodeAlreadyDecided, "Approval for %s has already been decided", d.NodeID).
			With("runId", d.RunID).With("nodeId", d.NodeID).With("iteration", d.Iteration).With("status", a.Status)
	}
	var g program.ApprovalOptions
	if err := json.Unmarshal(a.Request, &g); err != nil {
		return wire.Errorf(wire.CodeInvalidRequest, "Malformed approval request: %s", "the stored request cannot be read")
	}
	if err := d.permitted(&g); err != nil {
		return err
	}
	if err := d.fits(&g, a.Mode); err != nil {
		return err
	}
	n, err := tx.Node(d.RunID, d.NodeID, d.Iteration)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if n == nil || n.State != wire.NodeWaitingApproval || wire.RunTerminal(run.Status) {
		return wire.Errorf(wire.CodeInvalidInput, "Node %s is not waiting for approval.", d.NodeID)
	}
	return e.storeDecision(tx, run, d, a, n)
}

func (e *Engine) storeDecision(tx *store.Tx, run *store.Run, d *Decision, a *store.Approval, n *store.Node) error {
	now := e.nowMs()
	ev := event{typ: wire.TypeApprovalDenied, name: wire.EventApprovalDecided, at: now,
		node: &program.Key{NodeID: d.NodeID, Iteration: d.Iteration}, fields: []field{boolean("approved", d.Approved)}}
	a.Status = wire.ApprovalDenied
	if d.Approved {
		a.Status, ev.typ = wire.ApprovalApproved, wire.TypeApprovalGranted
	}
	a.DecidedAtMs, a.DecidedBy, a.Note, a.Decision = now, d.By.name(), d.Note, d.Value
	if err := tx.DecideApproval(d.RunID, a); err != nil {
		return err
	}
	if err := appendEvent(tx, run, e.opts.MaxEventBytes, ev); err != nil {
		return err
	}
	// The mark by which the run finds the decision if the process dies before it looks.
	n.WakeAtMs = now
	if err := tx.UpsertNode(d.RunID, n); err != nil {
		return err
	}
	detail, err := json.Marshal(map[string]any{"nodeId": d.NodeID, "iteration": d.Iteration, "approved": d.Approved})
	if err != nil {
		return err
	}
	return d.By.audit(tx, now, "decide", d.RunID, detail)
}

// permitted checks who may decide.
func (d *Decision) permitted(g *program.ApprovalOptions) error {
	if len(g.AllowedUsers) > 0 && !slices.Contains(g.AllowedUsers, d.By.UserID) {
		return wire.Errorf(wire.CodeForbidden, "User is not allowed to decide this approval")
	}
	if len(g.AllowedScopes) > 0 && !slices.ContainsFunc(g.AllowedScopes, d.Holds) {
		return wire.Errorf(wire.CodeForbidden, "Connection is missing required approval scope")
	}
	return nil
}

// fits checks the value of an approving decision.
func (d *Decision) fits(g *program.ApprovalOptions, mode string) error {
	if !d.Approved || mode != modeSelect && mode != modeRank {
		return nil
	}
	known := func(key string) bool {
		return slices.ContainsFunc(g.Options, func(o program.ApprovalOption) bool { return o.Key == key })
	}
	var value struct {
		Selected any   `json:"selected"`
		Ranked   []any `json:"ranked"`
	}
	if len(d.Value) > 0 {
		_ = json.Unmarshal(d.Value, &value) // a value of another shape has neither member
	}
	if mode == modeSelect {
		key, ok := value.Selected.(string)
		if !ok || key == "" {
			return wire.Errorf(wire.CodeInvalidRequest, "select approvals require decision.selected")
		}
		if !known(key) {
			return wire.Errorf(wire.CodeInvalidRequest, "Unknown selection: %s", key)
		}
		return nil
	}
	if len(value.Ranked) == 0 {
		return wire.Errorf(wire.CodeInvalidRequest, "rank approvals require decision.ranked")
	}
	for _, v := range value.Ranked {
		if key, ok := v.(string); !ok || !known(key) {
			return wire.Errorf(wire.CodeInvalidRequest, "rank approval included unknown options")
		}
	}
	return nil
}
