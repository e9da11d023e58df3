package rpc

import (
	"context"
	"encoding/json"
	"math"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// auditList is an extension of the protocol.
func (r *Router) auditList(ctx context.Context, _ *Call, p params) (any, error) {
	f := p.object("filter")
	limit, werr := f.positiveInt("limit", wire.DefaultListLimit, wire.MaxListLimit)
	if werr != nil {
		return nil, werr
	}
	filter := store.AuditFilter{RunID: f.str("runId"), Action: f.str("action"), Actor: f.str("actor"), TokenID: f.str("tokenId"), Limit: limit}
	for name, to := range map[string]*int64{"sinceMs": &filter.SinceMs, "beforeId": &filter.BeforeID, "afterId": &filter.AfterID} {
		raw, given := f[name]
		if !given || string(raw) == "null" {
			continue
		}
		n, ok := f.number(name)
		if !ok || n < 0 || n > 1<<53 || n != math.Trunc(n) {
			return nil, wire.Errorf(wire.CodeInvalidRequest, "filter.%s must be a non-negative integer", name)
		}
		*to = int64(n)
	}
	rows := []wire.AuditRow{}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		entries, err := v.Audit(filter)
		for _, e := range entries {
			row := wire.AuditRow{ID: e.ID, AtMs: e.AtMs, Action: e.Action, RunID: optional(e.RunID), Actor: optional(e.Actor),
				TokenID: optional(e.TokenID), Remote: optional(e.Remote), Detail: e.Detail}
			if len(row.Detail) == 0 {
				row.Detail = json.RawMessage("null")
			}
			rows = append(rows, row)
		}
		return err
	})
	return rows, err
}

// note writes the audit entry of a call, in the unit of what it did.
func (r *Router) note(tx *store.Tx, c *Call, action, runID string, detail any) error {
	text, err := encode(detail)
	if err != nil {
		return err
	}
	who := c.Principal.UserID
	if who == "" {
		who = c.Principal.TokenID
	}
	if who == "" {
		who = "gateway"
	}
	return tx.InsertAudit(&store.AuditEntry{AtMs: r.now().UnixMilli(), Action: action, RunID: runID, Actor: who,
		TokenID: c.Principal.TokenID, Remote: c.Remote, Detail: text})
}
