package gateway

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

const rewindTokens = `{"version":2,"tokens":{
	"op":{"role":"operator","scopes":["*"],"userId":"alice"},
	"ro":{"role":"operator","scopes":["run:read"]},
	"rw":{"role":"operator","scopes":["run:write"],"userId":"bob"},
	"nameless":{"role":"operator","scopes":["run:admin"]},
	"other":{"role":"operator","scopes":["run:admin"],"userId":"bob"},
	"root":{"role":"Admin","scopes":["run:admin"],"userId":"root"}
}}`

// outcomes are the audit rows of rewinds, oldest first, as actor and outcome.
func (h *harness) outcomes() (all []string) {
	for _, row := range h.audit("rewind") {
		var d struct{ Outcome string }
		require.NoError(h.t, json.Unmarshal(row.Detail, &d))
		all = append([]string{row.Actor + " " + row.RunID + " " + d.Outcome}, all...)
	}
	return all
}

func TestRewind(t *testing.T) {
	h := start(t, t.TempDir(), func(s *Settings) { require.NoError(t, writeFile(s.TokenStore, rewindTokens)) }, Site{})
	h.call("launchRun", obj{"workflow": "many", "runId": "r"}, nil)
	h.await("r", "finished")
	s := h.dial("op", "other")
	s.stream("r", 0)
	s.follow("r", 0, "run.completed")

	h.refused("ro", "rewindRun", obj{"runId": "r", "frameNo": 1, "confirm": true}, 403, "FORBIDDEN", "Missing required scope run:admin for rewindRun")
	h.refused("op", "rewindRun", obj{"frameNo": 1}, 400, "InvalidRunId", "runId is required")
	require.Empty(t, h.outcomes())
	h.refused("op", "rewindRun", obj{"runId": "nope", "frameNo": 1}, 404, "RunNotFound", "Run not found: nope")
	h.refused("other", "rewindRun", obj{"runId": "r"}, 401, "Unauthorized", "Only the run owner or an admin may rewind this run.")
	h.refused("nameless", "rewindRun", obj{"runId": "r"}, 401, "Unauthorized", "Only the run owner or an admin may rewind this run.")
	h.refused("op", "rewindRun", obj{"runId": "r"}, 400, "InvalidFrameNo", "frameNo is required")
	h.refused("op", "rewindRun", obj{"runId": "r", "frameNo": "1"}, 400, "InvalidFrameNo", "frameNo is required")
	for _, n := range []any{-1, 1.5, 1 << 31} {
		h.refused("op", "rewindRun", obj{"runId": "r", "frameNo": n}, 400, "InvalidFrameNo", "frameNo must be a non-negative i32 integer.")
	}
	h.refused("op", "jumpToFrame", obj{"runId": "r", "frameNo": 1}, 400, "ConfirmationRequired", "jumpToFrame is destructive; pass confirm: true to proceed.")
	h.refused("op", "rewindRun", obj{"runId": "r", "frameNo": 1, "confirm": "yes"}, 400, "ConfirmationRequired", "jumpToFrame is destructive; pass confirm: true to proceed.")
	h.refused("op", "rewindRun", obj{"runId": "r", "frameNo": 99, "confirm": true}, 400, "FrameOutOfRange", "frameNo must be between 0 and 46.")
	h.refused("op", "rewindRun", obj{"runId": "r", "frameNo": 0, "confirm": true}, 400, "FrameOutOfRange", "Frame 0 does not exist for run r.")

	var answer obj
	h.call("rewindRun", obj{"runId": "r", "frameNo": 40, "confirm": true}, &answer)
	delete(answer, "durationMs")
	require.Equal(t, obj{"ok": true, "newFrameNo": 40.0, "revertedSandboxes": 0.0, "deletedFrames": 6.0, "deletedAttempts": 2.0, "invalidatedDiffs": 0.0,
		"effectBoundary": obj{"blocking": []any{}, "revertible": []any{}, "warnings": []any{}}}, answer)
	jump := s.event()
	require.Equal(t, "run.event", jump.Event)
	require.Equal(t, "run.time_travel_jumped", jump.Payload["event"])
	inner := jump.Payload["payload"].(obj)
	require.Equal(t, []any{46.0, 40.0, "alice"}, []any{inner["fromFrameNo"], inner["toFrameNo"], inner["caller"]})
	h.await("r", "finished")

	status, f := h.rpc("root", "devtools.jumpToFrame", obj{"runId": "r", "frameNo": 1, "confirm": true})
	require.Equal(t, 200, status, f.Error)
	h.await("r", "finished")
	// The owner stays who launched it (Q21).
	_, body := h.do("POST", "/v1/api/runs/r/rewind", "op", `{"frameNo":2,"confirm":true}`)
	require.NoError(t, json.Unmarshal(body, &answer))
	require.Equal(t, []any{2.0, false}, []any{answer["data"].(obj)["newFrameNo"], answer["data"].(obj)["system"]}, string(body))
	h.await("r", "finished")
	require.Equal(t, []string{
		"alice nope RunNotFound", "bob r Unauthorized", h.outcomes()[2], "alice r InvalidFrameNo", "alice r InvalidFrameNo", "alice r InvalidFrameNo",
		"alice r InvalidFrameNo", "alice r InvalidFrameNo", "alice r ConfirmationRequired", "alice r ConfirmationRequired",
		"alice r FrameOutOfRange", "alice r FrameOutOfRange", "alice r ok", "root r ok", "alice r ok"}, h.outcomes())
	require.Contains(t, h.outcomes()[2], " r Unauthorized")
}

func TestRewindBehindSideEffects(t *testing.T) {
	h := start(t, t.TempDir(), func(s *Settings) {
		s.GoWorkflows["pay"] = GoWorkflow{Workflow: workflow.Func(func(ctx workflow.Context) (any, error) {
			if err := ctx.Task("check", func(workflow.Task) (any, error) { return nil, nil }, nil); err != nil {
				return nil, err
			}
			return nil, ctx.Task("pay", func(workflow.Task) (any, error) { return nil, nil }, nil, workflow.SideEffect(workflow.Effect{}))
		})}
	}, Site{})
	id := h.launch("pay", nil)
	h.await(id, "finished")
	e := h.refused("op", "rewindRun", obj{"runId": id, "frameNo": 1, "confirm": true}, 500, "TIME_TRAVEL_SIDE_EFFECT_BLOCKED",
		"Rewinding run "+id+" to frame 1 would repeat the side effects of pay; pass force: true to do so.")
	blocking := e["details"].(obj)["blocking"].([]any)
	require.Len(t, blocking, 1)
	entry := blocking[0].(obj)
	require.WithinDuration(t, time.Now(), time.UnixMilli(int64(entry["startedAtMs"].(float64))), time.Minute)
	delete(entry, "startedAtMs")
	require.Equal(t, obj{"kind": "task", "toolName": "pay", "nodeId": "pay", "iteration": 0.0, "attempt": 1.0, "seq": 5.0, "effectStatus": "succeeded",
		"idempotent": false, "hasRevert": false, "reason": "the task would be done again"}, entry)
	h.call("rewindRun", obj{"runId": id, "frameNo": 1, "confirm": true, "force": true}, nil)
	h.await(id, "finished")
}
