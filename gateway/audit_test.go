package gateway

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// audit returns the entries of an action, newest first.
func (h *harness) audit(action string) (entries []*store.AuditEntry) {
	h.t.Helper()
	run, release := h.gateway.acquire()
	require.NotNil(h.t, run)
	defer release()
	require.NoError(h.t, run.store.View(h.t.Context(), func(v *store.View) (err error) {
		entries, err = v.Audit(store.AuditFilter{Action: action})
		return err
	}))
	return entries
}

// TestAuditNamesWhoDidWhat does what the table is to record, and looks.
func TestAuditNamesWhoDidWhat(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	gated, plain := h.launch("approve", nil), h.launch("approve", nil)
	for _, run := range []string{gated, plain} {
		h.await(run, "waiting-approval")
	}
	h.call("resumeRun", obj{"runId": plain}, nil)
	h.call("submitSignal", obj{"runId": gated, "signalName": "noise"}, nil)
	h.call("submitApproval", obj{"runId": gated, "nodeId": "gate", "approved": true}, nil)
	h.await(gated, "finished")
	h.call("cancelRun", obj{"runId": plain}, nil)
	h.call("hijackRun", obj{"runId": gated}, nil)
	h.call("cronCreate", obj{"workflow": "approve", "pattern": "@yearly", "cronId": "yearly"}, nil)
	h.call("cronDelete", obj{"cronId": "yearly"}, nil)
	h.call("createTicket", obj{"path": "t/1.md", "content": "x"}, nil)
	h.call("updateTicket", obj{"path": "t/1.md", "content": "y"}, nil)
	h.call("deleteTicket", obj{"path": "t/1.md"}, nil)
	require.NoError(t, h.gateway.Backup(t.Context(), t.TempDir()+"/copy.db", nil))

	list := func(filter obj) (rows []obj) {
		h.call("audit.list", obj{"filter": filter}, &rows)
		return rows
	}
	for action, n := range map[string]int{"launch": 2, "resume": 1, "signal": 1, "decide": 1, "cancel": 1, "hijack": 1,
		"cron.create": 1, "cron.delete": 1, "ticket.create": 1, "ticket.update": 1, "ticket.delete": 1, "backup": 1} {
		found := list(obj{"action": action})
		require.Len(t, found, n, action)
		require.NotEmpty(t, found[0]["actor"], action)
		if action != "backup" {
			require.NotEmpty(t, found[0]["remote"], action)
		}
	}
	require.NotEmpty(t, list(obj{"action": "token.issued"}), "the store was seen")

	of := list(obj{"runId": gated})
	require.Equal(t, []any{"hijack", "decide", "signal", "launch"}, []any{of[0]["action"], of[1]["action"], of[2]["action"], of[3]["action"]})
	require.Len(t, list(obj{"runId": gated, "limit": 2}), 2)
	require.Len(t, list(obj{"runId": gated, "beforeId": of[1]["id"]}), 2)
	require.Len(t, list(obj{"runId": gated, "afterId": of[1]["id"]}), 1)
	require.Empty(t, list(obj{"runId": gated, "sinceMs": int64(of[0]["atMs"].(float64)) + 60_000}))
	require.Empty(t, list(obj{"actor": "nobody"}))
	h.refused("op", "audit.list", obj{"filter": obj{"afterId": -1}}, 400, "INVALID_REQUEST", "filter.afterId must be a non-negative integer")
	h.refused("rw", "audit.list", obj{}, http.StatusForbidden, "FORBIDDEN", "Missing required scope run:admin for audit.list")
}

func TestTokenChanges(t *testing.T) {
	names := func(last map[string]string, grants ...auth.GrantInfo) (all []string) {
		for _, e := range tokenChanges(grants, last, 1) {
			all = append(all, e.TokenID+" "+e.Action)
		}
		return all
	}
	a, b := auth.GrantInfo{TokenID: "a"}, auth.GrantInfo{TokenID: "b", RevokedAtMs: 5}
	require.Equal(t, []string{"a token.issued", "b token.issued", "b token.revoked"}, names(nil, a, b))
	require.Empty(t, names(map[string]string{"a": auditIssued, "b": auditRevoked}, a, b))
	require.Equal(t, []string{"b token.revoked"}, names(map[string]string{"a": auditIssued, "b": auditIssued}, a, b))
	require.Equal(t, []string{"a token.removed"}, names(map[string]string{"a": auditIssued, "b": auditRevoked}, b))
	require.Equal(t, []string{"a token.issued"}, names(map[string]string{"a": auditRemoved, "b": auditRevoked}, a, b))
}
