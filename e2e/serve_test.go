package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

func TestServeOnTheEnvironmentAlone(t *testing.T) {
	s := newSite(t)
	p := s.start()

	t.Run("no token store: health is open, everything else is denied", func(t *testing.T) {
		for _, token := range []string{"", "smithers_guess"} {
			err := p.as(token).Call(t.Context(), "listRuns", nil, nil)
			require.True(t, client.IsCode(err, "UNAUTHORIZED"), err)
		}
		_, err := p.Dial(t.Context(), client.DialOptions{})
		require.True(t, client.IsCode(err, "UNAUTHORIZED"), err)
	})

	t.Run("every answer names the version of the API", func(t *testing.T) {
		for _, path := range []string{"/health", "/metrics", "/workflows", "/", "/nowhere", "/v1/api/runs", "/v1/rpc/listRuns"} {
			resp, err := p.HTTP.Get(p.Base + path)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			require.Equal(t, "v1", resp.Header.Get("X-Smithers-API-Version"), path)
		}
	})

	token := s.issue(allScopes, "--user-id", "alice")
	q := p.as(token)
	t.Run("a token counts without a restart", func(t *testing.T) {
		q.wait("the new token to count", func() bool { return q.Call(t.Context(), "listRuns", nil, nil) == nil })
		info, err := os.Stat(s.path("tokens.json"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		text, err := os.ReadFile(s.path("tokens.json"))
		require.NoError(t, err)
		require.NotContains(t, string(text), token, "the store holds hashes only")
	})

	t.Run("launch, stream, read the output", func(t *testing.T) {
		id := q.launchRun("quick", map[string]any{})
		q.status(id, "finished")
		require.Equal(t, []string{"node.pending only", "node.started only", "node.finished only", "run.completed"}, names(q.history(id)))
		var out struct {
			Status string
			Row    map[string]any
		}
		require.NoError(t, q.Call(t.Context(), "getNodeOutput", map[string]any{"runId": id, "nodeId": "only", "iteration": 0}, &out))
		require.Equal(t, "produced", out.Status)
		require.Equal(t, map[string]any{"value": 42.0}, out.Row)
	})

	t.Run("a revoked token is refused and its socket is cut", func(t *testing.T) {
		other := s.issue("run:read", "--user-id", "bob")
		bob := p.as(other)
		bob.wait("the token to count", func() bool { return bob.Call(t.Context(), "listRuns", nil, nil) == nil })
		cut, stays := bob.dial(), q.dial()
		_, errOut, code := s.cli("token", "revoke", other)
		require.Zero(t, code, errOut)
		select {
		case <-cut.Done():
			require.Equal(t, 1008, cut.CloseCode(), cut.Err())
		case <-time.After(patience):
			t.Fatal("the socket of a revoked token stays open")
		}
		require.True(t, client.IsCode(bob.Call(t.Context(), "listRuns", nil, nil), "UNAUTHORIZED"))
		require.NoError(t, stays.Call(t.Context(), "health", nil, nil), "the others notice nothing")
	})
}

func TestRefusals(t *testing.T) {
	s := newSite(t)
	p := s.start()
	all := p.as(s.issue(allScopes))
	reader := p.as(s.issue("run:read"))
	expired := p.as(s.issue("run:read", "--ttl", "1ms"))
	all.wait("the tokens to count", func() bool {
		err := expired.Call(t.Context(), "listRuns", nil, nil)
		return all.Call(t.Context(), "listRuns", nil, nil) == nil && reader.Call(t.Context(), "listRuns", nil, nil) == nil &&
			strings.Contains(err.Error(), "expired")
	})

	for _, tc := range []struct {
		name, method string
		as           *process
		params       any
		code         string
		status       int
		message      string
	}{
		{"unknown workflow", "launchRun", all, map[string]any{"workflow": "nope"}, "NOT_FOUND", 404, "nope"},
		{"no workflow", "launchRun", all, map[string]any{}, "INVALID_REQUEST", 400, "workflow is required"},
		{"wrong type", "launchRun", all, map[string]any{"workflow": 7}, "INVALID_REQUEST", 400, "workflow is required"},
		{"unknown method", "flyToTheMoon", all, nil, "METHOD_NOT_FOUND", 404, "flyToTheMoon"},
		{"unknown run", "getRun", all, map[string]any{"runId": "nope"}, "NOT_FOUND", 404, "nope"},
		{"stream over HTTP", "streamRunEvents", all, map[string]any{"runId": "nope"}, "INVALID_REQUEST", 400, "websocket"},
		{"missing scope", "launchRun", reader, map[string]any{"workflow": "quick"}, "FORBIDDEN", 403, "run:write"},
		{"expired token", "listRuns", expired, nil, "UNAUTHORIZED", 401, "expired"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.as.Call(t.Context(), tc.method, tc.params, nil)
			var e *client.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tc.code, e.Code)
			require.Equal(t, tc.status, e.Status)
			require.Contains(t, e.Message, tc.message)
		})
	}

	for _, tc := range []struct {
		name, body string
		code       string
		status     int
	}{
		{"not JSON", `{"workflow":`, "INVALID_INPUT", 400},
		{"not an object", `[1]`, "INVALID_REQUEST", 400},
		{"too deep", strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), "INVALID_INPUT", 400},
		{"too many items", `{"a":[` + strings.Repeat("0,", 256) + `0]}`, "INVALID_INPUT", 400},
		{"too long a text", `{"a":"` + strings.Repeat("x", 16_385) + `"}`, "INVALID_INPUT", 400},
		{"too large", `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, "PayloadTooLarge", 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, frame := all.post(t, "/v1/rpc/launchRun", tc.body)
			require.Equal(t, tc.status, status, frame)
			require.NotNil(t, frame.Error)
			require.Equal(t, tc.code, frame.Error.Code)
		})
	}
	require.NoError(t, all.Call(t.Context(), "listRuns", nil, nil), "nothing was lost")
}

// post sends a body as it is.
func (p *process) post(t *testing.T, path, body string) (int, *client.Frame) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Base+path, bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+p.Token)
	resp, err := p.HTTP.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var frame client.Frame
	require.NoError(t, json.Unmarshal(text, &frame), string(text))
	return resp.StatusCode, &frame
}

func TestRefusesToStart(t *testing.T) {
	for _, tc := range []struct {
		name   string
		env    []string
		module string
		want   []string
	}{
		{"a window that is no number", []string{"SMITHERS_GATEWAY_EVENT_WINDOW=abc"}, "", []string{"SMITHERS_GATEWAY_EVENT_WINDOW", "abc"}},
		{"a negative window", []string{"SMITHERS_GATEWAY_EVENT_WINDOW=-5"}, "", []string{"SMITHERS_GATEWAY_EVENT_WINDOW", "-5"}},
		{"a heartbeat with a unit", []string{"SMITHERS_GATEWAY_HEARTBEAT_MS=15s"}, "", []string{"SMITHERS_GATEWAY_HEARTBEAT_MS", "15s"}},
		{"a port that is none", []string{"PORT=99999"}, "", []string{"PORT", "99999"}},
		{"a database below a file", []string{"SMITHERS_DB_PATH=tokens.json/smithers.db"}, "", []string{"tokens.json/smithers.db"}},
		{"a database in no folder", []string{"SMITHERS_DB_PATH=no/such/folder/smithers.db"}, "", []string{"no/such/folder"}},
		{"a module with a syntax error", nil, "export function register(gateway) {\n  gateway.register('a', async (ctx) => { ;\n}\n", []string{"gateway.mjs:"}},
		{"a module that throws", nil, "// first line\nexport function register(gateway) {\n  throw new Error('no database today');\n}\n", []string{"gateway.mjs:3", "no database today"}},
		{"a module with an import of nowhere", nil, "import x from './nowhere.mjs';\nexport function register(gateway) { x; }\n", []string{"gateway.mjs:1", "nowhere.mjs"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			s.write("tokens.json", `{"version":2,"tokens":{}}`)
			s.env = tc.env
			if tc.module != "" {
				s.write("workspace/gateway.mjs", tc.module)
			}
			p := s.launch()
			require.NotZero(t, p.exits())
			for _, want := range tc.want {
				require.Contains(t, p.log.String(), want)
			}
			require.NotContains(t, p.log.String(), "goroutine ", "an error, not a crash")
		})
	}
}

func TestMissingModuleIsAWarning(t *testing.T) {
	s := newSite(t)
	s.module = s.path("workspace/not-yet.mjs")
	p := s.start()
	require.Contains(t, p.log.String(), "not-yet.mjs")
	status, body, err := p.Get(t.Context(), "/workflows")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"workflows":[]}`, string(body))
}

func TestSecondGatewayOnOneDatabaseIsRefused(t *testing.T) {
	s := newSite(t)
	p := s.start()
	other := *s
	other.port = rig.FreePort(t)
	q := other.launch()
	require.NotZero(t, q.exits())
	require.Contains(t, q.log.String(), "smithers.db")
	require.Contains(t, q.log.String(), strconv.Itoa(p.cmd.Process.Pid), "it names who holds the database")

	p.kill()
	other.start() // the lock went with the process
}

func TestTermEndsInTimeAndTellsTheSockets(t *testing.T) {
	s := newSite(t)
	w := newWorld(t)
	p := s.start().as(s.issue(allScopes))
	p.wait("the token to count", func() bool { return p.Call(t.Context(), "listRuns", nil, nil) == nil })
	id := p.launchRun("gated", map[string]any{"url": w.URL})
	p.status(id, "waiting-approval")
	sockets := make([]*client.Socket, 5)
	for i := range sockets {
		sockets[i] = p.dial()
		_, err := sockets[i].Stream(t.Context(), id, nil)
		require.NoError(t, err)
	}
	took := p.terminate()
	rig.Prompt(t, "the stop", took, 15*time.Second) // the grace period is 10 s
	require.Zero(t, p.cmd.ProcessState.ExitCode())
	for _, socket := range sockets {
		<-socket.Done()
		require.Contains(t, []int{1001, 1012}, socket.CloseCode(), "a code says: come back later")
	}
}

func TestRunawayLoopHurtsOnlyItsRun(t *testing.T) {
	s := newSite(t)
	p := s.start().as(s.issue(allScopes))
	p.wait("the token to count", func() bool { return p.Call(t.Context(), "listRuns", nil, nil) == nil })
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	stuck := p.launchRun("stuck", map[string]any{})
	other := p.launchRun("quick", map[string]any{})
	p.status(other, "finished")
	waitFor(t, "the runaway run to be stopped", func() bool {
		run, err := p.Run(ctx, stuck)
		return err == nil && run.Status == "failed"
	})
	p.status(p.launchRun("quick", map[string]any{}), "finished")
}
