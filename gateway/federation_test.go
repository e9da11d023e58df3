package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

// startFront is a gateway in front of a fake Smithers.
func startFront(t *testing.T, fake *upstreamtest.Fake, change func(*Settings)) *harness {
	return start(t, t.TempDir(), func(s *Settings) {
		s.Upstream = fake.URL()
		if change != nil {
			change(s)
		}
	}, Site{})
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, time.Minute, 5*time.Millisecond, "waiting for %s", what)
}

// An upstream elsewhere has the gauge that the alert reads.
func TestUpstreamGauge(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, nil)
	up := func(value string) func() bool {
		return func() bool {
			_, metrics := h.do("GET", "/metrics", "watcher", "")
			return strings.Contains(string(metrics), `smithers_upstream_up{source="`+fake.URL()+`"} `+value+"\n")
		}
	}
	eventually(t, "an upstream that is up", up("1"))
	fake.Stop()
	eventually(t, "an upstream that is down", up("0"))
}

// An upstream that does not let the gateway in is seen by who looks after the gateway,
// until it does.
func TestUpstreamRefusesTheToken(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	fake.Fail(upstreamtest.Faults{Status: 401, Garbage: `{"type":"res","id":"x","ok":false,"apiVersion":"v1",` +
		`"error":{"version":"v1","code":"UNAUTHORIZED","message":"no such token"}}`})
	h := startFront(t, fake, func(s *Settings) { s.UpstreamToken = "wrong" })
	report := h.gateway.Health()
	require.Equal(t, "degraded", report.Status)
	require.Equal(t, []string{"workflows: the upstream refuses this gateway, see upstream and its token"}, report.Degraded)
	require.Equal(t, "refused", report.Upstreams[0].State)
	require.NoError(t, h.gateway.Ready(), "everything else works")
	_, metrics := h.do("GET", "/metrics", "watcher", "")
	require.Contains(t, string(metrics), `smithers_upstream_up{source="`+fake.URL()+`"} 0`)
	fake.Fail(upstreamtest.Faults{})
	eventually(t, "the gateway to be let in", func() bool { return h.gateway.Health().Status == "ok" })
	require.Equal(t, "ready", h.gateway.Health().Upstreams[0].State)
	fake.Stop()
	eventually(t, "the loss", func() bool { return h.gateway.Health().Status == "degraded" })
	require.Equal(t, []string{"workflows: the upstream does not answer"}, h.gateway.Health().Degraded)
}

// Every method about a run of the upstream is forwarded, with the caller's identity, and
// only after its scope was checked here.
func TestUpstreamRunsAreForwarded(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, nil)
	id := h.launch("theirs", obj{"a": 1})
	fake.Event(id, "RunStarted")
	for _, method := range []string{"resumeRun", "pauseRun", "cancelRun", "hijackRun", "rewindRun", "jumpToFrame", "submitApproval",
		"submitSignal", "signals.send", "listRunDescendants", "listRunTokenUsage", "getNodeOutput", "getNodeDiff", "getRunDiff",
		"whatHappened", "listNodeStates", "frames.list", "frames.get", "attempts.list", "attempts.get", "retryTask", "runs.rerun",
		"listScores", "getScoreDetail", "getDevToolsSnapshot"} {
		status, f := h.rpc("none", method, obj{"runId": id, "nodeId": "n"})
		require.Equal(t, 403, status, method)
		require.Equal(t, "FORBIDDEN", f.Error["code"], method)
		require.Empty(t, fake.Calls(method), "nothing is asked for a caller without the scope")

		params := obj{"runId": id, "nodeId": "n", "iteration": 0}
		var answer obj
		h.call(method, params, &answer)
		require.Equal(t, obj{"method": method}, answer, method)
		calls := fake.Calls(method)
		require.Len(t, calls, 1, method)
		require.Equal(t, "alice", calls[0].User)
		require.Equal(t, "*", calls[0].Scopes)
		require.Equal(t, "operator", calls[0].Role)
		sent, err := json.Marshal(params)
		require.NoError(t, err)
		require.JSONEq(t, string(sent), string(calls[0].Params))
	}
	fake.OnCall(func(c upstreamtest.Call) (any, string) { return nil, "AlreadyDecided" })
	h.refused("op", "submitApproval", obj{"runId": id, "nodeId": "n", "approved": true}, 409, "AlreadyDecided", "the fake refuses submitApproval")
	h.refused("op", "runs.move", obj{"runId": id, "to": "current"}, 400, "INVALID_REQUEST",
		"Smithers executes this run; only runs of scripts can be moved to another version")
	own := h.launch("static", obj{})
	h.refused("op", "runs.diff", obj{"leftRunId": id, "rightRunId": own}, 400, "INVALID_REQUEST",
		"A run of Smithers can be compared with another run of Smithers only")
}

// Who has done what to a run of the upstream is in the audit table here; the upstream may
// know this gateway only.
func TestUpstreamCallsAreAudited(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, func(s *Settings) { s.UpstreamToken = "secret" })
	id := h.launch("theirs", obj{})
	fake.Event(id, "RunStarted")
	for _, c := range []struct {
		method, action string
		params         obj
		detail         string
	}{
		{"submitApproval", "decide", obj{"nodeId": "gate", "iteration": 2, "decision": obj{"approved": true}},
			`{"upstream":true,"outcome":"ok","nodeId":"gate","iteration":2,"approved":true}`},
		{"submitSignal", "signal", obj{"signalName": "go", "correlationId": "1"}, `{"upstream":true,"outcome":"ok","signalName":"go","correlationId":"1"}`},
		{"retryTask", "retry", obj{"nodeId": "n"}, `{"upstream":true,"outcome":"ok","nodeId":"n","iteration":0}`},
		{"rewindRun", "rewind", obj{"frameNo": 3, "confirm": true}, `{"upstream":true,"outcome":"ok","frameNo":3}`},
		{"pauseRun", "pause", obj{}, `{"upstream":true,"outcome":"ok"}`},
		{"resumeRun", "resume", obj{}, `{"upstream":true,"outcome":"ok"}`},
		{"cancelRun", "cancel", obj{}, `{"upstream":true,"outcome":"ok"}`},
		{"hijackRun", "hijack", obj{}, `{"upstream":true,"outcome":"ok"}`},
	} {
		c.params["runId"] = id
		h.call(c.method, c.params, nil)
		entries := h.audit(c.action)
		require.Len(t, entries, 1, c.method)
		require.Equal(t, "alice", entries[0].Actor, c.method)
		require.Equal(t, id, entries[0].RunID, c.method)
		require.NotEmpty(t, entries[0].TokenID, c.method)
		require.NotEmpty(t, entries[0].Remote, c.method)
		require.JSONEq(t, c.detail, string(entries[0].Detail), c.method)
	}

	fake.OnCall(func(upstreamtest.Call) (any, string) { return nil, "RUN_NOT_ACTIVE" })
	status, _ := h.rpc("op", "pauseRun", obj{"runId": id})
	require.NotEqual(t, 200, status)
	require.Len(t, h.audit("pause"), 1, "nothing has happened")
	status, _ = h.rpc("op", "rewindRun", obj{"runId": id, "frameNo": 1, "confirm": true})
	require.NotEqual(t, 200, status)
	require.Contains(t, string(h.audit("rewind")[0].Detail), `"outcome":"RUN_NOT_ACTIVE"`, "each try of a rewind is kept")

	fake.Fail(upstreamtest.Faults{Cut: true})
	status, _ = h.rpc("op", "cancelRun", obj{"runId": id})
	require.Equal(t, 503, status)
	require.Len(t, h.audit("cancel"), 2)
	require.Contains(t, string(h.audit("cancel")[0].Detail), `"outcome":"UNAVAILABLE"`, "it may have happened")
}

// A run that is launched again belongs to who has done it, although the upstream takes
// every caller for the owner of its token; who has done it is in the audit table.
func TestUpstreamRerunBelongsToTheCaller(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, func(s *Settings) { s.UpstreamToken = "secret" })
	id := h.launch("theirs", obj{})
	fake.Event(id, "RunStarted")
	fake.OnCall(func(c upstreamtest.Call) (any, string) {
		var p struct{ NewRunID string }
		if json.Unmarshal(c.Params, &p) == nil && p.NewRunID != "" {
			fake.Later(&upstreamtest.Run{ID: p.NewRunID, Workflow: "theirs", By: "owner-of-the-token"})
		}
		return obj{"runId": p.NewRunID, "workflow": "theirs"}, ""
	})
	var again struct{ RunID string }
	h.call("runs.rerun", obj{"runId": id}, &again)
	require.NotEmpty(t, again.RunID)
	entry := h.audit("launch")[0]
	require.Equal(t, []string{"alice", again.RunID}, []string{entry.Actor, entry.RunID})
	require.JSONEq(t, `{"upstream":true,"outcome":"ok","rerunOf":"`+id+`"}`, string(entry.Detail))
	run, release := h.gateway.acquire()
	defer release()
	require.NoError(t, run.store.View(t.Context(), func(v *store.View) error {
		row, err := v.Run(again.RunID)
		require.NoError(t, err)
		require.Contains(t, string(row.CreatedBy), `"triggeredBy":"alice"`)
		return nil
	}))
}

// Lists show both sides, in order and within their limits.
func TestUpstreamListsAreMerged(t *testing.T) {
	fake := upstreamtest.New(t, "theirs", "sys-theirs")
	h := startFront(t, fake, nil)
	var flows []obj
	h.call("listWorkflows", obj{}, &flows)
	var keys []string
	for _, w := range flows {
		keys = append(keys, w["key"].(string))
	}
	require.Contains(t, keys, "theirs")
	require.Contains(t, keys, "static")
	require.NotContains(t, keys, "sys-theirs")
	require.IsIncreasing(t, keys)

	var want []string
	for i := range 6 {
		workflow := []string{"theirs", "static"}[i%2]
		id := h.launch(workflow, obj{})
		if workflow == "static" {
			h.await(id, "finished")
		}
		want = append([]string{id}, want...)
	}
	list := func(filter obj) (ids []string) {
		var rows []obj
		h.call("listRuns", obj{"filter": filter}, &rows)
		for _, r := range rows {
			ids = append(ids, r["runId"].(string))
		}
		return ids
	}
	require.ElementsMatch(t, want, list(obj{}))
	all := list(obj{})
	require.Equal(t, all[:2], list(obj{"limit": 2}))
	require.Equal(t, all[2:5], list(obj{"limit": 3, "offset": 2}))
	require.Empty(t, list(obj{"limit": 3, "offset": 60}))
	require.Len(t, list(obj{"status": "running"}), 3)
	require.Len(t, list(obj{"workflow": "static", "limit": 2}), 2)

	gate := h.launch("approve", obj{})
	h.await(gate, "waiting-approval")
	fake.Event(want[1], "ApprovalRequested", "nodeId", "gate", "iteration", 0, "request", obj{"mode": "decision"},
		"at", time.Now().UnixMilli()+1) // not in the millisecond of the other
	var approvals []obj
	h.call("listApprovals", obj{}, &approvals)
	require.Len(t, approvals, 2)
	require.Equal(t, gate, approvals[0]["runId"], "oldest first")
	require.Equal(t, want[1], approvals[1]["runId"])
	h.call("listApprovals", obj{"limit": 1}, &approvals)
	require.Len(t, approvals, 1)

	// While Smithers is down the copies are shown.
	eventually(t, "the copy of the gate", func() bool {
		var hello struct{ Approvals []obj }
		run, release := h.gateway.acquire()
		defer release()
		text, err := run.router.Hello(t.Context(), &auth.Principal{Scopes: []string{"*"}})
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &hello))
		return len(hello.Approvals) == 2
	})
	fake.Stop()
	require.Len(t, list(obj{}), 7)
	h.call("listApprovals", obj{}, &approvals)
	require.Len(t, approvals, 2)
	h.call("cronList", obj{}, &[]obj{})
}

// While Smithers is down its runs answer that it is worth trying again, everything else
// works, and streams go on when it is back.
func TestUpstreamOutage(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, nil)
	id := h.launch("theirs", obj{})
	fake.Event(id, "NodeStarted", "nodeId", "a", "iteration", 0)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.server.URL+"/v1/api/runs/"+id+"/stream?afterSeq=0", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer op")
	res, err := h.server.Client().Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	lines := bufio.NewScanner(res.Body)
	next := func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && strings.Contains(data, `"type":"RunEvent"`) {
				var f struct{ Payload obj }
				require.NoError(t, json.Unmarshal([]byte(data), &f))
				node, _ := f.Payload["nodeId"].(string)
				return node
			}
		}
		t.Fatal("the stream has ended")
		return ""
	}
	require.Equal(t, "a", next())

	fake.Stop()
	status, f := h.rpc("op", "getRun", obj{"runId": id})
	require.Equal(t, 503, status)
	require.Equal(t, "UNAVAILABLE", f.Error["code"])
	require.Equal(t, true, f.Error["retryable"])
	status, _ = h.rpc("op", "launchRun", obj{"workflow": "theirs"})
	require.Equal(t, 503, status)
	h.await(h.launch("static", obj{}), "finished")
	res2, body := h.do("GET", "/v1/api/runs/"+id+"/events", "op", "")
	require.Equal(t, 200, res2.StatusCode, string(body))

	fake.Event(id, "NodeStarted", "nodeId", "b", "iteration", 0) // by another process, meanwhile
	fake.Start()
	require.Equal(t, "b", next())
	fake.Event(id, "NodeStarted", "nodeId", "c", "iteration", 0)
	require.Equal(t, "c", next())
}

// A gateway starts although its upstream is not there, and has its workflows when it
// comes.
func TestUpstreamThatIsAway(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	fake.Stop()
	h := startFront(t, fake, nil)
	h.await(h.launch("static", obj{}), "finished")
	status, f := h.rpc("op", "launchRun", obj{"workflow": "theirs"})
	require.Equal(t, 503, status, f.Error)
	fake.Start()
	eventually(t, "the workflow", func() bool {
		status, _ := h.rpc("op", "launchRun", obj{"workflow": "theirs"})
		return status == 200
	})
}

// A workflow of one key on both sides is an error that names both.
func TestUpstreamClash(t *testing.T) {
	fake := upstreamtest.New(t, "static")
	s := testSettings(t, t.TempDir())
	s.Upstream = fake.URL()
	g := New(testLogger(t))
	require.NoError(t, g.Apply("test", s))
	err := g.Start(t.Context())
	require.ErrorContains(t, err, `workflow "static" is registered twice: by the binary (compiled in) and by Smithers (`+fake.URL()+`)`)
	require.NoError(t, g.Close(t.Context()))
}

// Deliveries and schedules stay with the workflow.
func TestUpstreamWebhooksAndSchedules(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	fake.Cron(obj{"cronId": "gateway:theirs", "workflow": "theirs", "pattern": "0 8 * * *", "createdAtMs": 1})
	h := startFront(t, fake, nil)
	res, body := h.do("POST", "/webhooks/theirs", "", `{"raw": 1}`, "X-Hub-Signature-256", "sha256=abc", "X-User-Id", "mallory",
		"X-User-Scopes", "*", "Authorization", "Bearer op")
	require.Equal(t, 200, res.StatusCode, string(body))
	calls := fake.Calls("POST /webhooks/theirs")
	require.Len(t, calls, 1)
	require.Equal(t, `{"raw": 1}`, string(calls[0].Params))
	require.Equal(t, "sha256=abc", calls[0].Header.Get("X-Hub-Signature-256"))
	require.NotEqual(t, "mallory", calls[0].User, "nobody names a caller but this gateway")
	require.NotEqual(t, "*", calls[0].Scopes)
	require.Empty(t, calls[0].Bearer)
	fake.Fail(upstreamtest.Faults{Cut: true})
	res, _ = h.do("POST", "/webhooks/theirs", "", `{}`)
	require.Equal(t, 503, res.StatusCode)
	require.Len(t, fake.Calls("POST /webhooks/theirs"), 1)
	fake.Fail(upstreamtest.Faults{})
	res, _ = h.do("POST", "/webhooks/none", "", `{}`)
	require.Equal(t, 404, res.StatusCode)

	var crons []obj
	h.call("cronList", obj{}, &crons)
	require.Len(t, crons, 1)
	h.call("cronCreate", obj{"workflow": "theirs", "pattern": "0 9 * * *"}, nil)
	require.Len(t, fake.Calls("cronCreate"), 1)
	h.call("cronCreate", obj{"workflow": "static", "pattern": "0 9 * * *", "cronId": "ours"}, nil)
	require.Len(t, fake.Calls("cronCreate"), 1)
	h.call("cronList", obj{}, &crons)
	require.Len(t, crons, 2)
	h.call("cronDelete", obj{"cronId": "ours"}, nil)
	require.Empty(t, fake.Calls("cronDelete"))
	fake.OnCall(func(c upstreamtest.Call) (any, string) {
		fake.Later(&upstreamtest.Run{ID: "by-cron", Workflow: "theirs", By: "cron:gateway"})
		return obj{"runId": "by-cron", "workflow": "theirs", "system": false}, ""
	})
	h.call("cronRun", obj{"cronId": "gateway:theirs"}, nil)
	eventually(t, "the run", func() bool {
		status, _ := h.rpc("op", "getRun", obj{"runId": "by-cron"})
		return status == 200
	})
}

// With a token the upstream takes all callers for one, so who may decide and rewind is
// checked here.
func TestUpstreamByToken(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, func(s *Settings) { s.UpstreamToken = "secret" })
	id := h.launch("theirs", obj{})
	require.Equal(t, "Bearer secret", fake.Calls("launchRun")[0].Bearer)
	require.Empty(t, fake.Calls("launchRun")[0].User)
	fake.Event(id, "ApprovalRequested", "nodeId", "gate", "iteration", 0, "request",
		obj{"mode": "decision", "allowedUsers": []string{"alice"}})
	decide := obj{"runId": id, "nodeId": "gate", "approved": true}
	h.refused("approver", "submitApproval", decide, 403, "FORBIDDEN", "User is not allowed to decide this approval")
	require.Empty(t, fake.Calls("submitApproval"))
	fake.Fail(upstreamtest.Faults{Cut: true})
	status, _ := h.rpc("op", "submitApproval", decide)
	require.Equal(t, 503, status)
	require.Empty(t, h.audit("decide"), "it was not forwarded")
	fake.Fail(upstreamtest.Faults{})
	h.call("submitApproval", decide, nil)
	require.Len(t, fake.Calls("submitApproval"), 1)
	h.call("rewindRun", obj{"runId": id, "frameNo": 1, "confirm": true}, nil)
	require.Len(t, fake.Calls("rewindRun"), 1)
}

// A gap's snapshot is what Smithers says, and our copy while it cannot be asked.
func TestUpstreamSnapshot(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, func(s *Settings) { s.EventWindow = 2 })
	id := h.launch("theirs", obj{})
	for range 6 {
		fake.Event(id, "NodeStarted", "nodeId", "a", "iteration", 0)
	}
	run, release := h.gateway.acquire()
	defer release()
	eventually(t, "the events", func() bool { at, err := run.position(t.Context(), id); return err == nil && at.Last == 6 })
	snapshot := func() obj {
		text, err := run.router.Snapshot(t.Context(), id)
		require.NoError(t, err)
		var s obj
		require.NoError(t, json.Unmarshal(text, &s))
		return s
	}
	s := snapshot()
	require.Equal(t, "fake-running", s["runState"].(obj)["state"])
	require.NotContains(t, s, "system")
	fake.Stop()
	s = snapshot()
	require.Equal(t, "running", s["status"])
	require.Equal(t, "running", s["runState"].(obj)["state"])
	require.Equal(t, obj{"in-progress": 1.0}, s["summary"], "of the events that are here")
}

// Scores of runs of both sides come in one order, and in pages.
func TestUpstreamScoresAreMerged(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, nil)
	theirs, own := h.launch("theirs", obj{}), h.launch("static", obj{})
	fake.Event(theirs, "RunStarted")
	run, release := h.gateway.acquire()
	defer release()
	require.NoError(t, run.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, at := range []int64{10, 30, 50} {
			if err := tx.InsertScore(own, &store.Score{ScoreID: fmt.Sprint("own-", at), NodeID: "n", ScorerID: "s", ScorerName: "S", Source: "live",
				ScoredAtMs: at}); err != nil {
				return err
			}
		}
		return nil
	}))
	fake.OnCall(func(c upstreamtest.Call) (any, string) {
		var p struct {
			RunIDs        []string
			Order         string
			Offset, Limit int
		}
		require.NoError(t, json.Unmarshal(c.Params, &p))
		require.Equal(t, []string{theirs}, p.RunIDs)
		ats := []int{20, 40, 60, 80}
		if p.Order == "scoredAtDesc" {
			slices.Reverse(ats)
		}
		rows := []obj{}
		for _, at := range ats[min(p.Offset, 4):min(p.Offset+min(p.Limit, 3), 4)] { // never more than three
			rows = append(rows, obj{"scoreId": fmt.Sprint("theirs-", at), "scoredAtMs": at, "runId": theirs})
		}
		return obj{"rows": rows, "total": 4}, ""
	})
	ids := func(params obj) (ids []string) {
		params["runIds"] = []string{own, theirs}
		var page struct {
			Rows  []struct{ ScoreID string }
			Total int
		}
		h.call("listScoresForRuns", params, &page)
		require.Equal(t, 7, page.Total)
		for _, row := range page.Rows {
			ids = append(ids, row.ScoreID)
		}
		return ids
	}
	all := []string{"own-10", "theirs-20", "own-30", "theirs-40", "own-50", "theirs-60", "theirs-80"}
	require.Equal(t, all, ids(obj{}))
	require.Equal(t, all[2:5], ids(obj{"offset": 2, "limit": 3}))
	require.Equal(t, []string{"theirs-80", "theirs-60"}, ids(obj{"order": "scoredAtDesc", "limit": 2}))
	require.Empty(t, ids(obj{"offset": 9}))
}

// Health and metrics tell how far the gateway is behind, and nothing of where.
func TestUpstreamLag(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, nil)
	eventually(t, "a sign of life", func() bool {
		u := h.gateway.Health().Upstreams
		return len(u) == 1 && u[0].State == "ready" && u[0].SecondsSinceContact >= 0 && u[0].RunsBehind == 0 && u[0].EventsBehind == 0
	})
	_, body := h.do("GET", "/health", "", "")
	require.NotContains(t, string(body), fake.Socket)
	require.Contains(t, string(body), `"upstreams":[{"source":"upstream"`)
	fake.Stop()
	eventually(t, "the loss", func() bool { return h.gateway.Health().Upstreams[0].State == "down" })
}

// A run that was over before this gateway met it is streamed from its log.
func TestUpstreamHistory(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	fake.Put(&upstreamtest.Run{ID: "old", Workflow: "theirs", CreatedAtMs: 1000})
	fake.Event("old", "RunStarted", "at", int64(1000))
	fake.Event("old", "NodeStarted", "nodeId", "a", "iteration", 0, "at", int64(1001))
	fake.Event("old", "RunFinished", "at", int64(1002))
	h := startFront(t, fake, nil)
	res, body := h.do("GET", "/v1/api/runs/old/stream?afterSeq=0", "op", "")
	require.Equal(t, 200, res.StatusCode, string(body))
	require.Contains(t, string(body), `"event":"node.started"`)
	require.Contains(t, string(body), `"event":"run.completed"`)
	res, _ = h.do("GET", "/v1/api/runs/old/stream?afterSeq=2", "op", "")
	require.Equal(t, 204, res.StatusCode)
}

// run_retention removes the copy of a run that Smithers has removed itself, and no other.
func TestUpstreamRunsGoWhenSmithersHasRemovedThem(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, func(s *Settings) { s.RunRetention = time.Second })
	ended := func() string {
		id := h.launch("theirs", obj{})
		fake.Event(id, "RunStarted")
		fake.Event(id, "RunFinished")
		return id
	}
	odd, lost, kept := ended(), ended(), ended()
	open := h.launch("theirs", obj{})
	fake.Event(open, "RunStarted")
	run, release := h.gateway.acquire()
	defer release()
	copies := func() (ids []string) {
		require.NoError(t, run.store.View(t.Context(), func(v *store.View) error {
			runs, err := v.Runs(store.RunFilter{Limit: 10})
			for _, r := range runs {
				if r.Status == "finished" || r.RunID == open {
					ids = append(ids, r.RunID)
				}
			}
			return err
		}))
		return ids
	}
	eventually(t, "the copies", func() bool { return len(copies()) == 4 })
	fake.Put(&upstreamtest.Run{ID: odd, Workflow: "theirs", Status: "of-another-version"}) // whose row cannot be read
	asked := len(fake.Calls("getRun"))
	eventually(t, "several looks", func() bool { return len(fake.Calls("getRun")) >= asked+4 })
	require.Len(t, copies(), 4, "what Smithers has stays")
	fake.Stop()
	fake.Lose(lost)
	fake.Lose(open)
	fake.Start()
	eventually(t, "the copy to go", func() bool { return len(copies()) == 3 })
	require.ElementsMatch(t, []string{odd, kept, open}, copies(), "an open run is not old, whoever has it")
}
