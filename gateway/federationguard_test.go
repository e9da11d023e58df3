package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

// A gate that no copy tells of yet, or whose copy does not say who may decide it, is
// guarded all the same while the upstream takes all callers for one.
func TestUpstreamGatesWithoutACopyAreGuarded(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, func(s *Settings) { s.UpstreamToken = "secret" })
	gate := func(run, node string) map[string]any {
		return map[string]any{"runId": run, "workflowKey": "theirs", "nodeId": node, "iteration": 0, "requestTitle": "T", "requestSummary": nil,
			"requestedAtMs": 1, "approvalMode": "gate", "options": []any{}, "allowedScopes": []any{}, "allowedUsers": []string{"alice"}, "autoApprove": nil}
	}
	fake.Put(&upstreamtest.Run{ID: "before-its-event", Workflow: "theirs", Status: "running",
		Approvals: []map[string]any{gate("before-its-event", "other"), gate("before-its-event", "gate")}})
	fake.Put(&upstreamtest.Run{ID: "old-version", Workflow: "theirs", Approvals: []map[string]any{gate("old-version", "gate")},
		Log: []map[string]any{{"runId": "old-version", "seq": 0, "event": "ApprovalRequested", "timestampMs": 1,
			"payload": obj{"nodeId": "gate", "iteration": 0}}}})
	for _, run := range []string{"before-its-event", "old-version"} {
		decide := obj{"runId": run, "nodeId": "gate", "iteration": 0, "approved": true}
		asked := len(fake.Calls("submitApproval"))
		h.refused("approver", "submitApproval", decide, 403, "FORBIDDEN", "User is not allowed to decide this approval")
		require.Len(t, fake.Calls("submitApproval"), asked, run)
		h.call("submitApproval", decide, nil)
		require.Len(t, fake.Calls("submitApproval"), asked+1, run)
	}
	h.call("submitApproval", obj{"runId": "before-its-event", "nodeId": "none", "approved": true}, nil) // the upstream answers that
}

// With one token for all, only who launched a run may rewind it, and admins.
func TestUpstreamRewindsAreGuarded(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, func(s *Settings) { s.UpstreamToken = "secret" })
	id := h.launch("theirs", obj{})
	rewind := obj{"runId": id, "frameNo": 1, "confirm": true}
	status, f := h.rpc("admin", "rewindRun", rewind)
	require.Equal(t, 200, status, f.Error)
	status, f = h.rpc("other", "rewindRun", rewind)
	require.NotEqual(t, 200, status)
	require.Equal(t, "Unauthorized", f.Error["code"])
	require.Equal(t, "Only the run owner or an admin may rewind this run.", f.Error["message"])
	require.Len(t, fake.Calls("rewindRun"), 1)
}
