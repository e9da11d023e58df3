package rpc

import (
	"context"
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func approvalRow(a *store.Approval) wire.ApprovalRow {
	var o program.ApprovalOptions
	// What cannot be read is shown without its options; deciding it says why.
	_ = json.Unmarshal(a.Request, &o)
	row := wire.ApprovalRow{
		RunID: a.RunID, WorkflowKey: a.WorkflowKey, NodeID: a.NodeID, Iteration: a.Iteration,
		RequestTitle: a.Title, RequestSummary: optional(a.Summary), RequestedAtMs: optionalMs(a.RequestedAtMs),
		ApprovalMode: a.Mode, AllowedScopes: o.AllowedScopes, AllowedUsers: o.AllowedUsers,
	}
	if row.RequestTitle == "" {
		row.RequestTitle = a.NodeID
	}
	if len(o.AutoApprove) > 0 && o.AutoApprove[0] == '{' {
		row.AutoApprove = o.AutoApprove
	}
	for _, o := range o.Options {
		row.Options = append(row.Options, wire.ApprovalOption(o))
	}
	return row
}

// approvalRows reads pending gates directly, so that old ones stay visible (Q31).
func approvalRows(v *store.View, f store.ApprovalFilter) ([]wire.ApprovalRow, error) {
	pending, err := v.Approvals(f)
	rows := make([]wire.ApprovalRow, 0, len(pending))
	for _, a := range pending {
		rows = append(rows, approvalRow(a))
	}
	return rows, err
}

func (r *Router) listApprovals(ctx context.Context, _ *Call, p params) (any, error) {
	f, werr := approvalFilter(p)
	if werr != nil {
		return nil, werr
	}
	var rows []wire.ApprovalRow
	err := r.deps.Store.View(ctx, func(v *store.View) (err error) {
		rows, err = approvalRows(v, f)
		return err
	})
	return rows, err
}

// approvalFilter reads the filter of listApprovals, whose members may stand outside it.
func approvalFilter(p params) (store.ApprovalFilter, *wire.Error) {
	f := p.object("filter")
	first := func(name string) string {
		if s := p.str(name); s != "" {
			return s
		}
		return f.str(name)
	}
	limit, werr := f.positiveInt("limit", wire.MaxApprovals, wire.MaxApprovals)
	if _, ok := p["limit"]; ok {
		limit, werr = p.positiveInt("limit", wire.MaxApprovals, wire.MaxApprovals)
	}
	return store.ApprovalFilter{RunID: first("runId"), Workflow: first("workflow"), Limit: limit}, werr
}

func (r *Router) submitApproval(ctx context.Context, c *Call, p params) (any, error) {
	runID, nodeID := p.str("runId"), p.str("nodeId")
	decision := p.object("decision")
	approved, ok := p.boolean("approved")
	if !ok {
		approved, ok = decision.boolean("approved")
	}
	if runID == "" || nodeID == "" || !ok {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "runId, nodeId, and approved are required")
	}
	note, given := p.text("note")
	if !given {
		note = decision.str("note")
	}
	value := decision.raw("value")
	if value == nil && decision != nil {
		value = p.raw("decision")
	}
	iteration := p.iteration()
	err := r.deps.Engine.Decide(ctx, engine.Decision{RunID: runID, NodeID: nodeID, Iteration: iteration,
		Approved: approved, Note: note, Value: value, By: actor(c),
		Holds: func(scope string) bool { return wire.Holds(c.Principal.Scopes, scope) }})
	if r.deps.Counters.Decided != nil {
		r.deps.Counters.Decided(outcome(err, approved))
	}
	if err != nil {
		return nil, err
	}
	c.widen(runID)
	return wire.Decided{RunID: runID, NodeID: nodeID, Iteration: iteration, Approved: approved}, nil
}

func outcome(err error, approved bool) string {
	switch {
	case err != nil:
		return "rejected"
	case approved:
		return "approved"
	}
	return "denied"
}
