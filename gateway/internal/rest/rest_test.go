package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// fake stands for everything behind the routes: it answers each call with the call.
type fake struct {
	refuse  *wire.Error
	covered []store.Collections
}

func (f *fake) Dispatch(_ context.Context, c *rpc.Call) (json.RawMessage, *wire.Error) {
	if f.refuse != nil {
		return nil, f.refuse
	}
	b, err := json.Marshal(map[string]any{"method": c.Method, "params": c.Params, "remote": c.Remote})
	if err != nil {
		return nil, wire.Errorf(wire.CodeServerError, "%v", err)
	}
	return b, nil
}

func (f *fake) View(context.Context, func(*store.View) error) error { return errors.New("no store") }

func (f *fake) Cover(_ context.Context, c store.Collections) (int64, error) {
	f.covered = append(f.covered, c)
	return 7, nil
}

func (f *fake) Seq() int64 { return 6 }

func (f *fake) ask(verb, target, body string) (int, string) {
	path, query, _ := strings.Cut(target, "?")
	q := &Request{Principal: &auth.Principal{Scopes: []string{"*"}}, Remote: "r", Verb: verb, Path: Root + path, Query: query,
		Body: func() ([]byte, *wire.Error) { return []byte(body), nil }}
	status, answer := New(Deps{Router: f, Store: f, Changes: f}).Answer(context.Background(), q)
	return status, string(answer)
}

// TestParameters holds what becomes of path, query and body.
func TestParameters(t *testing.T) {
	for _, c := range []struct{ verb, target, body, method, params string }{
		{"GET", "/runs", "", "listRuns", `{"filter":{"offset":0}}`},
		{"GET", "/runs?limit=5&offset=2&status=failed&workflow=&parentRunId=p&includeSystem=true", "", "listRuns",
			`{"filter":{"limit":5,"offset":2,"status":"failed","parentRunId":"p","includeSystem":true}}`},
		{"GET", "/runs?includeSystem=TRUE", "", "listRuns", `{"filter":{"offset":0,"includeSystem":false}}`},
		{"POST", "/runs", `{"workflowId":"w","input":null}`, "launchRun", `{"workflow":"w","workflowId":"w","input":null}`},
		{"POST", "/runs", `{"workflow":"w","workflowKey":"x","input":{"a":1}}`, "launchRun", `{"workflow":"w","workflowKey":"x","input":{"a":1}}`},
		{"POST", "/runs", `{"workflowKey":"x"}`, "launchRun", `{"workflow":"x","workflowKey":"x","input":{}}`},
		{"GET", "/runs/a%3Achild%3An%3A0", "", "getRun", `{"runId":"a:child:n:0"}`},
		{"POST", "/runs/a/pause", `{"runId":"b","x":1}`, "pauseRun", `{"runId":"a","x":1}`},
		{"POST", "/runs/a/hijack", ``, "hijackRun", `{"runId":"a"}`},
		{"GET", "/runs/a/tree?frameNo=3", "", "getDevToolsSnapshot", `{"runId":"a","frameNo":3}`},
		{"GET", "/runs/a/descendants?limit=5", "", "listRunDescendants", `{"runId":"a","limit":5}`},
		{"GET", "/nodes/a/n%2Fm/output", "", "getNodeOutput", `{"runId":"a","nodeId":"n/m","iteration":0}`},
		{"GET", "/runs/a/nodes/n/diff?iteration=2", "", "getNodeDiff", `{"runId":"a","nodeId":"n","iteration":2}`},
		{"POST", "/nodes/a/n/retry", `{"iteration":1,"nodeId":"x"}`, "retryTask", `{"runId":"a","nodeId":"n","iteration":1}`},
		{"POST", "/signals", `{"runId":"a"}`, "submitSignal", `{"runId":"a"}`},
		{"GET", "/crons?workflow=w", "", "cronList", `{"filter":{"workflow":"w"}}`},
		{"POST", "/crons/run", `{"cronId":"c"}`, "cronRun", `{"cronId":"c"}`},
		{"DELETE", "/crons/gateway%3Aw", "", "cronDelete", `{"cronId":"gateway:w"}`},
		{"GET", "/scores/compare?runId=a&runId=b&runId=&order=scoredAtDesc&limit=2", "", "listScoresForRuns",
			`{"runIds":["a","b"],"order":"scoredAtDesc","limit":2,"offset":0}`},
		{"GET", "/scores/a/s", "", "getScoreDetail", `{"runId":"a","scoreId":"s"}`},
		{"PATCH", "/tickets/a/b%2Fc", `{"status":"x","path":"y"}`, "updateTicket", `{"path":"a/b/c","status":"x"}`},
		{"DELETE", "/tickets/t", "", "deleteTicket", `{"path":"t"}`},
		{"GET", "/docs?kind=spec&includeDeleted=true&updatedAfterMs=5", "", "listDocs", `{"kind":"spec","includeDeleted":true,"updatedAfterMs":5}`},
		{"GET", "/usage?fresh=true", "", "listUsageReports", `{"fresh":true}`},
		{"GET", "/memory-facts?namespace=n", "", "listMemoryFacts", `{"namespace":"n"}`},
	} {
		f := &fake{}
		status, answer := f.ask(c.verb, c.target, c.body)
		require.Equal(t, 200, status, "%s %s: %s", c.verb, c.target, answer)
		want := `{"ok":true,"data":{"method":"` + c.method + `","params":` + c.params + `,"remote":"r"}`
		if c.verb != http.MethodGet {
			want += `,"seq":7`
			require.Len(t, f.covered, 1)
		} else {
			require.Empty(t, f.covered)
		}
		require.JSONEq(t, want+"}", answer, c.target)
	}
}

func TestNoRoute(t *testing.T) {
	for _, c := range [][2]string{{"GET", ""}, {"GET", "/"}, {"GET", "/runs/"}, {"GET", "/runs//events"}, {"POST", "/runs/a"}, {"HEAD", "/runs"},
		{"DELETE", "/tickets"}, {"GET", "/runs/a/nodes/b"}, {"OPTIONS", "/runs"}, {"GET", "/tickets/a"}} {
		status, answer := (&fake{}).ask(c[0], c[1], "")
		require.Equal(t, 404, status, c)
		require.Equal(t, `{"ok":false,"error":{"code":"NOT_FOUND","message":"Route not found"}}`, answer)
	}
}

func TestErrorsKeepTheirLayer(t *testing.T) {
	f := &fake{refuse: wire.Errorf(wire.CodeConflict, "no").With("runId", "a")}
	status, answer := f.ask("GET", "/runs", "")
	require.Equal(t, 409, status)
	require.Equal(t, `{"ok":false,"error":{"version":"v1","code":"CONFLICT","message":"no","runId":"a"}}`, answer)
	require.Empty(t, f.covered)
	status, answer = f.ask("GET", "/runs/a/events", "")
	require.Equal(t, 503, status, "a store that cannot be read")
	require.Contains(t, answer, `"retryable":true`)
}

func TestSplitGate(t *testing.T) {
	require.Empty(t, splitGate("garbage"))
	require.Empty(t, splitGate("a:b:x"))
	require.Empty(t, splitGate("a:0"))
	require.Empty(t, splitGate("::0"))
	require.Equal(t, []gateID{{"r", "gate", 0}}, splitGate("r:gate:0"))
	require.Equal(t, gateID{"R:child:n:0", "gate", 2}, splitGate("R:child:n:0:gate:2")[0])
	require.Len(t, splitGate(strings.Repeat("x:", 100)+"0"), maxWays)
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "/runs?limit=5&offset=x", ""}, {"POST", "/approvals/a:b:c:0", `{"approved":true}`}, {"PUT", "/tickets/%2f%2e%2e/%zz", `{"a":`},
		{"GET", "/runs/a/events?nodeId=%00&afterSeq=99999999999999999999", ""}, {"DELETE", "/crons/%", ""}, {"GET", "/scores/compare?runId=a;b&%zz", ""},
		{"PATCH", "/tickets/a", `[{"x":1}]`}, {"POST", "/runs", "\"\xff\""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, verb, target, body string) {
		status, answer := (&fake{}).ask(verb, target, body)
		if !json.Valid([]byte(answer)) {
			t.Fatalf("%s %s: %q", verb, target, answer)
		}
		if status == http.StatusInternalServerError {
			t.Fatalf("%s %s %s: %s", verb, target, body, answer)
		}
	})
}

func FuzzElectric(f *testing.F) {
	f.Add(`{"method":"health","vars":{}}`)
	f.Add(`{"method":5}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, body string) {
		q := &Request{Principal: &auth.Principal{}, Body: func() ([]byte, *wire.Error) { return []byte(body), nil }}
		_, answer := New(Deps{Router: &fake{}}).Electric(context.Background(), q)
		if !json.Valid(answer) {
			t.Fatalf("%q: %q", body, answer)
		}
	})
}
