package gateway

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLaunchAndRead(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	var l obj
	h.call("launchRun", obj{"workflow": "static", "options": obj{"runId": "build-7", "startedBy": obj{"harness": "codex", "detected": true}}}, &l)
	require.Equal(t, obj{"runId": "build-7", "workflow": "static", "system": false}, l)

	run := h.await("build-7", "finished")
	keys := slices.Sorted(maps.Keys(run))
	for _, k := range strings.Fields(`runId parentRunId workflowName workflowPath workflowHash status createdAtMs startedAtMs finishedAtMs
		heartbeatAtMs runtimeOwnerId cancelRequestedAtMs pauseRequestedAtMs hijackRequestedAtMs hijackTarget vcsType vcsRoot vcsRevision
		errorJson configJson cancelRequestId cancelRequestSource cancelRequestClientIdentity cancelRequestClientPid workflowKey system
		startedBy summary runState`) {
		require.Contains(t, keys, k)
	}
	require.Equal(t, obj{"harness": "codex", "detected": true}, run["startedBy"])
	require.Equal(t, obj{"finished": 1.0}, run["summary"])
	require.Equal(t, "succeeded", run["runState"].(obj)["state"])
	require.Equal(t, obj{"ok": true}, run["output"])
	require.Nil(t, run["runtimeOwnerId"])
	var config obj
	require.NoError(t, json.Unmarshal([]byte(run["configJson"].(string)), &config))
	require.Equal(t, "static", config["gatewayWorkflowKey"])
	require.Equal(t, "alice", config["gatewayTriggeredBy"])

	var rows []obj
	h.call("runs.list", obj{"filter": obj{"limit": "5", "status": "finished", "workflow": "static"}}, &rows)
	require.Len(t, rows, 1)
	require.NotContains(t, rows[0], "summary")
	h.call("listRuns", obj{"filter": obj{"status": "running"}}, &rows)
	require.Empty(t, rows)

	var nodes []obj
	h.call("listNodeStates", obj{"runId": "build-7"}, &nodes)
	require.Len(t, nodes, 1)
	require.Equal(t, "ship", nodes[0]["nodeId"])
	require.Equal(t, 1.0, nodes[0]["lastAttempt"])

	var out obj
	h.call("getNodeOutput", obj{"runId": "build-7", "nodeId": "ship", "iteration": "0"}, &out)
	require.Equal(t, obj{"status": "produced", "row": obj{"ok": true}, "schema": obj{"fields": []any{
		obj{"name": "ok", "type": "boolean", "optional": false, "nullable": false}}}}, out)

	var attempts []obj
	h.call("attempts.list", obj{"runId": "build-7"}, &attempts)
	require.Len(t, attempts, 1)
	require.Equal(t, "finished", attempts[0]["state"])
	var attempt obj
	h.call("attempts.get", obj{"runId": "build-7", "nodeId": "ship", "iteration": 0, "attempt": 1}, &attempt)
	require.Equal(t, attempts[0], attempt)
}

func TestFailuresAreShownWithoutStacksAndPaths(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("fail", nil)
	run := h.await(id, "failed")
	text := run["errorJson"].(string)
	require.NotContains(t, text, "stack")
	require.NotContains(t, text, "/home/me")
	require.Contains(t, text, "kaboom in place.go")
	require.Equal(t, "failed", run["runState"].(obj)["state"])
	var out obj
	h.call("getNodeOutput", obj{"runId": id, "nodeId": "boom", "iteration": 0}, &out)
	require.Equal(t, "failed", out["status"])
	require.Nil(t, out["row"])
	require.Equal(t, obj{"at": 2.0}, out["partial"])
	require.Equal(t, 2.0, out["error"].(obj)["attempt"])
	var attempts []obj
	h.call("attempts.list", obj{"runId": id, "nodeId": "boom"}, &attempts)
	require.Len(t, attempts, 2)
	require.Equal(t, 2.0, attempts[0]["attempt"], "newest first")
	require.NotContains(t, attempts[0]["errorJson"], "/home/me")

	tolerated := h.await(h.launch("tolerant", nil), "finished")
	require.Equal(t, 1.0, tolerated["failedChildren"])
	require.Equal(t, []any{"bad::0"}, tolerated["failedChildKeys"])
	h.call("getNodeOutput", obj{"runId": tolerated["runId"], "nodeId": "good", "iteration": 0}, &out)
	require.Equal(t, obj{"value": 5.0}, out["row"])
}

func TestApproval(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("approve", nil)
	run := h.await(id, "waiting-approval")
	require.Equal(t, "gate", run["runState"].(obj)["blocked"].(obj)["nodeId"])
	require.Equal(t, obj{"finished": 1.0, "waiting-approval": 1.0}, run["summary"])

	var rows []obj
	h.call("approvals.list", obj{"filter": obj{"runId": id}}, &rows)
	require.Len(t, rows, 1)
	at := rows[0]["requestedAtMs"]
	require.Equal(t, obj{"runId": id, "workflowKey": "approve", "nodeId": "gate", "iteration": 0.0, "requestTitle": "Ship it?",
		"requestSummary": "please look", "requestedAtMs": at, "approvalMode": "decision", "options": []any{},
		"allowedScopes": []any{}, "allowedUsers": []any{}, "autoApprove": nil}, rows[0])
	h.call("listApprovals", obj{"workflow": "other"}, &rows)
	require.Empty(t, rows)

	h.refused("op", "submitApproval", obj{"runId": id, "nodeId": "gate"}, 400, "INVALID_REQUEST", "runId, nodeId, and approved are required")
	h.refused("op", "submitApproval", obj{"runId": "nope", "nodeId": "gate", "approved": true}, 404, "NOT_FOUND", "Run not found: nope")
	h.refused("op", "submitApproval", obj{"runId": id, "nodeId": "build", "approved": true}, 400, "INVALID_INPUT", "Node build is not waiting for approval.")
	h.refused("ro", "submitApproval", obj{"runId": id, "nodeId": "gate", "approved": true}, 403, "FORBIDDEN",
		"Missing required scope approval:submit for submitApproval")

	status, f := h.rpc("approver", "approvals.decide", obj{"runId": id, "nodeId": "gate", "decision": obj{"approved": true, "note": "ship it"}})
	require.Equal(t, 200, status, f.Error)
	require.JSONEq(t, `{"runId":"`+id+`","nodeId":"gate","iteration":0,"approved":true}`, string(f.Payload))
	again := h.refused("op", "submitApproval", obj{"runId": id, "nodeId": "gate", "approved": false}, 409, "AlreadyDecided",
		"Approval for gate has already been decided")
	require.Equal(t, "approved", again["status"])
	h.await(id, "finished")
	var out struct {
		Status string
		Row    obj
		Schema struct{ Fields []obj }
	}
	h.call("getNodeOutput", obj{"runId": id, "nodeId": "gate", "iteration": 0}, &out)
	require.Equal(t, true, out.Row["approved"])
	require.Equal(t, "ship it", out.Row["note"])
	require.Equal(t, "carol", out.Row["decidedBy"])
	require.Len(t, out.Schema.Fields, 4)
}

func TestSignal(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("signal", obj{"corr": "dep-1"})
	run := h.await(id, "waiting-event")
	blocked := run["runState"].(obj)["blocked"].(obj)
	require.Equal(t, "wait", blocked["nodeId"])
	require.Equal(t, "dep-1", blocked["correlationKey"])

	h.refused("op", "submitSignal", obj{"runId": id}, 400, "INVALID_REQUEST", "runId and signalName are required")
	h.refused("op", "submitSignal", obj{"runId": "nope", "signalName": "x"}, 404, "NOT_FOUND", "Run not found: nope")
	h.refused("rw", "signals.send", obj{"runId": id, "signalName": "x"}, 403, "FORBIDDEN", "Missing required scope signal:submit for signals.send")
	status, f := h.rpc("signaller", "submitSignal", obj{"runId": id, "signalName": "deploy.completed", "correlationId": " dep-1 ", "data": obj{"body": "hello"}})
	require.Equal(t, 200, status, f.Error)
	var s obj
	require.NoError(t, json.Unmarshal(f.Payload, &s))
	require.Equal(t, "deploy.completed", s["signalName"])
	require.Equal(t, "dep-1", s["correlationId"])
	require.Contains(t, s, "seq")
	require.Contains(t, s, "receivedAtMs")
	run = h.await(id, "finished")
	require.Equal(t, obj{"body": "hello"}, run["output"])

	// Q17: the key alone wakes the wait whose id it is.
	id = h.launch("signal", obj{"corr": "dep-2"})
	h.await(id, "waiting-event")
	h.call("submitSignal", obj{"runId": id, "correlationKey": "dep-2"}, nil)
	h.await(id, "finished")
}

func TestControl(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	for _, m := range []string{"resumeRun", "pauseRun", "cancelRun", "getRun", "listNodeStates", "listRunDescendants", "attempts.list"} {
		h.refused("op", m, obj{}, 400, "INVALID_REQUEST", "runId is required")
		h.refused("op", m, obj{"runId": 5}, 400, "INVALID_REQUEST", "runId is required")
	}
	for _, m := range []string{"resumeRun", "getRun", "listNodeStates", "listRunDescendants", "attempts.list"} {
		h.refused("op", m, obj{"runId": "nope"}, 404, "NOT_FOUND", "Run not found: nope")
	}
	h.refused("op", "pauseRun", obj{"runId": "nope"}, 404, "RunNotFound", "Run not found")
	h.refused("op", "cancelRun", obj{"runId": "nope"}, 404, "RunNotFound", "Run not found")

	id := h.launch("sleep", nil)
	run := h.await(id, "waiting-timer")
	require.Equal(t, "timer", run["runState"].(obj)["blocked"].(obj)["kind"])
	h.refused("op", "pauseRun", obj{"runId": id}, 409, "RUN_NOT_ACTIVE", "Run is not currently executing")
	var res obj
	h.call("runs.cancel", obj{"runId": id}, &res)
	require.Equal(t, obj{"won": true, "status": "cancelled", "terminalStatus": "cancelled", "repaired": true, "runId": id}, res)
	res = nil
	h.call("cancelRun", obj{"runId": id}, &res)
	require.Equal(t, obj{"won": false, "status": "already-terminal", "terminalStatus": "cancelled", "repaired": false, "runId": id}, res)
	res = nil
	h.call("resumeRun", obj{"runId": id}, &res)
	require.Equal(t, obj{"runId": id, "status": "already_terminal"}, res)
	done := h.launch("static", nil)
	h.await(done, "finished")
	h.refused("op", "cancelRun", obj{"runId": done}, 409, "RUN_NOT_ACTIVE", "Run is not currently active")
}

func TestDescendants(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("parent", nil)
	h.await(id, "finished")
	var rows []obj
	h.call("runs.descendants", obj{"runId": id}, &rows)
	require.Equal(t, []obj{
		{"runId": id, "parentRunId": nil, "depth": 0.0},
		{"runId": id + ":child:sub:0", "parentRunId": id, "depth": 1.0},
	}, rows)
	h.call("listRunDescendants", obj{"runId": id, "limit": 1}, &rows)
	require.Len(t, rows, 1)
	h.refused("op", "listRunDescendants", obj{"runId": id, "limit": 0}, 400, "INVALID_INPUT", "limit must be a finite number greater than 0.")
}

func TestLaunchRefusals(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	const docs = " See https://smithers.sh/reference/errors"
	h.refused("op", "launchRun", obj{}, 400, "INVALID_REQUEST", "workflow is required")
	h.refused("op", "launchRun", obj{"workflow": ""}, 400, "INVALID_REQUEST", "workflow is required")
	h.refused("op", "launchRun", obj{"workflow": "x"}, 404, "NOT_FOUND", "Unknown workflow: x")
	by := func(v any) obj { return obj{"workflow": "static", "options": obj{"startedBy": v}} }
	h.refused("op", "launchRun", by("x"), 400, "INVALID_REQUEST", "options.startedBy must be an object"+docs)
	h.refused("op", "launchRun", by(nil), 400, "INVALID_REQUEST", "options.startedBy must be an object"+docs)
	h.refused("op", "launchRun", by(obj{"foo": 1}), 400, "INVALID_REQUEST", "options.startedBy.foo is not allowed"+docs)
	h.refused("op", "launchRun", by(obj{"harness": 1}), 400, "INVALID_REQUEST", "options.startedBy.harness must be a string"+docs)
	h.refused("op", "launchRun", by(obj{"detected": false}), 400, "INVALID_REQUEST", "options.startedBy.detected must be true when present"+docs)
	for _, id := range []string{"UPPER", "a b", strings.Repeat("x", 65), "a:child:b:0"} {
		h.refused("op", "launchRun", obj{"workflow": "static", "runId": id}, 400, "InvalidRunId", "runId must match /^[a-z0-9_-][a-z0-9_.-]{0,63}$/.")
	}
	status, f := h.rpc("op", "launchRun", obj{"workflow": "static", "options": obj{"maxConcurrency": -1}})
	require.Equal(t, 400, status, f)
	status, f = h.rpc("op", "launchRun", obj{"workflow": "static", "options": obj{"maxConcurrency": 1.5}})
	require.Equal(t, 400, status, f)

	var one, two struct{ RunID string }
	key := obj{"workflow": "static", "input": obj{"a": 1}, "options": obj{"idempotencyKey": "k1"}}
	h.call("launchRun", key, &one)
	h.call("launchRun", key, &two)
	require.Equal(t, one, two, "Q24")
	status, f = h.rpc("op", "launchRun", obj{"workflow": "many", "runId": one.RunID})
	require.Equal(t, 409, status, "Q22")
	require.Equal(t, "CONFLICT", f.Error["code"])
}

func TestOutputRefusals(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("static", nil)
	h.await(id, "finished")
	const badIteration = "iteration must be a non-negative 32-bit integer."
	h.refused("op", "getNodeOutput", obj{}, 400, "InvalidRunId", "runId must match /^[a-z0-9_-][a-z0-9_.-]{0,63}$/.")
	h.refused("op", "getNodeOutput", obj{"runId": id, "nodeId": "bad id"}, 400, "InvalidNodeId", "nodeId must match /^[a-zA-Z0-9:_-]{1,128}$/.")
	for _, it := range []any{nil, -1, 1.5, "x", "", true, 1 << 40} {
		h.refused("op", "getNodeOutput", obj{"runId": id, "nodeId": "ship", "iteration": it}, 400, "InvalidIteration", badIteration)
	}
	h.refused("op", "getNodeOutput", obj{"runId": id, "nodeId": "ship"}, 400, "InvalidIteration", badIteration)
	h.refused("op", "devtools.getNodeOutput", obj{"runId": "nope", "nodeId": "ship", "iteration": 0}, 404, "RunNotFound", "Run not found: nope")
	h.refused("op", "getNodeOutput", obj{"runId": id, "nodeId": "zz", "iteration": 0}, 404, "NodeNotFound", "Node not found: zz")
	h.refused("op", "getNodeOutput", obj{"runId": id, "nodeId": "ship", "iteration": 7}, 404, "IterationNotFound", "Iteration not found: 7")
	h.refused("op", "attempts.get", obj{"runId": id, "nodeId": "ship"}, 400, "INVALID_REQUEST", "runId, nodeId, iteration, and attempt are required")
	h.refused("op", "attempts.get", obj{"runId": id, "nodeId": "ship", "iteration": 0, "attempt": 9}, 404, "NOT_FOUND", "Attempt not found")
}

func TestListRefusals(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	filter := func(k string, v any) obj { return obj{"filter": obj{k: v}} }
	h.refused("op", "listRuns", filter("limit", 0), 400, "INVALID_INPUT", "limit must be a finite number greater than 0.")
	h.refused("op", "listRuns", filter("limit", "x"), 400, "INVALID_INPUT", "limit must be a finite number greater than 0.")
	h.refused("op", "listRuns", filter("limit", 1.5), 400, "INVALID_INPUT", "limit must be an integer greater than 0.")
	h.refused("op", "listRuns", filter("offset", -1), 400, "INVALID_REQUEST", "offset must be a non-negative integer")
	h.refused("op", "listRuns", filter("offset", "1"), 400, "INVALID_REQUEST", "offset must be a non-negative integer")
	h.refused("op", "listApprovals", obj{"limit": -1}, 400, "INVALID_INPUT", "limit must be a finite number greater than 0.")
	var rows []obj
	h.call("listRuns", filter("limit", 100000000), &rows)
	require.Empty(t, rows, "clamped, not refused (Q41)")
	h.call("listRuns", filter("status", 5), &rows)
}

func TestWorkflows(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{PublicWorkflows: true})
	var rows []obj
	h.call("listWorkflows", obj{}, &rows)
	require.Len(t, rows, len(fixtureWorkflows())-1)
	h.call("workflows.list", obj{"filter": obj{"includeSystem": true}}, &rows)
	require.Len(t, rows, len(fixtureWorkflows()))
	require.True(t, slices.IsSortedFunc(rows, func(a, b obj) int { return strings.Compare(a["key"].(string), b["key"].(string)) }))
	h.call("listWorkflows", obj{"hasUi": true}, &rows)
	require.Empty(t, rows)
	res, body := h.do("GET", "/workflows", "", "")
	require.Equal(t, 200, res.StatusCode)
	require.Contains(t, string(body), `{"key":"static","readableName":"Static","description":"Ships at once.","hasUi":false,"uiPath":null,"system":false}`)
	require.NotContains(t, string(body), `"sys"`)

	var sys struct{ RunID string }
	h.call("launchRun", obj{"workflow": "sys"}, &sys)
	h.await(sys.RunID, "finished")
	h.call("listRuns", obj{}, &rows)
	require.Empty(t, rows)
	h.call("listRuns", obj{"filter": obj{"includeSystem": true}}, &rows)
	require.Len(t, rows, 1)
}
