package wsconn

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func TestMessageTooBig(t *testing.T) {
	g := newGateway(t, Options{MaxMessageBytes: 1000, CloseWait: 100 * time.Millisecond}, eventlog.Options{})
	c := g.session("op")
	c.raw(`{"type":"req","id":"x","method":"health","params":{"a":"` + strings.Repeat("x", 800) + `"}}`)
	require.Equal(t, "x", c.read().ID)
	_ = c.ws.WriteMessage(gorilla.TextMessage, []byte(strings.Repeat("x", 1_000_000))) // may be cut short
	code, _ := c.closed()
	require.Equal(t, 1009, code)
	eventually(t, func() bool { return len(g.metrics.closes()) == 1 }, "ended")
	require.Equal(t, []string{ClosedTooBig}, g.metrics.closes())
}

func TestProtocolViolation(t *testing.T) {
	g := newGateway(t, Options{CloseWait: 100 * time.Millisecond}, eventlog.Options{})
	c := g.session("op")
	_, err := c.ws.NetConn().Write([]byte{0x83, 0x80, 0, 0, 0, 0}) // opcode 3 is reserved
	require.NoError(t, err)
	code, _ := c.closed()
	require.Equal(t, 1002, code)
	eventually(t, func() bool { return len(g.metrics.closes()) == 1 }, "ended")
	require.Equal(t, []string{ClosedProtocol}, g.metrics.closes())
}

func TestPingIsAnsweredAndCloseEchoed(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, g.server.URL, nil)
	require.NoError(t, err)
	_, _, err = ws.Read(ctx)
	require.NoError(t, err)
	reading := ws.CloseRead(ctx)
	require.NoError(t, ws.Ping(ctx))
	require.NoError(t, ws.Ping(ctx))
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, "done"), "the close frame is answered")
	<-reading.Done()
	eventually(t, func() bool { return len(g.metrics.closes()) == 1 }, "ended")
	require.Equal(t, []string{ClosedClient}, g.metrics.closes())
}

// Requests of one socket overlap up to the bound; then nothing more is read until an
// answer has left.
func TestRequestsOverlapUpToTheBound(t *testing.T) {
	g := newGateway(t, Options{MaxRequests: 3}, eventlog.Options{})
	var mu sync.Mutex
	active, most := 0, 0
	release := make(chan struct{})
	g.router.on("slow", func(ctx context.Context, _ *rpc.Call) (any, *wire.Error) {
		mu.Lock()
		active++
		most = max(most, active)
		mu.Unlock()
		defer func() { mu.Lock(); active--; mu.Unlock() }()
		select {
		case <-release:
		case <-ctx.Done():
		}
		return "slow", nil
	})
	c := g.session("op")
	c.send("slow", nil)
	require.Equal(t, `{"ok":true}`, string(func() frame { c.send("health", nil); return c.read() }().Payload), "not behind the slow one")
	for range 9 {
		c.send("slow", nil)
	}
	eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return active == 3 }, "full")
	require.LessOrEqual(t, g.reg.Stats().Received, int64(7))
	close(release)
	seen := map[string]bool{}
	for range 10 {
		seen[c.read().ID] = true
	}
	require.Len(t, seen, 10)
	require.Equal(t, 3, most)
}

func TestPipelinedConnectAndRequest(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.journal.emit("a", 2)
	c := g.dial("op")
	c.send("connect", map[string]any{"minProtocol": 1, "maxProtocol": 1, "client": "x"})
	c.send("streamRunEvents", map[string]any{"runId": "a", "afterSeq": 0})
	require.Equal(t, "r1", c.read().ID)
	require.Equal(t, "r2", c.read().ID)
	require.Equal(t, expect("run.event", "a", 1, 2), c.events(2))
}

func TestRequestTimeoutAndDisconnectReachTheHandler(t *testing.T) {
	g := newGateway(t, Options{RequestTimeout: 30 * time.Millisecond}, eventlog.Options{})
	ended := make(chan error, 2)
	g.router.on("wait", func(ctx context.Context, _ *rpc.Call) (any, *wire.Error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, wire.Errorf(wire.CodeRequestTimeout, "late")
	})
	c := g.session("op")
	require.Equal(t, "REQUEST_TIMEOUT", c.call("wait", nil).Error.Code)
	require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	g.reg.Configure(Options{RequestTimeout: time.Hour})
	c.send("wait", nil)
	eventually(t, func() bool { return g.reg.Stats().Received == 3 }, "it waits")
	require.NoError(t, c.ws.Close())
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestRevokedGrantClosesOnRecheckAndOnUse(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	idle, other := g.session("ro"), g.session("op")
	g.auth.revoke("ro")
	g.reg.Recheck()
	code, reason := idle.closed()
	require.Equal(t, 1008, code)
	require.Equal(t, "authentication failed", reason)
	other.quiet()

	g.auth.revoke("op")
	f := other.call("health", nil)
	require.Equal(t, "UNAUTHORIZED", f.Error.Code)
	code, _ = other.closed()
	require.Equal(t, 1008, code)
	eventually(t, func() bool { return len(g.metrics.closes()) == 2 }, "ended")
	require.Equal(t, []string{ClosedRevoked, ClosedRevoked}, g.metrics.closes())
}

func TestExpiryClosesAnIdleSocket(t *testing.T) {
	g := newGateway(t, Options{StreamHeartbeat: 16 * time.Millisecond}, eventlog.Options{})
	g.auth.grant("short", &auth.Principal{Scopes: []string{"*"}, ExpiresAtMs: time.Now().Add(time.Hour).UnixMilli()})
	c := g.session("short")
	c.quiet()
	later := func() time.Time { return time.Now().Add(2 * time.Hour) }
	g.clock.Store(&later)
	code, reason := c.closed()
	require.Equal(t, 1008, code)
	require.Equal(t, "authentication failed", reason)
}

func TestExpiryIsCheckedPerRequest(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.auth.grant("short", &auth.Principal{Scopes: []string{"*"}, ExpiresAtMs: time.Now().Add(time.Hour).UnixMilli()})
	c := g.session("short")
	later := func() time.Time { return time.Now().Add(2 * time.Hour) }
	g.clock.Store(&later)
	f, err := func() (frame, error) { c.send("health", nil); return c.tryRead() }()
	if err == nil { // else the wheel was faster
		require.Equal(t, "Token expired; issue a refreshed token.", f.Error.Message)
	}
	code, _ := c.closed()
	require.Equal(t, 1008, code)
}

// A peer that goes on sending instead of answering the close frame does not put off
// the end: a revoked client could keep its place for ever.
func TestPeerCannotPutOffTheEnd(t *testing.T) {
	g := newGateway(t, Options{CloseWait: 100 * time.Millisecond}, eventlog.Options{})
	c := g.session("op")
	g.auth.revoke("op")
	g.reg.Recheck()
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = c.ws.WriteControl(gorilla.PingMessage, nil, time.Now().Add(time.Second)) // fails when it is cut
				_ = c.ws.WriteMessage(gorilla.TextMessage, []byte(`{"type":"req","id":"x","method":"health"}`))
			case <-stop:
				return
			}
		}
	})
	defer sending.Wait()
	defer close(stop)
	require.Eventually(t, func() bool { return len(g.metrics.closes()) == 1 }, time.Minute, time.Millisecond)
	require.Equal(t, []string{ClosedRevoked}, g.metrics.closes())
}

// A reader that accepts nothing is reset after the write timeout, and only it.
func TestSlowReaderIsReset(t *testing.T) {
	g := newGateway(t, Options{WriteTimeout: time.Second}, eventlog.Options{})
	slow, ok := g.session("op"), g.session("op")
	if tcp, isTCP := slow.ws.NetConn().(*net.TCPConn); isTCP {
		require.NoError(t, tcp.SetReadBuffer(4<<10))
	}
	g.journal.emitSized("a", 400, 100<<10, true)
	slow.send("streamRunEvents", map[string]any{"runId": "a", "afterSeq": 0})
	eventually(t, func() bool { return len(g.metrics.closes()) == 1 }, "reset")
	require.Equal(t, []string{ClosedSlow}, g.metrics.closes())
	ok.quiet()
	code, _ := slow.closed()
	require.Equal(t, gorilla.CloseAbnormalClosure, code)
}

func TestDrainClosesEverySocketWithTheCode(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	var clients []*client
	for i := range 20 {
		if i%4 == 0 {
			clients = append(clients, g.dial(""))
		} else {
			clients = append(clients, g.session("op"))
		}
	}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			code, reason := c.closed()
			require.Equal(t, 1012, code)
			require.Equal(t, "gateway restarting", reason)
		})
	}
	g.reg.Drain(context.Background(), wire.CloseRestart, wire.ReasonRestarted) // at once; in fake time, over some time
	wg.Wait()
	require.Zero(t, g.reg.Stats().Connections)
	code, body := g.refused(nil)
	require.Equal(t, 503, code)
	require.Contains(t, body, "shutting down")
}

func TestCloseCutsEverything(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.journal.emit("a", 1)
	c := g.session("op")
	c.stream("a", -1)
	g.reg.Close()
	g.reg.Close()
	code, _ := c.closed()
	require.Equal(t, gorilla.CloseAbnormalClosure, code)
}

func TestClosedEventLogEndsSockets(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	c := g.session("op")
	g.log.Close()
	code, _ := c.closed()
	require.Equal(t, 1012, code)
}

func TestTicks(t *testing.T) {
	g := newGateway(t, Options{Heartbeat: 20 * time.Millisecond}, eventlog.Options{})
	c := g.session("op")
	c.beats = true
	for range 3 {
		f := c.read()
		require.Equal(t, wire.EventTick, f.Event)
		require.NotZero(t, f.body(t).TS)
	}
}

// A failed flush poisons the connection: nothing is written behind a hole.
func TestFailedFlushPoisons(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	nc := &coalescer{Conn: a, timeout: func() time.Duration { return 20 * time.Millisecond }}
	_, err := nc.Write([]byte("first"))
	require.NoError(t, err)
	require.ErrorIs(t, nc.Flush(), errSlowReader)
	_, err = nc.Write([]byte("second"))
	require.ErrorIs(t, err, errSlowReader)
	require.ErrorIs(t, nc.Flush(), errSlowReader)
	require.NoError(t, nc.SetWriteDeadline(time.Time{}))
	nc.drop()
}

// A reader that takes its time over many small reads gets all, over real TCP. When it is
// cut is held in fake time by TestWriteTimeoutCountsFromTheLastByte.
func TestSlowButSteadyReaderIsKept(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer peer.Close()
	require.NoError(t, peer.(*net.TCPConn).SetReadBuffer(8<<10))
	conn, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).SetWriteBuffer(8<<10))
	nc := &coalescer{Conn: conn, timeout: func() time.Duration { return time.Minute }}
	data := make([]byte, 300<<10)
	_, _ = nc.Write(data)
	done := make(chan error, 1)
	go func() { done <- nc.Flush() }()
	buf, got := make([]byte, 4<<10), 0
	for got < len(data) {
		require.NoError(t, peer.SetReadDeadline(time.Now().Add(time.Minute)))
		n, err := peer.Read(buf)
		require.NoError(t, err)
		got += n
	}
	require.NoError(t, <-done)
	nc.reset()
}

func TestManySockets(t *testing.T) {
	sockets := 1000
	if testing.Short() {
		sockets = 100
	}
	const events = 40
	g := newGateway(t, Options{MaxPreAuthPerAddr: sockets, MaxPreAuth: sockets}, eventlog.Options{})
	g.journal.emit("a", 10)
	clients := make([]*client, sockets)
	for i := range clients {
		clients[i] = g.session("op", "a")
		clients[i].stream("a", 0)
	}
	require.Equal(t, sockets, g.reg.Stats().Streams)
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for i := int64(1); i <= 10+events; i++ {
				require.Equal(t, i, c.read().body(t).Seq, fmt.Sprint(i))
			}
		})
	}
	for range events {
		g.journal.emit("a", 1)
	}
	wg.Wait()
}
