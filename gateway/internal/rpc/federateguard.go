package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// guard applies what an upstream cannot: one that knows this gateway by a single token
// takes every caller for the same user, so who may decide a gate or rewind a run is
// checked here, as the upstream would.
func (r *Router) guard(ctx context.Context, c *Call, m wire.Method, p params, runID string) error {
	switch m.Name {
	case wire.MethodSubmitApproval:
		return r.guardApproval(ctx, c, p, runID)
	case wire.MethodRewindRun:
		return r.guardRewind(ctx, c, runID)
	}
	return nil
}

func (r *Router) guardApproval(ctx context.Context, c *Call, p params, runID string) error {
	if err := r.deps.Upstream.Sync(ctx, runID); err != nil { // the copy must be the gate of now
		return err
	}
	var gate *store.Approval
	err := r.deps.Store.View(ctx, func(v *store.View) (err error) {
		gate, err = v.Approval(runID, p.str("nodeId"), p.iteration())
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	var o program.ApprovalOptions
	if err == nil && gate.Status == wire.ApprovalRequested && len(gate.Request) > 0 && json.Unmarshal(gate.Request, &o) != nil {
		return wire.Errorf(wire.CodeForbidden, "Who may decide this approval cannot be read")
	}
	if len(o.AllowedUsers)+len(o.AllowedScopes) == 0 {
		listed := false
		if o.AllowedUsers, o.AllowedScopes, listed, err = r.listedGate(ctx, runID, p); err != nil {
			return err
		}
		// Its list is of the newest runs only (Q31), its decisions are not.
		if open := gate != nil && gate.Status == wire.ApprovalRequested; open && !listed {
			return wire.Errorf(wire.CodeForbidden, "Who may decide this approval cannot be read")
		}
	}
	if len(o.AllowedUsers) > 0 && !slices.Contains(o.AllowedUsers, c.Principal.UserID) {
		return wire.Errorf(wire.CodeForbidden, "User is not allowed to decide this approval")
	}
	if len(o.AllowedScopes) > 0 && !slices.ContainsFunc(o.AllowedScopes, func(s string) bool { return wire.Holds(c.Principal.Scopes, s) }) {
		return wire.Errorf(wire.CodeForbidden, "Connection is missing required approval scope")
	}
	return nil
}

// listedGate reads from the upstream's list who may decide a gate of which no copy says
// it: Smithers asks for a decision a moment before its log does, and the logs of some of
// its versions do not tell. Nobody in particular when
// it is not listed: there is nothing to decide then, and the upstream says so.
func (r *Router) listedGate(ctx context.Context, runID string, p params) (users, scopes []string, listed bool, err error) {
	filter, err := json.Marshal(map[string]any{"runId": runID})
	if err != nil {
		return nil, nil, false, err
	}
	payload, err := r.deps.Upstream.Call(ctx, source.System, wire.MethodListApprovals, filter)
	if err != nil {
		return nil, nil, false, err
	}
	var rows []wire.ApprovalRow
	if json.Unmarshal(payload, &rows) != nil {
		return nil, nil, false, wire.Errorf(wire.CodeForbidden, "Who may decide this approval cannot be read")
	}
	for _, row := range rows {
		if row.RunID == runID && row.NodeID == p.str("nodeId") && row.Iteration == p.iteration() {
			return row.AllowedUsers, row.AllowedScopes, true, nil
		}
	}
	return nil, nil, false, nil
}

func (r *Router) guardRewind(ctx context.Context, c *Call, runID string) error {
	if strings.EqualFold(c.Principal.Role, "admin") {
		return nil
	}
	var by struct {
		TriggeredBy string `json:"triggeredBy"`
	}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		run, err := v.Run(runID)
		if err != nil {
			return err
		}
		return json.Unmarshal(run.CreatedBy, &by)
	})
	if err != nil {
		return err
	}
	if c.Principal.UserID == "" || by.TriggeredBy != c.Principal.UserID {
		return wire.Errorf(wire.CodeUnauthorizedCamel, "Only the run owner or an admin may rewind this run.")
	}
	return nil
}
