package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// fixtureTokens are the bearers of the recorded transcripts.
const fixtureTokens = `{"version":2,"tokens":{
	"op":{"role":"operator","scopes":["*"],"userId":"alice"},
	"ro":{"role":"operator","scopes":["run:read"]},
	"rw":{"role":"operator","scopes":["run:write"],"userId":"bob"},
	"approver":{"role":"operator","scopes":["approval:submit"],"userId":"carol"},
	"signaller":{"role":"operator","scopes":["signal:submit"]},
	"method":{"role":"operator","scopes":["getRun"]},
	"watcher":{"role":"operator","scopes":["observability:read"]},
	"expired":{"role":"operator","scopes":["*"],"expiresAtMs":1000},
	"revoked":{"role":"operator","scopes":["*"],"revokedAtMs":1000},
	"none":{"role":"operator","scopes":[]},
	"other":{"role":"operator","scopes":["*"],"userId":"dave"},
	"admin":{"role":"admin","scopes":["*"],"userId":"root"}
}}`

// fixtureWorkflows are Go workflows that need no clock.
func fixtureWorkflows() map[string]GoWorkflow {
	fn := func(f func(ctx workflow.Context) (any, error)) GoWorkflow {
		return GoWorkflow{Workflow: workflow.Func(f)}
	}
	static := fn(func(ctx workflow.Context) (any, error) {
		var out map[string]any
		err := ctx.Task("ship", func(t workflow.Task) (any, error) { return map[string]any{"ok": true}, nil }, &out)
		return out, err
	})
	static.ReadableName, static.Description = "Static", "Ships at once."
	sys := static
	sys.System = true
	return map[string]GoWorkflow{
		"static": static,
		"sys":    sys,
		"fail": fn(func(ctx workflow.Context) (any, error) {
			return nil, ctx.Task("boom", func(t workflow.Task) (any, error) {
				t.Heartbeat(map[string]any{"at": t.Attempt()})
				return nil, errors.New("kaboom in /home/me/secret/place.go")
			}, nil, workflow.Retries(1, 0))
		}),
		"tolerant": fn(func(ctx workflow.Context) (any, error) {
			if err := ctx.Task("bad", func(workflow.Task) (any, error) { return nil, errors.New("no") }, nil,
				workflow.ContinueOnFail()); err != nil {
				return nil, err
			}
			return "fine", ctx.Task("good", func(workflow.Task) (any, error) { return 5, nil }, nil)
		}),
		"approve": fn(func(ctx workflow.Context) (any, error) {
			if err := ctx.Task("build", func(workflow.Task) (any, error) { return 1, nil }, nil); err != nil {
				return nil, err
			}
			d, err := ctx.Approval("gate", workflow.Approval{Title: "Ship it?", Summary: "please look"})
			return d, err
		}),
		"signal": fn(func(ctx workflow.Context) (any, error) {
			var in struct{ Corr string }
			if err := ctx.Bind(&in); err != nil {
				return nil, err
			}
			var body any
			err := ctx.Signal("deploy.completed", &body, workflow.SignalID("wait"), workflow.CorrelationID(in.Corr))
			return body, err
		}),
		"sleep": fn(func(ctx workflow.Context) (any, error) {
			return nil, ctx.Sleep("cool", time.Hour)
		}),
		"many": fn(func(ctx workflow.Context) (any, error) {
			return nil, ctx.Loop("lp", 15, func(ctx workflow.Context, i int) (bool, error) {
				return i < 14, ctx.Task("t", func(workflow.Task) (any, error) { return i, nil }, nil)
			})
		}),
		"parent": fn(func(ctx workflow.Context) (any, error) {
			var out any
			err := ctx.Child("sub", "static", map[string]any{}, &out)
			return out, err
		}),
	}
}

// harness is a gateway behind a real server.
type harness struct {
	t       testing.TB
	dir     string
	gateway *Gateway
	server  *httptest.Server
}

func testSettings(t testing.TB, dir string) Settings {
	s := DefaultSettings()
	s.DBPath = filepath.Join(dir, "smithers.db")
	s.TokenStore = filepath.Join(dir, "tokens.json")
	s.Module = ""
	s.GoWorkflows = fixtureWorkflows()
	s.DrainTime = time.Second
	return s
}

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

func writeTokens(t testing.TB, s Settings) {
	require.NoError(t, os.WriteFile(s.TokenStore, []byte(fixtureTokens), 0o600))
}

func testLogger(t testing.TB) *zap.Logger {
	return zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))
}

// start opens a gateway on dir; the test's end closes it.
func start(t testing.TB, dir string, change func(*Settings), site Site) *harness {
	s := testSettings(t, dir)
	writeTokens(t, s)
	if change != nil {
		change(&s)
	}
	h := &harness{t: t, dir: dir, gateway: New(testLogger(t))}
	require.NoError(t, h.gateway.Apply("test", s))
	require.NoError(t, h.gateway.Start(t.Context()))
	h.server = httptest.NewServer(h.gateway.Handler(site))
	t.Cleanup(h.close)
	return h
}

func (h *harness) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(h.t, h.gateway.Close(ctx))
	h.server.Close()
}

// frame is a response frame.
type frame struct {
	Type       string          `json:"type"`
	ID         string          `json:"id"`
	OK         bool            `json:"ok"`
	APIVersion string          `json:"apiVersion"`
	Payload    json.RawMessage `json:"payload"`
	Error      map[string]any  `json:"error"`
}

func (h *harness) do(method, path, token, body string, header ...string) (*http.Response, []byte) {
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.server.URL+path, strings.NewReader(body))
	require.NoError(h.t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := h.server.Client().Do(r)
	require.NoError(h.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(h.t, err)
	return res, b
}

// rpc calls a method and returns status and frame.
func (h *harness) rpc(token, method string, params any) (int, frame) {
	h.t.Helper()
	body, err := json.Marshal(params)
	require.NoError(h.t, err)
	res, b := h.do("POST", "/v1/rpc/"+method, token, string(body))
	var f frame
	require.NoError(h.t, json.Unmarshal(b, &f), string(b))
	require.Equal(h.t, "res", f.Type)
	require.Equal(h.t, "v1", f.APIVersion)
	require.Equal(h.t, "v1", res.Header.Get("X-Smithers-API-Version"))
	require.Equal(h.t, f.OK, res.StatusCode == 200, string(b))
	return res.StatusCode, f
}

// call is rpc with "op" that must succeed.
func (h *harness) call(method string, params, into any) {
	h.t.Helper()
	status, f := h.rpc("op", method, params)
	require.Equal(h.t, 200, status, "%s: %v", method, f.Error)
	if into != nil {
		require.NoError(h.t, json.Unmarshal(f.Payload, into))
	}
}

// refused checks an error answer.
func (h *harness) refused(token, method string, params any, status int, code, message string) map[string]any {
	h.t.Helper()
	got, f := h.rpc(token, method, params)
	require.Equal(h.t, code, f.Error["code"], "%s %v: %v", method, params, f.Error)
	require.Equal(h.t, status, got)
	require.Equal(h.t, message, f.Error["message"])
	require.Equal(h.t, "v1", f.Error["version"])
	return f.Error
}

type obj = map[string]any

func (h *harness) launch(workflow string, input obj) string {
	h.t.Helper()
	var l struct{ RunID string }
	h.call("launchRun", obj{"workflow": workflow, "input": input}, &l)
	return l.RunID
}

// await waits until a run has one of the statuses.
func (h *harness) await(runID string, statuses ...string) obj {
	h.t.Helper()
	var run obj
	require.Eventually(h.t, func() bool {
		run = nil
		h.call("getRun", obj{"runId": runID}, &run)
		for _, s := range statuses {
			if run["status"] == s {
				return true
			}
		}
		return false
	}, time.Minute, 5*time.Millisecond, "run %s: %v", runID, &run)
	return run
}
