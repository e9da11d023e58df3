package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

func event(seq int64, name, payload string) client.Item {
	return client.Item{Event: &client.RunEvent{Seq: seq, Event: name, Payload: json.RawMessage(payload)}}
}

func TestHistoryRefusesWhatIsNotWhole(t *testing.T) {
	for _, tc := range []struct {
		name string
		then client.Item
		want string
	}{
		{"missing", event(3, "node.started", `{}`), "#3 came after #1"},
		{"repeated", event(1, "node.pending", `{}`), "#1 came after #1"},
		{"gap", client.Item{Gap: &client.Gap{FromSeq: 2, ToSeq: 4}}, "gap from #2 to #4"},
		{"stream lost", client.Item{Error: &client.Error{Code: "BackpressureDisconnect", Message: "too slow"}}, "too slow"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &history{}
			require.True(t, h.take(event(1, "node.pending", `{}`)))
			require.False(t, h.take(tc.then))
			require.ErrorContains(t, h.problem, tc.want)
		})
	}
}

func TestHistoryCompares(t *testing.T) {
	one, two := &history{}, &history{}
	require.Error(t, one.same(two), "an empty history proves nothing")
	require.True(t, one.take(event(1, "node.pending", `{"nodeId":"a"}`)))
	require.ErrorContains(t, one.same(two), "1 events here, 0 in the history")
	require.True(t, two.take(event(1, "node.pending", `{"nodeId":"b"}`)))
	require.ErrorContains(t, one.same(two), "#1")
	require.NoError(t, one.same(one))
}

func TestHistoryFindsGateAndNodes(t *testing.T) {
	h := &history{}
	require.Nil(t, h.gate())
	h.take(event(1, "node.finished", `{"nodeId":"poll","iteration":2}`))
	h.take(event(2, "approval.requested", `{"nodeId":"gate","iteration":0}`))
	h.take(event(3, "node.waiting_approval", `{"nodeId":"gate"}`))
	require.Equal(t, &gate{NodeID: "gate"}, h.gate())
	require.Equal(t, []gate{{NodeID: "poll", Iteration: 2}}, h.finished())
}

func TestEventLine(t *testing.T) {
	c := &console{}
	line := func(name, payload string, missed bool) string {
		return eventLine(c, event(7, name, payload).Event, missed)
	}
	require.Equal(t, "    #7   node.started           plan", line("node.started", `{"nodeId":"plan","attempt":1}`, false))
	require.Equal(t, "  ↺ #7   node.retrying          plan         attempt 2", line("node.retrying", `{"nodeId":"plan","attempt":2}`, true))
	require.Equal(t, "    #7   run.completed          finished", line("run.completed", `{"status":"finished"}`, false))
	require.Contains(t, line("node.failed", `{"nodeId":"a","error":{"message":"no\nroute"}}`, false), "no route")
	require.Contains(t, line("approval.decided", `{"nodeId":"a","approved":false}`, false), "denied")

	c.colour = true
	require.Contains(t, line("node.finished", `{}`, false), "\x1b[32m")
}

func TestClip(t *testing.T) {
	require.Equal(t, "äbc", clip("äbc", 3))
	require.Equal(t, "äb…", clip("äbcd", 3))
}

func TestFreePortSkipsTaken(t *testing.T) {
	p, err := freePort(defaultPort)
	require.NoError(t, err)
	require.GreaterOrEqual(t, p, defaultPort)
	_, err = freePort(1 << 16)
	require.Error(t, err)
}

func TestServerThatEndsBeforeItIsReady(t *testing.T) {
	s, err := startServer(serverOptions{binary: "go", args: []string{"version"}, port: 1, out: io.Discard})
	require.NoError(t, err)
	require.ErrorContains(t, s.ready(t.Context()), "ended before it was ready")
	require.NoError(t, s.stop())

	_, err = startServer(serverOptions{binary: "no-such-gateway", port: 1, out: io.Discard})
	require.ErrorIs(t, err, exec.ErrNotFound)
}

// The whole performance, with the module it is made for.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the binary")
	}
	documented := goRun(t, docs.Tested(t, "README.md").Next().Text, "demo")
	require.Equal(t, [][]string{{}}, documented, "without options")
	ctx := t.Context()
	c, out, errOut := testConsole()

	story := []string{"connection cut after #", "Reconnecting with afterSeq", "↺", "Approving", "Nothing is missing", "Result: finished"}
	farewell := []string{"  URL ", "  token ", "/health\n", "/v1/rpc/listRuns ", "/v1/rpc/launchRun ", "Serving until Ctrl-C", "Stopping."}
	t.Run("as documented, until Ctrl-C", func(t *testing.T) {
		ctx, interrupt := context.WithCancel(ctx)
		defer interrupt()
		c.out = io.MultiWriter(out, writerFunc(func(line []byte) {
			if bytes.Contains(line, []byte("Serving until Ctrl-C")) {
				interrupt()
			}
		}))
		require.Equal(t, exitOK, dispatch(ctx, c, append([]string{"demo"}, documented[0]...)), errOut)
		for _, want := range append(story, farewell...) {
			require.Contains(t, out.String(), want)
		}
	})
	t.Run("with --exit", func(t *testing.T) {
		out.Reset()
		c.out = out
		require.Equal(t, exitOK, dispatch(ctx, c, []string{"demo", "--no-build", "--exit"}), errOut)
		for _, want := range story {
			require.Contains(t, out.String(), want)
		}
		require.NotContains(t, out.String(), farewell[0])
		require.NotContains(t, out.String(), "\x1b", "colours are for terminals")
	})
}

// writerFunc looks at everything that is written.
type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
