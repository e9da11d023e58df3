package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// denied is an error answer of REST as the transcripts have it.
func (h *harness) denied(verb, path, token, body string, status int, answer string) {
	h.t.Helper()
	res, b := h.do(verb, "/v1/api/"+path, token, body)
	require.Equal(h.t, status, res.StatusCode, "%s %s: %s", verb, path, b)
	require.JSONEq(h.t, `{"ok":false,"error":`+answer+`}`, string(b), path)
}

func TestRESTErrors(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("static", nil)
	h.await(id, "finished")
	const v1 = `"version":"v1",`
	for _, c := range []struct {
		verb, path, body string
		status           int
		answer           string
	}{
		{"POST", "runs", `{"workflow":"zz"}`, 404, `{` + v1 + `"code":"NOT_FOUND","message":"Unknown workflow: zz"}`},
		{"POST", "runs", `{bad`, 400, `{"code":"INVALID_INPUT","message":"Gateway RPC payload must be valid JSON."}`},
		{"POST", "runs", `[]`, 400, `{` + v1 + `"code":"INVALID_REQUEST","message":"workflow is required"}`},
		{"POST", "runs", strings.Repeat(`{"a":`, 33) + `1` + strings.Repeat(`}`, 33), 400,
			`{"code":"INVALID_INPUT","message":"gateway frame exceeds the maximum JSON depth of 32."}`},
		{"GET", "runs?limit=0", "", 400, `{"code":"INVALID_INPUT","message":"limit must be a finite number greater than 0."}`},
		{"GET", "runs?limit=abc", "", 400, `{"code":"INVALID_INPUT","message":"limit must be a finite number greater than 0."}`},
		{"GET", "runs?limit=1.5", "", 400, `{"code":"INVALID_INPUT","message":"limit must be an integer greater than 0."}`},
		{"GET", "runs?offset=-1", "", 400, `{"code":"INVALID_INPUT","message":"offset must be a non-negative integer."}`},
		{"GET", "runs/nope", "", 404, `{` + v1 + `"code":"NOT_FOUND","message":"Run not found: nope"}`},
		{"GET", "runs/%FF", "", 400, `{"code":"INVALID_REQUEST","message":"Malformed request target or Host header"}`},
		{"GET", "runs/" + id + "/events?nodeId=b%20d", "", 400, `{"code":"INVALID_INPUT","message":"nodeId contains unsupported characters"}`},
		{"GET", "events", "", 400, `{"code":"INVALID_INPUT","message":"runId is required"}`},
		{"GET", "runs/nope/events", "", 404, `{"code":"NOT_FOUND","message":"Run not found: nope"}`},
		{"GET", "runs/nope/hijack-candidates", "", 404, `{` + v1 + `"code":"RunNotFound","message":"Run not found: nope"}`},
		{"POST", "approvals/garbage", `{"approved":true}`, 400, `{` + v1 + `"code":"INVALID_REQUEST","message":"runId, nodeId, and approved are required"}`},
		{"POST", "runs/" + id + "/cancel", `{}`, 409, `{` + v1 + `"code":"RUN_NOT_ACTIVE","message":"Run is not currently active"}`},
		{"POST", "runs/" + id + "/pause", `{}`, 409, `{` + v1 + `"code":"RUN_NOT_ACTIVE","message":"Run is not currently executing"}`},
		{"POST", "runs/" + id + "/oneshot-monitor/attach", `{}`, 400, `{` + v1 + `"code":"InvalidInput","message":"Oneshot monitor controls are not configured"}`},
		{"GET", "scores", "", 400, `{` + v1 + `"code":"INVALID_REQUEST","message":"runId is required"}`},
		{"GET", "scores/" + id + "/zz", "", 404, `{` + v1 + `"code":"ScoreNotFound","message":"Score not found on run ` + id + `: zz"}`},
		{"DELETE", "crons/c1", "", 404, `{` + v1 + `"code":"NOT_FOUND","message":"Cron not found: c1"}`},
		{"POST", "crons/run", `{}`, 400, `{` + v1 + `"code":"INVALID_REQUEST","message":"cronId or workflow is required"}`},
		{"GET", "nope", "", 404, `{"code":"NOT_FOUND","message":"Route not found"}`},
		{"PUT", "runs", `{}`, 404, `{"code":"NOT_FOUND","message":"Route not found"}`},
		{"DELETE", "tickets/", "", 404, `{"code":"NOT_FOUND","message":"Route not found"}`},
		{"GET", "stream?lastEventId=x", "", 400, `{"code":"INVALID_INPUT","message":"Last-Event-ID must be a non-negative integer."}`},
	} {
		h.denied(c.verb, c.path, "op", c.body, c.status, c.answer)
	}
	h.denied("GET", "runs", "", "", 401, `{"code":"UNAUTHORIZED","message":"A bearer token is required"}`)
	h.denied("GET", "stream", "", "", 401, `{"code":"UNAUTHORIZED","message":"A bearer token is required"}`)
	h.denied("GET", "runs", "expired", "", 401,
		`{"code":"UNAUTHORIZED","message":"Token expired; issue a refreshed token.","details":{"refresh":"smithers token issue"}}`)
	forbidden := func(scope, method string) string {
		return `{` + v1 + `"code":"FORBIDDEN","message":"Missing required scope ` + scope + ` for ` + method + `","requiredScope":"` + scope + `"}`
	}
	h.denied("GET", "runs", "none", "", 403, forbidden("run:read", "listRuns"))
	h.denied("GET", "stream", "none", "", 403, forbidden("run:read", "listRuns"))
	h.denied("GET", "runs/"+id+"/events", "none", "", 403, forbidden("run:read", "streamRunEvents"))
	h.denied("GET", "runs/"+id+"/hijack-candidates", "none", "", 403, forbidden("run:read", "getRun"))
	h.denied("POST", "runs", "ro", `{"workflow":"static"}`, 403, forbidden("run:write", "launchRun"))
	h.denied("POST", "runs/"+id+"/oneshot-monitor/steer", "ro", `{}`, 403, forbidden("run:write", "oneshotMonitorSteer"))
	h.denied("POST", "approvals/"+id+":x:0", "ro", `{}`, 403, forbidden("approval:submit", "submitApproval"))
}

// stream is an open change stream.
type changeStream struct {
	t     *testing.T
	lines *bufio.Scanner
	end   context.CancelFunc
}

func (h *harness) changes(t *testing.T, cursor string) *changeStream {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", h.server.URL+"/v1/api/stream", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer ro")
	if cursor != "" {
		r.Header.Set("Last-Event-ID", cursor)
	}
	res, err := h.server.Client().Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { res.Body.Close() })
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "text/event-stream; charset=utf-8", res.Header.Get("Content-Type"))
	require.Equal(t, "no-cache, no-transform", res.Header.Get("Cache-Control"))
	require.Equal(t, "v1", res.Header.Get("X-Smithers-API-Version"))
	return &changeStream{t, bufio.NewScanner(res.Body), cancel}
}

// next returns the next event and its data.
func (s *changeStream) next() (event string, data struct {
	Seq         int64
	Collections []string
}) {
	s.t.Helper()
	for s.lines.Scan() {
		line := s.lines.Text()
		if v, ok := strings.CutPrefix(line, "event: "); ok {
			event = v
		}
		if v, ok := strings.CutPrefix(line, "data: "); ok {
			require.NoError(s.t, json.Unmarshal([]byte(v), &data))
			return event, data
		}
	}
	s.t.Fatalf("the stream ended: %v", s.lines.Err())
	return
}

// until waits for a change of a collection.
func (s *changeStream) until(collection string) int64 {
	s.t.Helper()
	for {
		event, data := s.next()
		for _, name := range data.Collections {
			if event == "change" && name == collection {
				return data.Seq
			}
		}
	}
}

// A change made over RPC shows in the stream like one made over REST.
func TestQ44_EveryChangeIsNotified(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	s := h.changes(t, "")
	event, at := s.next()
	require.Equal(t, "heartbeat", event)
	h.call("createTicket", obj{"path": "a", "content": "x"}, nil)
	seq := s.until("tickets")
	require.Greater(t, seq, at.Seq)
	h.call("cronCreate", obj{"workflow": "static", "pattern": "0 8 * * 1-5"}, nil)
	s.until("crons")
	id := h.launch("approve", nil)
	s.until("approvals")
	h.await(id, "waiting-approval")

	// What a REST mutation answers is what the stream brings.
	_, b := h.do("POST", "/v1/api/tickets", "op", `{"path":"b","content":"y"}`)
	var answer struct{ Seq int64 }
	require.NoError(t, json.Unmarshal(b, &answer))
	require.Equal(t, answer.Seq, s.until("tickets"))

	// A client that comes back with its cursor gets what it missed.
	again := h.changes(t, "1")
	event, _ = again.next()
	require.Equal(t, "reset", event, "older than anything known")
}

func TestQ27_CursorOfTheFutureIsReset(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	s := h.changes(t, "999999999999999")
	event, reset := s.next()
	require.Equal(t, "reset", event)
	event, beat := s.next()
	require.Equal(t, "heartbeat", event)
	require.Equal(t, reset.Seq, beat.Seq)
}

func TestChangeStreamSurvivesARestartHonestly(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir, nil, Site{})
	_, b := first.do("POST", "/v1/api/tickets", "op", `{"path":"b","content":"y"}`)
	var answer struct{ Seq int64 }
	require.NoError(t, json.Unmarshal(b, &answer))
	old := jsonNumber(answer.Seq)
	first.changes(t, old).next()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, first.gateway.Close(ctx), "an open stream does not hold up the end")

	second := start(t, dir, nil, Site{})
	_, b = second.do("POST", "/v1/api/tickets", "op", `{"path":"c","content":"y"}`)
	require.NoError(t, json.Unmarshal(b, &answer))
	event, _ := second.changes(t, old).next()
	require.Equal(t, "reset", event, "a cursor of the process before is not taken for one of this")
}

func jsonNumber(n int64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestQ45_GatesOfChildRunsCanBeDecidedOverREST(t *testing.T) {
	h := start(t, t.TempDir(), func(s *Settings) {
		s.GoWorkflows["nested"] = GoWorkflow{Workflow: workflow.Func(func(ctx workflow.Context) (any, error) {
			return nil, ctx.Child("sub", "approve", map[string]any{}, nil)
		})}
		s.GoWorkflows["colons"] = GoWorkflow{Workflow: workflow.Func(func(ctx workflow.Context) (any, error) {
			_, err := ctx.Approval("a:b", workflow.Approval{})
			return nil, err
		})}
	}, Site{})
	parent := h.launch("nested", nil)
	child := parent + ":child:sub:0"
	h.await(parent, "waiting-event")
	h.await(child, "waiting-approval")
	res, b := h.do("POST", "/v1/api/approvals/"+url.PathEscape(child+":gate:0"), "op", `{"approved":true}`)
	require.Equal(t, 200, res.StatusCode, string(b))
	h.await(parent, "finished")

	id := h.launch("colons", nil)
	h.await(id, "waiting-approval")
	res, b = h.do("POST", "/v1/api/approvals/"+id+":a:b:0", "op", `{"approved":true}`)
	require.Equal(t, 200, res.StatusCode, string(b))
	h.await(id, "finished")
}

func TestQ41_LimitsAreClamped(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("many", nil)
	h.await(id, "finished")
	for _, path := range []string{"runs?limit=100000000", "runs/" + id + "/events?limit=2147483647", "runs/" + id + "/descendants?limit=99999999"} {
		res, b := h.do("GET", "/v1/api/"+path, "op", "")
		require.Equal(t, 200, res.StatusCode, "%s: %s", path, b)
	}
}

func TestElectricWrites(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	write := func(token, body string, status int, answer string) {
		t.Helper()
		res, b := h.do("POST", "/v1/electric/write?x=1", token, body)
		require.Equal(t, status, res.StatusCode, string(b))
		require.JSONEq(t, answer, string(b))
	}
	write("op", `{"method":"launchRun","vars":{"workflow":"static","runId":"e-1"}}`, 200,
		`{"ok":true,"payload":{"runId":"e-1","workflow":"static","system":false},"txid":null}`)
	write("op", `{"method":"getRun","params":{"runId":"nope"}}`, 404,
		`{"ok":false,"code":"NOT_FOUND","message":"Run not found: nope","details":{"version":"v1","code":"NOT_FOUND","message":"Run not found: nope"}}`)
	write("ro", `{"method":"launchRun","params":{}}`, 403,
		`{"ok":false,"code":"FORBIDDEN","message":"Missing required scope run:write for launchRun","requiredScope":"run:write"}`)
	write("", `{}`, 401, `{"ok":false,"code":"UNAUTHORIZED","message":"A bearer token is required"}`)
	write("op", `{`, 400, `{"ok":false,"code":"INVALID_JSON","message":"Request body must be valid JSON."}`)
	write("op", `[]`, 400, `{"ok":false,"code":"INVALID_REQUEST","message":"Request body must be a JSON object"}`)
	write("op", `{}`, 500, `{"ok":false,"code":"SERVER_ERROR","message":"method must be a method name."}`)
	res, _ := h.do("POST", "/v1/electric/write", "op", `{"method":"`+strings.Repeat("m", 65)+`"}`)
	require.Equal(t, 413, res.StatusCode)
	res, _ = h.do("POST", "/v1/electric/write", "op", `{"method":"health","params":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`)
	require.Equal(t, 413, res.StatusCode)
	res, _ = h.do("POST", "/v1/electric/write", "op", `{"x":"`+strings.Repeat("m", 1<<20)+`"}`)
	require.Equal(t, 413, res.StatusCode)
	res, _ = h.do("GET", "/v1/electric/write", "op", "")
	require.Equal(t, 404, res.StatusCode)
}

func TestPeripheralRefusals(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("static", nil)
	h.await(id, "finished")
	bad := func(method string, params obj, message string) {
		t.Helper()
		h.refused("op", method, params, 400, "InvalidRequest", message)
	}
	url := func(u string) obj { return obj{"source": obj{"kind": "url", "url": u}} }
	for _, u := range []string{"http://127.0.0.1/", "http://localhost:3000", "http://[::1]/", "http://10.0.0.1", "http://169.254.169.254/latest",
		"http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://[::ffff:127.0.0.1]/", "https://printer.local", "http://intranet/",
		"http://100.64.0.1", "http://0.0.0.0", "http://[fe80::1]/", "http://[64:ff9b::7f00:1]/", "http://metadata.google.internal"} {
		h.refused("op", "createBrowserSession", url(u), 400, "SSRF_BLOCKED", "Private and loopback destinations are not allowed.")
	}
	const off = "Browser sessions are not configured on this gateway."
	bad("createBrowserSession", url("https://example.com/x"), off)
	bad("createBrowserSession", url("http://93.184.216.34/"), off)
	bad("createBrowserSession", obj{"source": obj{"kind": "dev-server", "port": 3000}, "viewport": obj{"width": 800, "height": 600}}, off)
	bad("createBrowserSession", url("ftp://example.com"), "url must be an http or https address.")
	bad("createBrowserSession", obj{"source": obj{"kind": "dev-server", "port": 65536}}, "port must be an integer from 1 to 65535.")
	bad("createBrowserSession", obj{"bogus": 1}, "Unexpected browser parameter: bogus")
	bad("createBrowserSession", obj{}, "source is required.")
	bad("browserAct", obj{}, "sessionId is required.")
	bad("browserAct", obj{"sessionId": "x", "actionId": "a", "action": obj{"kind": "reload"}}, "Browser session not found.")
	bad("browserAct", obj{"sessionId": "x", "actionId": "a", "action": obj{"kind": "click"}}, "click takes either a locator or a point.")
	h.refused("op", "browserAct", obj{"sessionId": "x", "actionId": "a", "action": obj{"kind": "navigate", "url": "http://192.168.1.1"}}, 400,
		"SSRF_BLOCKED", "Private and loopback destinations are not allowed.")
	bad("browserContext", obj{"sessionId": "zz"}, "Browser session not found.")
	bad("browserPick", obj{"sessionId": "zz", "point": obj{"x": 1, "y": 2}}, "Browser session not found.")
	bad("listBrowserSessions", obj{"x": 1}, "Unexpected browser parameter: x")
	status, f := h.rpc("op", "listBrowserSessions", obj{})
	require.Equal(t, 200, status)
	require.JSONEq(t, "[]", string(f.Payload))

	h.refused("op", "ext.demo.zz", obj{}, 500, "EXTENSION_METHOD_NOT_FOUND", "Unknown extension method: ext.demo.zz")
	h.refused("op", "nope.method", obj{}, 404, "METHOD_NOT_FOUND", "Unknown method: nope.method")
	h.refused("ro", "config.get", obj{}, 403, "FORBIDDEN", "Missing required scope run:admin for config.get")
	h.refused("ro", "hijackRun", obj{"runId": id}, 403, "FORBIDDEN", "Missing required scope run:admin for hijackRun")
	h.refused("op", "hijackRun", obj{}, 400, "InvalidRunId", "runId is required")
	h.refused("op", "hijackRun", obj{"runId": "nope"}, 404, "RunNotFound", "Run not found: nope")
	h.refused("op", "listRunTokenUsage", obj{"runId": "nope"}, 404, "RunNotFound", "Run not found: nope")
	h.refused("op", "listRunTokenUsage", obj{}, 400, "INVALID_REQUEST", "runId is required")
	h.refused("op", "runs.rerun", obj{"runId": "nope"}, 404, "NOT_FOUND", "Run not found: nope")
	h.refused("op", "retryTask", obj{"runId": id}, 400, "INVALID_REQUEST", "runId and nodeId are required")
	h.refused("op", "retryTask", obj{"runId": "nope", "nodeId": "zz"}, 404, "NOT_FOUND", "Run not found: nope")
	h.refused("op", "retryTask", obj{"runId": id, "nodeId": "zz"}, 404, "NOT_FOUND", "Node not found: "+id+"/zz/0")
	h.refused("op", "whatHappened", obj{}, 400, "InvalidRunId", "runId must match /^[a-z0-9_-][a-z0-9_.-]{0,63}$/.")
	h.refused("op", "whatHappened", obj{"runId": "nope"}, 404, "RunNotFound", "Run not found: nope")
	h.refused("op", "whatHappened", obj{"runId": id, "nodeId": "zz"}, 404, "NodeNotFound", "Node not found: zz")
	h.refused("op", "whatHappened", obj{"runId": id, "nodeId": "ship", "iteration": 9}, 404, "IterationNotFound", "Iteration not found: 9")
	h.refused("op", "whatHappened", obj{"runId": id, "nodeId": "ship", "iteration": -1}, 400, "InvalidIteration", "iteration must be a non-negative 32-bit integer.")
	h.refused("op", "listDocs", obj{"limit": 0}, 400, "INVALID_INPUT", "limit must be a finite number greater than 0.")
}

// TestQ47_HijackLeavesAnAuditRow and TestQ48 hold what the log of who did what has.
func TestQ47_HijackLeavesAnAuditRow(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("static", nil)
	h.await(id, "finished")
	var hijacked struct{ SessionID string }
	h.call("hijackRun", obj{"runId": id}, &hijacked)
	entries := h.audit("hijack")
	require.Len(t, entries, 1)
	require.Equal(t, []any{id, "alice"}, []any{entries[0].RunID, entries[0].Actor})
	require.JSONEq(t, `{"sessionId":"`+hijacked.SessionID+`"}`, string(entries[0].Detail))
}

func TestQ48_RetryKeepsEarlierAttempts(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("fail", nil)
	h.await(id, "failed")
	var before, after []obj
	h.call("attempts.list", obj{"runId": id}, &before)
	h.call("retryTask", obj{"runId": id, "nodeId": "boom"}, nil)
	h.await(id, "failed")
	h.call("attempts.list", obj{"runId": id}, &after)
	require.Len(t, after, 2*len(before))
	require.Equal(t, before, after[:len(before)])
}
