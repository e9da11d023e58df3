package quirks

import (
	"database/sql"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestQ20_ResumingSaysWhatIsTrue(t *testing.T) {
	p := start(t)
	var running string
	for ms, status := 500, any("already_terminal"); status == "already_terminal"; ms *= 2 { // until it is asked while it runs
		running = call[object](p, "launchRun", object{"workflow": "slow", "input": object{"ms": ms}})["runId"].(string)
		status = call[object](p, "resumeRun", object{"runId": running, "options": object{"force": true}})["status"]
		if status == "already_terminal" {
			require.Less(t, ms, 10_000)
			continue
		}
		require.Equal(t, "resume_requested", status)
	}
	p.Status(running, "finished")
	require.Len(t, history(p, running), 2*3+1, "a run that runs goes on, once")
	continued := launch(p, "again", object{"left": 1}, "continued")
	require.Equal(t, "already_terminal", call[object](p, "resumeRun", object{"runId": continued})["status"])
}

func TestQ21_TheCreatorStays(t *testing.T) {
	p := start(t)
	bob := p.As(p.Site.Issue("run:write,approval:submit", "bob")).Accepts()
	run := launch(p, "approve", nil, "waiting-approval")
	decide(bob, run, "gate", true)
	p.Status(run, "finished")
	var config struct {
		GatewayTriggeredBy string
		Auth               struct{ TriggeredBy string }
	}
	row := call[object](p, "getRun", object{"runId": run})
	require.NoError(t, json.Unmarshal([]byte(row["configJson"].(string)), &config))
	require.Equal(t, "alice", config.GatewayTriggeredBy)
	require.Equal(t, "alice", config.Auth.TriggeredBy)
}

func TestQ22_ARunIdNamesOneRun(t *testing.T) {
	p := start(t)
	params := object{"workflow": "compute", "input": object{"ms": 1}, "options": object{"runId": "mine"}}
	call[object](p, "launchRun", params)
	p.Status("mine", "finished")
	require.Equal(t, "mine", call[object](p, "launchRun", params)["runId"], "the same launch is answered with the run")
	require.Len(t, history(p, "mine"), 4, "and starts nothing")
	for _, other := range []object{
		{"workflow": "static", "input": object{"ms": 1}, "options": object{"runId": "mine"}},
		{"workflow": "compute", "input": object{"ms": 2}, "options": object{"runId": "mine"}},
	} {
		failure := refused(p, "launchRun", other)
		require.Equal(t, "CONFLICT", failure.Code)
		require.Equal(t, 409, failure.Status)
	}
}

func TestQ23_ImpossibleLaunchesAreRefused(t *testing.T) {
	p := start(t)
	for _, tc := range []struct {
		options object
		code    string
	}{
		{object{"runId": strings.Repeat("a", 257)}, "InvalidRunId"},
		{object{"runId": "UPPER"}, "InvalidRunId"},
		{object{"runId": "with space"}, "InvalidRunId"},
		{object{"maxConcurrency": -1}, "INVALID_REQUEST"},
	} {
		require.Equal(t, tc.code, refused(p, "launchRun", object{"workflow": "static", "options": tc.options}).Code, "%v", tc.options)
	}
	require.Empty(t, call[[]object](p, "listRuns", nil))
}

func TestQ24_AnIdempotencyKeyIsHonoured(t *testing.T) {
	p := start(t)
	params := object{"workflow": "static", "options": object{"idempotencyKey": "once"}}
	first := call[object](p, "launchRun", params)["runId"]
	p.Status(first.(string), "finished")
	require.Equal(t, first, call[object](p, "launchRun", params)["runId"])
	p.Kill()
	p = again(p)
	require.Equal(t, first, call[object](p, "launchRun", params)["runId"], "after a restart too")
	require.Len(t, call[[]object](p, "listRuns", nil), 1)
}

func TestQ25_TheRowIsThereAtOnce(t *testing.T) {
	p := start(t)
	for range 20 {
		run := call[object](p, "launchRun", forever)["runId"].(string)
		call[object](p, "getRun", object{"runId": run})
		_, err := p.Dial().Stream(t.Context(), run, nil)
		require.NoError(t, err)
		require.Equal(t, true, call[object](p, "cancelRun", object{"runId": run})["won"])
	}
}

// Clients were written against what the original answers, not against its catalogue.
func TestQ26_ErrorsAreThoseOfTheOriginal(t *testing.T) {
	p := start(t)
	for method, code := range map[string]string{
		"getRun": "NOT_FOUND", "resumeRun": "NOT_FOUND", "listRunDescendants": "NOT_FOUND", "submitApproval": "NOT_FOUND", "submitSignal": "NOT_FOUND",
		"listScores": "NOT_FOUND", "cancelRun": "RunNotFound", "pauseRun": "RunNotFound", "getNodeOutput": "RunNotFound", "cronDelete": "NOT_FOUND", "deleteTicket": "NOT_FOUND",
	} {
		failure := refused(p, method, object{"runId": "nobody", "nodeId": "n", "iteration": 0, "approved": true, "signalName": "s", "cronId": "c", "path": "p"})
		require.Equal(t, code, failure.Code, method)
		require.Equal(t, 404, failure.Status, method)
	}
	run := launch(p, "approve", nil, "waiting-approval")
	require.Equal(t, "InvalidIteration", refused(p, "getNodeOutput", object{"runId": run, "nodeId": "build"}).Code)
	require.Equal(t, object{"won": true, "status": "cancelled", "terminalStatus": "cancelled", "repaired": true, "runId": run}, call[object](p, "cancelRun", object{"runId": run}))
}

func TestQ30_RunningMeansRunning(t *testing.T) {
	p := start(t)
	launch(p, "again", object{"left": 1}, "continued")
	p.Wait("its successor to end", func() bool {
		return len(call[[]object](p, "listRuns", object{"filter": object{"status": "finished"}})) == 1
	})
	running := call[object](p, "launchRun", forever)["runId"]
	rows := call[[]object](p, "listRuns", object{"filter": object{"status": "running"}})
	require.Len(t, rows, 1)
	require.Equal(t, running, rows[0]["runId"])
	require.Len(t, call[[]object](p, "listRuns", object{"filter": object{"status": "continued"}}), 1)
}

// launchMany starts runs, several at a time.
func launchMany(p *rig.Process, n int) {
	p.T.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var launchers sync.WaitGroup
	for range 16 {
		launchers.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := p.Client.Launch(p.T.Context(), "static", nil); err != nil {
					p.T.Errorf("launch: %v", err)
					return
				}
			}
		})
	}
	launchers.Wait()
}

func TestQ31_OldApprovalsStay(t *testing.T) {
	p := start(t)
	gate := launch(p, "approve", nil, "waiting-approval")
	launchMany(p, 1_010)
	rows := call[[]object](p, "listApprovals", nil)
	require.Len(t, rows, 1)
	require.Equal(t, gate, rows[0]["runId"])
	require.Len(t, p.Dial().Hello.Snapshot.Approvals, 1)
}

func TestQ41_ListsAreBounded(t *testing.T) {
	p := start(t)
	launchMany(p, 1_005)
	require.Len(t, call[[]object](p, "listRuns", object{"filter": object{"limit": 100_000_000}}), 1_000)
}

// There is no terminal to take over; who asked for one is on record.
func TestQ47_HijackingIsRecorded(t *testing.T) {
	p := start(t)
	run := launch(p, "static", nil, "finished")
	answer := call[object](p, "hijackRun", object{"runId": run})
	require.Equal(t, "hijack-ready", answer["status"])
	p.Terminate()
	db, err := sql.Open("sqlite", p.Site.DB)
	require.NoError(t, err)
	defer db.Close()
	var actor, detail string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT actor, detail FROM gateway_audit WHERE action = 'hijack' AND run_id = ?", run).Scan(&actor, &detail))
	require.Equal(t, "alice", actor)
	require.Contains(t, detail, answer["sessionId"])
}

func TestQ48_RetryingRewritesNothing(t *testing.T) {
	p := start(t)
	run := launch(p, "flaky", nil, "finished")
	before := history(p, run)
	call[object](p, "retryTask", object{"runId": run, "nodeId": "maybe"})
	p.Wait("a third attempt", func() bool {
		return len(call[[]object](p, "attempts.list", object{"runId": run, "nodeId": "maybe"})) > 2
	})
	p.Status(run, "finished")
	var states []any
	for _, a := range call[[]object](p, "attempts.list", object{"runId": run}) {
		states = append(states, a["state"])
	}
	require.Equal(t, []any{"failed", "finished"}, states[:2])
	after := follow(p, p.Dial(), run, 0, func(e event) bool { return int(e.Seq) > len(before) && completed(e) })
	require.Equal(t, names(before), names(after[:len(before)]), "events are added, never changed")
}

func TestQ01_MalformedRequestsAreAnswered(t *testing.T) {
	p := start(t)
	addr := strings.TrimPrefix(p.Base, "http://")
	host := "Host: " + addr + "\r\n"
	upgrade := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, request := range []string{
		"POST /v1/rpc/%E0%A4%A HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n",
		"POST /webhooks/%E0%A4%A HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n",
		"GET /v1/api/runs/%E0%A4%A HTTP/1.1\r\n" + host + "\r\n",
		"GET /x HTTP/1.1\r\nHost: bad host\r\n\r\n", "GET /v1/api/runs HTTP/1.1\r\nHost: [::\r\n\r\n",
		"GET //[ HTTP/1.1\r\n" + host + "\r\n", "GET http://[ HTTP/1.1\r\n" + host + "\r\n", "GET http://[ HTTP/1.1\r\n" + host + upgrade + "\r\n",
	} {
		require.Equal(t, 400, exchange(t, addr, request), "%q", request)
		call[object](p, "health", nil)
	}
	require.Empty(t, p.Errors())
}

func TestQ35_TheGaugeCounts(t *testing.T) {
	p := start(t)
	gauge := func() string {
		status, body, err := p.Get(t.Context(), "/metrics")
		require.NoError(t, err)
		require.Equal(t, 200, status)
		for line := range strings.Lines(string(body)) {
			if value, ok := strings.CutPrefix(line, `smithers_gateway_connections_active{transport="ws"} `); ok {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	a, b := p.Dial(), p.Dial()
	require.Equal(t, "2", gauge())
	a.Cut()
	rig.Wait(t, "one socket less", func() bool { return gauge() == "1" })
	b.Cut()
	rig.Wait(t, "no socket", func() bool { return gauge() == "0" })
}
