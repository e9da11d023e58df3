package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// operatorsGateway is a gateway with runs for operators to look at.
func operatorsGateway(t *testing.T) *httptest.Server {
	dir := t.TempDir()
	s := gateway.DefaultSettings()
	s.DBPath, s.TokenStore, s.Module = filepath.Join(dir, "runs.db"), filepath.Join(dir, "tokens.json"), ""
	s.GoWorkflows = map[string]gateway.GoWorkflow{
		"ship": {Workflow: workflow.Func(func(ctx workflow.Context) (any, error) {
			err := ctx.Task("build", func(t workflow.Task) (any, error) { t.Log("compiling"); return 1, nil }, nil, workflow.Label("Build it"))
			return map[string]bool{"shipped": true}, err
		})},
		"gated": {Workflow: workflow.Func(func(ctx workflow.Context) (any, error) {
			_, err := ctx.Approval("gate", workflow.Approval{Title: "Ship it?"})
			return nil, err
		})},
		"broken": {Workflow: workflow.Func(func(ctx workflow.Context) (any, error) {
			return nil, ctx.Task("boom", func(workflow.Task) (any, error) { return nil, errors.New("kaboom") }, nil)
		})},
		"chain": {Workflow: workflow.Func(func(ctx workflow.Context) (any, error) {
			var in struct{ Next bool }
			if err := ctx.Bind(&in); err != nil {
				return nil, err
			}
			if err := ctx.Task("t", func(workflow.Task) (any, error) { return 1, nil }, nil); err != nil || in.Next {
				return nil, err
			}
			return nil, workflow.ContinueAsNew(map[string]any{"next": true})
		})},
	}
	require.NoError(t, os.WriteFile(s.TokenStore, []byte(`{"version":2,"tokens":{"operator":{"role":"operator","scopes":["*"],"userId":"alice"},
		"reader":{"role":"operator","scopes":["run:read"]}}}`), 0o600))
	g := gateway.New(nil)
	require.NoError(t, g.Apply("test", s))
	require.NoError(t, g.Start(t.Context()))
	server := httptest.NewServer(g.Handler(gateway.Site{Prefix: "/gw"}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, g.Close(ctx))
		server.Close()
	})
	return server
}

// TestRunScripts drives a gateway as an operator at a terminal does.
func TestRunScripts(t *testing.T) {
	server := operatorsGateway(t)
	c := &client.Client{Base: server.URL + "/gw", Token: "operator"}
	for id, workflow := range map[string]string{"ship-1": "ship", "gated-1": "gated", "gated-2": "gated", "broken-1": "broken", "chain-1": "chain"} {
		require.NoError(t, c.Call(t.Context(), "launchRun", map[string]any{"workflow": workflow, "runId": id}, nil))
	}
	for id, status := range map[string]string{"ship-1": "finished", "gated-1": "waiting-approval", "gated-2": "waiting-approval",
		"broken-1": "failed", "chain-1": "continued"} {
		require.Eventually(t, func() bool {
			run, err := c.Run(t.Context(), id)
			return err == nil && run.Status == status
		}, time.Minute, 10*time.Millisecond, id)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/runs",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("SMITHERS_GATEWAY_URL", c.Base)
			env.Setenv("SMITHERS_API_KEY", c.Token)
			return nil
		},
	})
}

// TestWatchGoesOn cuts, refuses and delays a watcher: every event is shown once.
func TestWatchGoesOn(t *testing.T) {
	event := func(seq int, name string) string {
		return fmt.Sprintf("id: %d\nevent: run.event\ndata: {\"streamId\":\"s\",\"runId\":\"r\",\"event\":%q,\"payload\":{\"runId\":\"r\",\"nodeId\":\"n\"},\"seq\":%d}\n\n", seq, name, seq)
	}
	var asked []string
	answers := []func(w http.ResponseWriter){
		func(w http.ResponseWriter) {
			fmt.Fprint(w, "retry: 5\n\n", event(1, "node.pending"), event(2, "node.started"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		func(w http.ResponseWriter) {
			fmt.Fprint(w, event(2, "node.started"), "event: run.heartbeat\ndata: {}\n\n",
				"event: run.gap_resync\ndata: {\"runId\":\"r\",\"fromSeq\":3,\"toSeq\":4}\n\n", event(5, "run.completed"))
		},
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		answer := answers[0]
		answers = answers[1:]
		answer(w)
	}))
	defer server.Close()
	var out, notes bytes.Buffer
	w := &watcher{gw: &apiClient{client.Client{Base: server.URL, HTTP: server.Client()}}, run: "r", out: &out, notes: &notes}
	require.NoError(t, w.follow(t.Context()))
	require.Equal(t, []string{"afterSeq=0", "afterSeq=2", "afterSeq=2", "afterSeq=5"}, asked)
	require.Equal(t, "     1  node.pending            n\n     2  node.started            n\n     5  run.completed           n\n", out.String())
	require.Equal(t, 1, strings.Count(notes.String(), "connection lost"))
	require.Contains(t, notes.String(), "events 3 to 4 are no longer kept")
}

func TestReadEvents(t *testing.T) {
	var got []serverEvent
	require.NoError(t, readEvents(strings.NewReader("retry: 7\n\nevent: a\ndata: 1\ndata: 2\n\n: comment\n\nevent:b\ndata:x\n\nevent: cut"),
		func(e serverEvent) error { got = append(got, e); return nil }))
	require.Equal(t, []serverEvent{{retry: 7 * time.Millisecond}, {name: "a", data: []byte("1\n2")}, {name: "b", data: []byte("x")}}, got)
}
