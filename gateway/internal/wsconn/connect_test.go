package wsconn

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func TestConnectChecksInOrder(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	c := g.dial("")
	require.Equal(t, frameError{Version: "v1", Code: "UNAUTHORIZED", Message: "Connect first"}, *c.call("health", nil).Error)
	for _, tc := range []struct {
		params        any
		code, message string
	}{
		{"x", "INVALID_REQUEST", "Connect params must be an object"},
		{nil, "INVALID_REQUEST", "Connect params must be an object"},
		{map[string]any{}, "INVALID_REQUEST", "Connect request is missing protocol negotiation fields"},
		{map[string]any{"minProtocol": "1", "maxProtocol": 1, "client": map[string]any{}}, "INVALID_REQUEST",
			"Connect request is missing protocol negotiation fields"},
		{map[string]any{"minProtocol": 0, "maxProtocol": 1, "client": "x"}, "INVALID_INPUT",
			"minProtocol must be a finite number greater than 0."},
		{map[string]any{"minProtocol": 1.5, "maxProtocol": 2, "client": "x"}, "INVALID_INPUT",
			"minProtocol must be an integer greater than 0."},
		{map[string]any{"minProtocol": 2, "maxProtocol": 3, "client": "x"}, "PROTOCOL_UNSUPPORTED",
			"Gateway protocol 1 is not supported by the client"},
	} {
		f := c.call("connect", tc.params)
		require.Equal(t, frameError{Version: "v1", Code: tc.code, Message: tc.message}, *f.Error)
	}
	f := c.connect("op", nil)
	var hello wire.Hello
	require.NoError(t, json.Unmarshal(f.Payload, &hello))
	require.Equal(t, 1, hello.Protocol)
	require.Equal(t, []string{"streaming", "runs"}, hello.Features)
	require.EqualValues(t, 15_000, hello.Policy.HeartbeatMs)
	require.Equal(t, "alice", *hello.Auth.UserID)
	require.Equal(t, []string{"*"}, hello.Auth.Scopes)
	require.JSONEq(t, `{"runs":[],"approvals":[],"stateVersion":0}`, string(hello.Snapshot))
	require.Equal(t, Stats{Connections: 1}, Stats{Connections: g.reg.Stats().Connections, PreAuth: g.reg.Stats().PreAuth})
}

func TestFailedFirstAuthCloses(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	c := g.dial("")
	f := c.call("connect", map[string]any{"minProtocol": 1, "maxProtocol": 1, "client": "x", "auth": map[string]any{"token": "bad"}})
	require.Equal(t, "Invalid token", f.Error.Message)
	require.Equal(t, "smithers token issue", f.Error.Refresh)
	code, reason := c.closed()
	require.Equal(t, 1008, code)
	require.Equal(t, "authentication failed", reason)
	eventually(t, func() bool { return len(g.metrics.closes()) == 1 }, "ended")
	require.Equal(t, []string{ClosedAuthFailed}, g.metrics.closes())
}

func TestUpgradeHeadersAreTheFallback(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	c := g.dial("ro")
	f := c.call("connect", map[string]any{"minProtocol": 1, "maxProtocol": 1, "client": "x"})
	require.True(t, f.OK)
	require.Contains(t, string(f.Payload), `"tokenId":"t2"`)
}

func TestRepeatedConnect(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.journal.create("a", "b")
	c := g.session("op", "a")
	c.stream("a", -1)
	f := c.call("connect", map[string]any{"minProtocol": 1, "maxProtocol": 1, "client": "x", "auth": map[string]any{"token": "bad"}})
	require.Equal(t, "UNAUTHORIZED", f.Error.Code)
	g.journal.emit("b", 1)
	g.journal.emit("a", 1)
	require.Equal(t, expect("run.event", "a", 1, 1), c.events(1), "a failing repeat changes nothing")

	seq := c.seq
	c.connect("ro", []string{"b"})
	g.journal.emit("a", 1)
	g.journal.emit("b", 1)
	got := c.events(2)
	require.ElementsMatch(t, append(expect("run.event", "a", 2, 2), expect("task.output", "b", 2, 2)...), got)
	require.Equal(t, seq+2, c.seq, "the frame number goes on")

	// A grant that may not read ends the streams of the socket.
	c.connect("appr", nil)
	ended := c.read()
	require.Equal(t, wire.EventRunError, ended.Event)
	require.Equal(t, "FORBIDDEN", ended.body(t).Error.Code)
	g.journal.emit("a", 1)
	require.Equal(t, "FORBIDDEN", c.call("health", nil).Error.Code)
}

// A stream that was allowed before a connect with less rights, and opened after it,
// ends like those that were open.
func TestStreamOpenedAcrossConnect(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.journal.create("a")
	begun, open := make(chan struct{}), make(chan struct{})
	g.router.on("streamRunEvents", func(ctx context.Context, c *rpc.Call) (any, *wire.Error) {
		close(begun)
		<-open
		return streamRunEvents(ctx, c)
	})
	c := g.session("op")
	id := c.send("streamRunEvents", map[string]any{"runId": "a"})
	<-begun
	c.connect("appr", nil)
	close(open)
	c.beats = true // not a heartbeat either
	f := c.read()
	require.Equal(t, id, f.ID)
	ended := c.read()
	require.Equal(t, wire.EventRunError, ended.Event)
	require.Equal(t, "FORBIDDEN", ended.body(t).Error.Code)
	g.journal.emit("a", 1)
	require.Equal(t, "FORBIDDEN", c.call("health", nil).Error.Code)
	require.Zero(t, g.reg.Stats().Streams)
}

func TestNoRunReadNoEvents(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	c := g.session("appr")
	g.journal.emit("a", 3)
	require.Equal(t, "FORBIDDEN", c.call("health", nil).Error.Code)
}

func TestHelloFailureLeavesTheSocketOpen(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	boom := errors.New("disk")
	g.router.helloErr.Store(&boom)
	c := g.dial("")
	p := map[string]any{"minProtocol": 1, "maxProtocol": 1, "client": "x", "auth": map[string]any{"token": "op"}}
	require.Equal(t, "STORAGE_UNAVAILABLE", c.call("connect", p).Error.Code)
	require.Equal(t, "Connect first", c.call("health", nil).Error.Message)
	g.router.helloErr.Store(nil)
	require.True(t, c.call("connect", p).OK)
	c.quiet()
}

// Events committed while the hello is being built come after it, none is lost.
func TestEventsDuringHelloComeAfterIt(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	emit := func() { g.journal.emit("a", 2) }
	g.router.hello.Store(&emit)
	c := g.session("op")
	require.Equal(t, expect("task.output", "a", 1, 2), c.events(2))
}

func TestAuthDeadlineDestroys(t *testing.T) {
	g := newGateway(t, Options{AuthDeadline: 40 * time.Millisecond}, eventlog.Options{})
	c := g.dial("")
	c.send("health", nil)
	code, _ := c.closed()
	require.Equal(t, websocket.CloseAbnormalClosure, code)
	eventually(t, func() bool { return len(g.metrics.closes()) == 1 }, "ended")
	require.Equal(t, []string{ClosedAuthDeadline}, g.metrics.closes())
}

func TestFrameErrorsKeepTheSocketAndEchoTheID(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	for _, c := range []*client{g.dial(""), g.session("op")} {
		for _, tc := range []struct{ send, id, message string }{
			{`nope`, "invalid", "Gateway RPC payload must be valid JSON."},
			{`[]`, "invalid", "Gateway frame must be a request object."},
			{`{"type":"req","id":7,"method":"health"}`, "invalid", "Gateway frame id must be a string."},
			{`{"type":"req","id":"mine","method":7}`, "mine", "Gateway method name must be a string."},
			{`{"type":"req","id":"mine","method":"Bad Name"}`, "mine", "Gateway method name is invalid."},
			{`{"type":"req","id":"many","method":"health","params":[` + strings.Repeat("1,", 256) + `1]}`, "many",
				"gateway frame contains an array exceeding 256 items."},
			{`{"type":"req","id":"deep","method":"health","params":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40) + `}`,
				"deep", "gateway frame exceeds the maximum JSON depth of 32."},
		} {
			c.raw(tc.send)
			f := c.read()
			require.Equal(t, tc.id, f.ID, "%s", tc.send)
			require.Equal(t, frameError{Version: "v1", Code: "INVALID_INPUT", Message: tc.message}, *f.Error)
		}
	}
}

func TestBinaryMessagesCount(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	c := g.session("op")
	require.NoError(t, c.ws.WriteMessage(websocket.BinaryMessage, []byte(`{"type":"req","id":"b","method":"health"}`)))
	require.Equal(t, "b", c.read().ID)
}
