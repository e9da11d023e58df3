package gateway

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// contract is a gateway with something of everything to read.
type contract struct {
	*harness
	shapes shapes
	run    string // finished: usage, score, memory, a child, tolerated failure
	parked string // at a gate
}

// richWorkflow leaves a trace in every table.
func richWorkflow() GoWorkflow {
	return GoWorkflow{ReadableName: "Rich", Description: "Leaves a trace in every table.", Workflow: workflow.Func(func(ctx workflow.Context) (any, error) {
		var out map[string]any
		err := ctx.Task("ask", func(t workflow.Task) (any, error) {
			t.Log("thinking")
			t.Heartbeat(map[string]any{"at": "half"})
			t.Usage(workflow.Usage{Model: "m-1", Agent: "a-1", InputTokens: 10, OutputTokens: 5, CacheReadTokens: 1})
			t.Usage(workflow.Usage{InputTokens: 2})
			return map[string]any{"ok": true, "note": "hi"}, nil
		}, &out, workflow.Label("Ask"))
		if err != nil {
			return nil, err
		}
		if err := ctx.Memory("team").Set("style", map[string]any{"indent": 2}); err != nil {
			return nil, err
		}
		if err := ctx.Score(workflow.Score{Scorer: "quality", Node: "ask", Score: 0.75, Reason: "good", Meta: map[string]any{"by": "rule"}}); err != nil {
			return nil, err
		}
		if err := ctx.Score(workflow.Score{Scorer: "speed", Score: 1}); err != nil {
			return nil, err
		}
		if err := ctx.Task("bad", func(workflow.Task) (any, error) { return nil, fmt.Errorf("no") }, nil, workflow.ContinueOnFail()); err != nil {
			return nil, err
		}
		return out, ctx.Child("sub", "static", map[string]any{}, nil)
	})}
}

func newContract(t *testing.T) *contract {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	t.Setenv("HOME", home)
	t.Setenv("SMITHERS_HOME", "")
	t.Setenv("USERPROFILE", home)
	for path, text := range map[string]string{
		filepath.Join(dir, ".smithers", "prompts", "hi.md"):            "# Hi {{name}}\n",
		filepath.Join(dir, ".smithers", "prompts", "deep", "more.mdx"): "More",
		filepath.Join(dir, ".smithers", "prompts", "not.txt"):          "no prompt",
		filepath.Join(home, ".smithers", "accounts.json"): `{"version":1,"accounts":[
			{"label":"work","provider":"claude-code","configDir":"` + filepath.ToSlash(home) + `/claude","model":"m","addedAt":"2026-01-01T00:00:00.000Z"},
			{"label":"api","provider":"openai-api","apiKey":"sk-very-secret"},
			{"label":"alien","provider":"unheard-of","apiKey":"sk-other-secret"}]}`,
		filepath.Join(home, ".smithers", "usage.json"): `{"version":1,"reports":[{"accountLabel":"work","provider":"x","authMode":"x","source":"oauth",
			"windows":[{"id":"5h","label":"Five hours","unit":"percent","usedPercent":41.5,"resetsAt":"2026-01-01T05:00:00.000Z"}],
			"planType":"max","credits":{"hasCredits":true,"unlimited":false,"balance":"12.50"},"fetchedAt":"2026-01-01T00:00:00.000Z","stale":false,"estimate":false},
			{"accountLabel":"api","windows":[{"id":"d","label":"Day","unit":"count","used":1,"limit":10,"remaining":9}],"fetchedAt":"x"}]}`,
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	c := &contract{shapes: loadShapes(t)}
	c.harness = start(t, dir, func(s *Settings) {
		s.WorkspaceRoot = dir
		s.GoWorkflows["rich"] = richWorkflow()
	}, Site{})
	c.run = c.launch("rich", obj{"n": 1})
	c.parked = c.launch("approve", nil)
	c.await(c.run, "finished")
	c.await(c.parked, "waiting-approval")
	return c
}

// answer calls a method, holds its answer against the shape and returns it.
func (c *contract) answer(method string, params any) any {
	c.t.Helper()
	status, f := c.rpc("op", method, params)
	require.Equal(c.t, 200, status, "%s: %v", method, f.Error)
	return c.shapes.check(c.t, method, f.Payload)
}

// rest does the same with a REST route; shown is the route's name.
func (c *contract) rest(verb, path, shown, body string) any {
	c.t.Helper()
	res, b := c.do(verb, "/v1/api/"+path, "op", body)
	require.Equal(c.t, 200, res.StatusCode, "%s %s: %s", verb, path, b)
	var envelope struct{ OK bool }
	require.NoError(c.t, json.Unmarshal(b, &envelope))
	require.True(c.t, envelope.OK)
	b = []byte(strings.Replace(string(b), `"ok":true,`, "", 1))
	answer := c.shapes.check(c.t, "REST "+verb+" "+shown, b).(obj)
	return answer["data"]
}

// readFrames looks at the tree of a run of every kind of node, now and then.
func (c *contract) readFrames() {
	id := obj{"runId": c.run}
	tree := c.answer("getDevToolsSnapshot", id).(obj)
	same := c.rest("GET", "runs/"+c.run+"/devtools", "runs/{run}/devtools", "").(obj)
	delete(tree["runState"].(obj), "computedAt")
	delete(same["runState"].(obj), "computedAt")
	require.Equal(c.t, tree, same)
	require.Equal(c.t, "succeeded", tree["runState"].(obj)["state"])
	var states []string
	for _, n := range tree["root"].(obj)["children"].([]any)[0].(obj)["children"].([]any) {
		task := n.(obj)["task"].(obj)
		states = append(states, fmt.Sprint(n.(obj)["type"], " ", task["nodeId"], " ", task["state"], " ", task["attempt"]))
	}
	require.Equal(c.t, []string{"task ask finished 1", "task bad failed 1", "subflow sub finished 1"}, states)
	rows := c.answer("frames.list", id).([]any)
	require.Equal(c.t, tree["frameNo"], rows[0].(obj)["frameNo"])
	require.Len(c.t, rows, 10)
	require.Equal(c.t, rows[9], c.answer("frames.get", obj{"runId": c.run, "frameNo": "1"}))
	first := c.answer("getDevToolsSnapshot", obj{"runId": c.run, "frameNo": 1}).(obj)
	task := first["root"].(obj)["children"].([]any)[0].(obj)["children"].([]any)[0].(obj)["task"].(obj)
	require.Equal(c.t, "pending", task["state"], "as of then (Q32)")
	require.Equal(c.t, "running", first["runState"].(obj)["state"])

	d := c.answer("runs.diff", obj{"leftRunId": c.run, "rightRunId": c.parked}).(obj)
	require.Equal(c.t, []any{"build::0", "gate::0"}, d["nodesAdded"])
	require.Equal(c.t, []any{"ask::0", "bad::0", "sub::0"}, d["nodesRemoved"])
	require.Equal(c.t, []any{"ask", "sub"}, d["outputsRemoved"])
	require.Equal(c.t, true, d["inputChanged"])
	c.refused("op", "runs.diff", obj{"leftRunId": c.run}, 400, "INVALID_REQUEST", "leftRunId and rightRunId are required")
	c.refused("op", "runs.diff", obj{"leftRunId": c.run, "rightRunId": "nope"}, 404, "NOT_FOUND", "Both runs must exist")
}

// TestEveryAnswerIsComplete creates what there is to read and reads it in every way.
// Each answer has rows, every member of the original and the types that its clients
// expect; an answer of the transcripts that is not asked for here fails the test.
func TestEveryAnswerIsComplete(t *testing.T) {
	c := newContract(t)
	c.readRuns()
	c.changeTickets()
	c.readWorkspace()
	c.readScores()
	c.controlRuns()
	c.schedules()
	for name, s := range c.shapes {
		if name != "streamRunEvents" { // over sockets: see the tests of streams
			require.True(t, s.checked, "%s is never asked for", name)
		}
	}
}

func (c *contract) readRuns() {
	id := obj{"runId": c.run}
	run := c.answer("getRun", id).(obj)
	require.Equal(c.t, 1.0, run["failedChildren"])
	same := c.rest("GET", "runs/"+c.run, "runs/{run}", "").(obj)
	delete(run["runState"].(obj), "computedAt")
	delete(same["runState"].(obj), "computedAt")
	require.Equal(c.t, run, same, "one answer on every transport")
	c.answer("listRuns", obj{"filter": obj{"limit": 10}})
	rows := c.rest("GET", "runs?limit=1&workflow=rich&status=", "runs", "").([]any)
	require.Len(c.t, rows, 1)

	descendants := c.answer("listRunDescendants", id).([]any)
	require.Equal(c.t, []any{obj{"runId": c.run, "parentRunId": nil, "depth": 0.0},
		obj{"runId": c.run + ":child:sub:0", "parentRunId": c.run, "depth": 1.0}}, descendants)
	require.Len(c.t, c.rest("GET", "runs/"+c.run+"/descendants?limit=1", "runs/{run}/descendants", ""), 1)

	usage := c.answer("listRunTokenUsage", id).(obj)["events"].([]any)
	require.Len(c.t, usage, 2)
	require.Equal(c.t, "m-1", usage[0].(obj)["model"])
	require.Equal(c.t, 1.0, usage[0].(obj)["cacheReadTokens"])
	require.Equal(c.t, "unknown", usage[1].(obj)["agent"])
	c.rest("GET", "runs/"+c.run+"/token-usage", "runs/{run}/token-usage", "")

	c.answer("listNodeStates", id)
	c.rest("GET", "runs/"+c.run+"/node-states", "runs/{run}/node-states", "")
	attempts := c.answer("attempts.list", id).([]any)
	require.Contains(c.t, attempts[0].(obj)["metaJson"], `"kind":"compute"`)
	c.answer("attempts.get", obj{"runId": c.run, "nodeId": "bad", "iteration": 0, "attempt": 1})
	out := c.answer("getNodeOutput", obj{"runId": c.run, "nodeId": "ask", "iteration": 0}).(obj)
	require.Equal(c.t, obj{"ok": true, "note": "hi"}, out["row"])
	c.rest("GET", "runs/"+c.run+"/nodes/ask/output", "runs/{run}/nodes/{node}/output", "")
	require.Equal(c.t, out, c.rest("GET", "nodes/"+c.run+"/ask/output?iteration=0", "runs/{run}/nodes/{node}/output", ""))

	c.readFrames()

	told := c.answer("whatHappened", id).(obj)
	require.Regexp(c.t, `^Run `+c.run+` \(rich\) finished in (\d+ms|\d+\.\ds)\.$`, told["summary"])
	require.Equal(c.t, false, told["cached"])
	again := c.answer("whatHappened", id).(obj)
	require.Equal(c.t, true, again["cached"])
	require.Equal(c.t, told["generatedAtMs"], again["generatedAtMs"])
	node := c.answer("whatHappened", obj{"runId": c.run, "nodeId": "bad", "iteration": "0"}).(obj)
	require.Regexp(c.t, "^Node \"bad\" failed after 1 attempt in \\d+ms\\.\n- error: no$", node["summary"])

	log := c.rest("GET", "runs/"+c.run+"/events?limit=1000", "runs/{run}/events", "").([]any)
	for i, row := range log {
		require.EqualValues(c.t, i, row.(obj)["seq"])
	}
	page := c.rest("GET", "events?afterSeq=3&limit=2&runId="+c.run, "runs/{run}/events", "").([]any)
	require.Equal(c.t, log[4:6], page)
	c.rest("GET", "events?limit=1&runId="+c.run, "events", "")
	about := c.rest("GET", "runs/"+c.run+"/events?nodeId=ask&limit=3", "runs/{run}/events", "").([]any)
	require.Len(c.t, about, 3)
	require.Equal(c.t, "NodeFinished", about[2].(obj)["event"])

	c.answer("listApprovals", obj{})
	gates := c.rest("GET", "approvals", "approvals", "").([]any)
	require.NotContains(c.t, gates[0], "autoApprove")
	c.answer("listWorkflows", obj{"filter": obj{"includeSystem": true}})
	c.rest("GET", "workflows", "workflows", "")
	signature := c.answer("getSchemaSignature", obj{}).(obj)
	require.Len(c.t, signature["signature"], 64)
	require.Contains(c.t, signature["components"], "gateway_docs")
	c.rest("GET", "schema-signature", "schema-signature", "")
	c.answer("health", obj{})
}

func (c *contract) changeTickets() {
	created := c.answer("createTicket", obj{"path": "t1", "content": "# hi", "status": "todo"}).(obj)
	require.Equal(c.t, "ticket", created["kind"])
	require.Len(c.t, created["contentHash"], 64)
	updated := c.answer("updateTicket", obj{"path": "t1", "status": "done"}).(obj)
	require.Equal(c.t, created["contentHash"], updated["contentHash"])
	c.answer("listTickets", obj{})
	c.rest("GET", "tickets?kind=ticket", "tickets", "")
	c.rest("POST", "tickets", "tickets", `{"path":"a/b","content":"x","kind":"spec"}`)
	c.rest("PATCH", "tickets/a/b", "tickets/{path}", `{"status":"done","path":"ignored"}`)
	put := c.rest("PUT", "tickets/a%2Fb", "tickets/{path}", `{"content":"y"}`).(obj)
	require.Equal(c.t, []any{"a/b", "y", "done", "spec"}, []any{put["path"], put["content"], put["status"], put["kind"]})
	docs := c.rest("GET", "docs?kind=spec", "docs", "").([]any)
	require.Equal(c.t, "done", docs[0].(obj)["status"], "Q42")
	c.rest("DELETE", "tickets/a/b", "tickets/{path}", "")
	deleted := c.answer("listDocs", obj{"filter": obj{"includeDeleted": true, "kind": "spec"}}).([]any)
	require.IsType(c.t, 1.0, deleted[0].(obj)["deletedAtMs"])
	c.answer("deleteTicket", obj{"path": "t1"})
	for method, params := range map[string]obj{"updateTicket": {"path": "zz"}, "deleteTicket": {"path": "zz"}} {
		c.refused("op", method, params, 404, "NOT_FOUND", "Ticket not found: zz")
	}
	c.refused("op", "createTicket", obj{"path": "t1"}, 400, "INVALID_REQUEST", "content is required")
	c.refused("op", "createTicket", obj{"content": "x"}, 400, "INVALID_REQUEST", "path is required")
	c.refused("ro", "createTicket", obj{"path": "t", "content": ""}, 403, "FORBIDDEN", "Missing required scope ticket:write for createTicket")
}

func (c *contract) readWorkspace() {
	prompts := c.answer("listPrompts", obj{}).([]any)
	require.Len(c.t, prompts, 2)
	require.Equal(c.t, []any{"deep/more", "prompts/deep/more.mdx"}, []any{prompts[0].(obj)["id"], prompts[0].(obj)["entryFile"]})
	c.rest("GET", "prompts", "prompts", "")
	facts := c.answer("listMemoryFacts", obj{"namespace": "team"}).([]any)
	require.JSONEq(c.t, `{"indent":2}`, facts[0].(obj)["valueJson"].(string))
	c.rest("GET", "memory-facts?namespace=team", "memory-facts", "")

	accounts := c.answer("listAccounts", obj{}).([]any)
	require.Len(c.t, accounts, 2)
	require.Equal(c.t, true, accounts[1].(obj)["hasApiKey"])
	c.rest("GET", "accounts", "accounts", "")
	reports := c.answer("listUsageReports", obj{"fresh": true}).([]any)
	require.Len(c.t, reports, 2)
	require.Equal(c.t, []any{"claude-code", "subscription", true, "oauth"}, []any{reports[0].(obj)["provider"], reports[0].(obj)["authMode"],
		reports[0].(obj)["stale"], reports[0].(obj)["source"]}, "an old report is stale; who the account is, says the registry")
	c.rest("GET", "usage?fresh=true", "usage", "")
	for _, method := range []string{"listAccounts", "listUsageReports"} {
		_, f := c.rpc("op", method, obj{})
		require.NotContains(c.t, string(f.Payload), "secret")
	}
	require.NoError(c.t, os.WriteFile(filepath.Join(os.Getenv("HOME"), ".smithers", "accounts.json"), []byte(`{"accounts":[{"apiKey":"sk-`), 0o600))
	_, f := c.rpc("op", "listAccounts", obj{})
	require.Equal(c.t, "ACCOUNTS_FILE_INVALID", f.Error["code"])
	require.NotContains(c.t, fmt.Sprint(f.Error), "sk-")
}

func (c *contract) readScores() {
	rows := c.answer("listScores", obj{"runId": c.run}).([]any)
	require.Len(c.t, rows, 2)
	require.Equal(c.t, []any{"quality", 0.75, "good", "ask", "live"}, []any{rows[0].(obj)["scorerId"], rows[0].(obj)["score"],
		rows[0].(obj)["reason"], rows[0].(obj)["nodeId"], rows[0].(obj)["source"]})
	c.rest("GET", "scores?nodeId=ask&runId="+c.run, "scores", "")
	page := c.answer("listScoresForRuns", obj{"runIds": []string{c.run, " " + c.run}, "order": "scoredAtDesc", "limit": 1}).(obj)
	require.Equal(c.t, 2.0, page["total"])
	id := page["rows"].([]any)[0].(obj)["scoreId"].(string)
	require.Equal(c.t, "speed", page["rows"].([]any)[0].(obj)["scorerId"])
	c.rest("GET", "scores/compare?scorerName=quality&runId="+c.run+"&runId="+c.run, "scores/compare", "")
	c.answer("getScoreDetail", obj{"runId": c.run, "scoreId": id})
	c.rest("GET", "scores/"+c.run+"/"+id, "scores/{run}/{score}", "")
	var empty obj
	c.call("listScoresForRuns", obj{"runIds": []string{}}, &empty)
	require.Equal(c.t, obj{"rows": []any{}, "total": 0.0}, empty)
	bad := func(params obj, message string) {
		c.refused("op", "listScoresForRuns", params, 400, "INVALID_REQUEST", message)
	}
	bad(obj{"runIds": "x"}, "runIds must be an array of strings")
	bad(obj{"runIds": []any{1}}, "runIds must be an array of strings")
	bad(obj{"bogus": 1}, "Unexpected listScoresForRuns parameter: bogus")
	bad(obj{"runIds": []string{"x"}, "limit": 501}, "limit must be an integer from 1 to 500")
	bad(obj{"runIds": []string{"x"}, "offset": 9999}, "offset + limit must not exceed 10000")
	bad(obj{"runIds": []string{"x"}, "source": "y"}, "source must be live or batch")
	c.refused("op", "listScoresForRuns", obj{"runIds": []string{"nope"}}, 404, "RunNotFound", "Run not found: nope")
	c.refused("op", "listScores", obj{"runId": "nope"}, 404, "NOT_FOUND", "Run not found: nope")
	c.refused("op", "getScoreDetail", obj{"runId": c.run, "scoreId": "s"}, 404, "ScoreNotFound", "Score not found on run "+c.run+": s")
	c.refused("op", "getScoreDetail", obj{"runId": c.parked, "scoreId": id}, 404, "ScoreNotFound", "Score not found on run "+c.parked+": "+id)
	c.refused("op", "getScoreDetail", obj{"runId": ""}, 400, "INVALID_REQUEST", "runId and scoreId must be strings")
}

func (c *contract) controlRuns() {
	rerun := c.answer("runs.rerun", obj{"runId": c.run, "newRunId": "rr-1"}).(obj)
	require.Equal(c.t, obj{"runId": "rr-1", "workflow": "rich", "system": false}, rerun)
	c.await("rr-1", "finished")
	retried := c.answer("retryTask", obj{"runId": c.run, "nodeId": "bad"}).(obj)
	require.Equal(c.t, obj{"runId": c.run, "nodeId": "bad", "iteration": 0.0, "resetNodes": []any{"bad", "sub"}, "status": "retry_requested"}, retried)
	c.await(c.run, "finished")
	c.rest("POST", "runs/"+c.run+"/nodes/ask/retry", "runs/{run}/nodes/{node}/retry", `{"resetDependents":false}`)
	c.await(c.run, "finished")

	c.answer("hijackRun", obj{"runId": c.run})
	c.rest("POST", "runs/"+c.run+"/hijack", "runs/{run}/hijack", "{}")
	c.rest("GET", "runs/"+c.run+"/hijack-candidates", "runs/{run}/hijack-candidates", "")
	c.answer("closeBrowserSession", obj{"sessionId": "zz"})
	c.answer("listBrowserSessions", obj{})

	launched := c.answer("launchRun", obj{"workflow": "signal", "input": obj{"corr": "x"}}).(obj)["runId"].(string)
	c.await(launched, "waiting-event")
	c.answer("submitSignal", obj{"runId": launched, "signalName": "other", "data": 1})
	c.rest("POST", "signals", "signals", `{"runId":"`+launched+`","signalName":"x","payload":{"a":1}}`)
	c.answer("resumeRun", obj{"runId": launched})
	resumed := c.rest("POST", "runs/"+c.run+"/resume", "runs/{run}/resume", "{}").(obj)
	require.Equal(c.t, obj{"runId": c.run, "status": "already_terminal", "system": false}, resumed, "Q42: system as it is")
	c.answer("cancelRun", obj{"runId": launched})

	c.answer("submitApproval", obj{"runId": c.parked, "nodeId": "gate", "approved": true})
	other := c.rest("POST", "runs", "runs", `{"workflowKey":"approve"}`).(obj)["runId"].(string)
	c.await(other, "waiting-approval")
	decided := c.rest("POST", "approvals/"+url.PathEscape(other+":gate:0"), "approvals/{approval}", `{"approved":true,"note":"via rest"}`).(obj)
	require.Equal(c.t, true, decided["approved"], "Q42")
	c.pause()
}

// pause holds a run at a moment when it executes.
func (c *contract) pause() {
	c.harness.refused("op", "pauseRun", obj{"runId": c.run}, 409, "RUN_NOT_ACTIVE", "Run is not currently executing")
	b := make(chan struct{})
	defer close(b)
	s := testSettings(c.t, c.dir)
	s.WorkspaceRoot = c.dir
	s.GoWorkflows["busy"] = GoWorkflow{Workflow: workflow.Func(func(ctx workflow.Context) (any, error) {
		return nil, ctx.Task("busy", func(t workflow.Task) (any, error) {
			select {
			case <-b:
			case <-t.Done():
			}
			return nil, nil
		}, nil)
	})}
	require.NoError(c.t, c.gateway.Apply("test", s))
	id := c.launch("busy", obj{})
	c.answer("pauseRun", obj{"runId": id})
}

func (c *contract) schedules() {
	c.answer("cronCreate", obj{"workflow": "static", "pattern": "0 8 * * 1-5", "cronId": "c1"})
	c.answer("cronList", obj{})
	c.answer("cronRun", obj{"cronId": "c1"})
	c.answer("cronDelete", obj{"cronId": "c1"})
	c.rest("POST", "crons", "crons", `{"workflow":"static","pattern":"0 8 * * 1-5","cronId":"c/2"}`)
	c.rest("GET", "crons?workflow=static", "crons", "")
	_, b := c.do("GET", "/v1/api/crons?workflow=nope", "op", "")
	require.JSONEq(c.t, `{"ok":true,"data":[]}`, string(b), "Q43")
	c.rest("POST", "crons/run", "crons/run", `{"cronId":"c/2"}`)
	c.rest("DELETE", "crons/c%2F2", "crons/{cron}", "")
}
