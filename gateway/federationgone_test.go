package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

// A reload that removes the upstream takes its workflows away and leaves the copies of
// its runs alone: this gateway's engine does nothing to them.
func TestUpstreamIsRemovedByAReload(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	var s Settings
	h := startFront(t, fake, func(front *Settings) { s = *front })
	id := h.launch("theirs", obj{})
	fake.Event(id, "RunStarted")
	fake.Event(id, "NodeStarted", "nodeId", "n", "iteration", 0, "attempt", 1)
	fake.Event(id, "ApprovalRequested", "nodeId", "gate", "iteration", 0, "request", obj{"mode": "gate"})
	run, release := h.gateway.acquire()
	defer release()
	type state struct {
		events int
		run    store.Run
	}
	now := func() (s state) {
		require.NoError(t, run.store.View(t.Context(), func(v *store.View) error {
			events, err := v.EventsLog(id, -1, 100)
			if err != nil {
				return err
			}
			row, err := v.Run(id)
			s = state{len(events), *row}
			return err
		}))
		return s
	}
	eventually(t, "the events", func() bool { return now().events == 3 })

	with := s.Upstream
	s.Upstream = ""
	require.NoError(t, h.gateway.Apply("without", s))
	h.gateway.Withdraw("test")
	before := now()
	for _, method := range []string{"cancelRun", "resumeRun", "pauseRun", "submitSignal", "rewindRun", "retryTask", "submitApproval", "getRun"} {
		status, f := h.rpc("op", method, obj{"runId": id, "nodeId": "gate", "iteration": 0, "approved": true, "signalName": "s", "frameNo": 0,
			"confirm": true})
		require.Equal(t, 503, status, method)
		require.Equal(t, "UNAVAILABLE", f.Error["code"], method)
		require.Equal(t, false, f.Error["retryable"], method)
		require.Contains(t, f.Error["message"], "neither a module that needs Smithers nor an upstream is configured", method)
		require.Equal(t, before, now(), method)
	}
	h.refused("op", "launchRun", obj{"workflow": "theirs"}, 404, "NOT_FOUND", "Unknown workflow: theirs")
	res, _ := h.do("POST", "/webhooks/theirs", "", `{}`)
	require.Equal(t, 404, res.StatusCode)
	require.NotContains(t, h.workflowKeys(), "theirs")
	var runs []obj
	h.call("listRuns", obj{}, &runs)
	require.Len(t, runs, 1, "the copy is still shown")
	h.call("createTicket", obj{"title": "here", "path": ".smithers/tickets/here.md", "content": "x"}, nil)
	h.refused("op", "cronRun", obj{"cronId": "none"}, 400, "INVALID_REQUEST", "cronId or workflow is required")

	s.Upstream = with
	require.NoError(t, h.gateway.Apply("with", s))
	h.gateway.Withdraw("without")
	fake.Event(id, "RunFinished")
	eventually(t, "the log to go on where it was", func() bool { s := now(); return s.events == 4 && s.run.Status == "finished" })
	require.Contains(t, h.workflowKeys(), "theirs")
}

// workflowKeys are those that are listed.
func (h *harness) workflowKeys() (keys []string) {
	var rows []obj
	h.call("listWorkflows", obj{}, &rows)
	for _, w := range rows {
		keys = append(keys, w["key"].(string))
	}
	return keys
}
