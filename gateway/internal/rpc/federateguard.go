package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
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
	if errors.Is(err, store.ErrNotFound) {
		return nil // nothing to decide: the upstream says so
	}
	if err != nil {
		return err
	}
	var o program.ApprovalOptions
	if len(gate.Request) > 0 && json.Unmarshal(gate.Request, &o) != nil {
		return wire.Errorf(wire.CodeForbidden, "Who may decide this approval cannot be read")
	}
	if len(o.AllowedUsers) > 0 && !slices.Contains(o.AllowedUsers, c.Principal.UserID) {
		return wire.Errorf(wire.CodeForbidden, "User is not allowed to decide this approval")
	}
	if len(o.AllowedScopes) > 0 && !slices.ContainsFunc(o.AllowedScopes, func(s string) bool { return wire.Holds(c.Principal.Scopes, s) }) {
		return wire.Errorf(wire.CodeForbidden, "Connection is missing required approval scope")
	}
	return nil
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
