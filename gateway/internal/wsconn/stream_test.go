package wsconn

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func TestStreamReplayThenLive(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.journal.emit("a", 300)
	c := g.session("op")
	o := c.stream("a", 100)
	require.EqualValues(t, 300, o.CurrentSeq)
	require.EqualValues(t, 100, *o.AfterSeq)
	require.Equal(t, expect("run.event", "a", 101, 300), c.events(200))
	g.journal.emit("a", 2)
	f := c.read()
	require.Equal(t, wire.EventRun, f.Event)
	e := f.body(t)
	require.Equal(t, runEvent{StreamID: o.StreamID, Type: "RunEvent", RunID: "a", Event: wire.EventTaskOutput,
		Payload: e.Payload, Seq: 301, StateVersion: 301}, e)
	require.JSONEq(t, `{"runId":"a","n":301,"pad":""}`, string(e.Payload))
	require.Equal(t, expect("run.event", "a", 302, 302), c.events(1))
}

func TestStreamLiveOnly(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.journal.emit("a", 5)
	c := g.session("op")
	o := c.stream("a", -1)
	require.Nil(t, o.AfterSeq)
	require.EqualValues(t, 5, o.CurrentSeq)
	g.journal.emit("a", 1)
	require.Equal(t, expect("run.event", "a", 6, 6), c.events(1))
}

func TestStreamGapAfterResponse(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{Window: 10})
	g.journal.emit("a", 25)
	c := g.session("op")
	o := c.stream("a", 3) // checks that the response is the next frame
	gap := c.read()
	require.Equal(t, wire.EventRunGapResync, gap.Event)
	b := gap.body(t)
	require.Equal(t, "GapResync", b.Type)
	require.Equal(t, o.StreamID, b.StreamID)
	require.Equal(t, []int64{4, 15}, []int64{b.FromSeq, b.ToSeq})
	require.JSONEq(t, `{"runId":"a","status":"running"}`, string(b.Snapshot))
	require.Equal(t, expect("run.event", "a", 16, 25), c.events(10))
}

func TestStreamRefusals(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.journal.emit("a", 3)
	c := g.session("op")
	f := c.call("streamRunEvents", map[string]any{"runId": "x"})
	require.Equal(t, frameError{Version: "v1", Code: "RunNotFound", Message: "Run not found: x"}, *f.Error)
	f = c.call("streamRunEvents", map[string]any{"runId": "a", "afterSeq": 999})
	require.Equal(t, frameError{Version: "v1", Code: "SeqOutOfRange", Message: "afterSeq 999 is newer than current seq 3"}, *f.Error)
	require.Zero(t, g.reg.Stats().Streams)
}

func TestStreamCaps(t *testing.T) {
	for scope, o := range map[string]Options{
		"global": {StreamsTotal: 2}, "user": {StreamsPerUser: 2}, "connection": {StreamsPerConn: 2}, "run": {StreamsPerRun: 2},
	} {
		t.Run(scope, func(t *testing.T) {
			g := newGateway(t, o, eventlog.Options{})
			g.journal.create("a")
			c := g.session("op")
			c.stream("a", 0)
			c.stream("a", 0)
			f := c.call("streamRunEvents", map[string]any{"runId": "a"})
			require.Equal(t, frameError{Version: "v1", Code: "RateLimited", Scope: scope, Limit: 2,
				Message: "Gateway run-event subscriber limit reached (" + scope + " cap of 2)."}, *f.Error)
			require.Equal(t, 2, g.reg.Stats().Streams)
			require.NoError(t, c.ws.Close())
			eventually(t, func() bool { return g.reg.Stats().Streams == 0 }, "the places are free again")
			g.session("op").stream("a", 0)
		})
	}
}

func TestTwoStreamsOfOneRun(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.journal.create("a")
	c := g.session("op")
	one, two := c.stream("a", 0), c.stream("a", 0)
	g.journal.emit("a", 2)
	got := map[string][]int64{}
	for range 4 {
		b := c.read().body(t)
		got[b.StreamID] = append(got[b.StreamID], b.Seq)
	}
	require.Equal(t, map[string][]int64{one.StreamID: {1, 2}, two.StreamID: {1, 2}}, got)
	c.quiet()
}

// Plain events of a run come up to where its stream begins and not after; other
// runs are not touched.
func TestStreamTakesOverFromPlain(t *testing.T) {
	for _, subscribe := range [][]string{nil, {}, {"a", "b"}} {
		g := newGateway(t, Options{}, eventlog.Options{})
		c := g.session("op", subscribe...)
		if subscribe != nil && len(subscribe) == 0 {
			c.connect("op", []string{})
		}
		g.journal.emit("a", 2)
		require.Equal(t, expect("task.output", "a", 1, 2), c.events(2))
		require.EqualValues(t, 2, c.stream("a", -1).CurrentSeq)
		for i := int64(3); i < 6; i++ {
			g.journal.emit("a", 1)
			require.Equal(t, expect("run.event", "a", i, i), c.events(1))
		}
		g.journal.emit("b", 1)
		require.Equal(t, expect("task.output", "b", 1, 1), c.events(1))
		c.quiet()
	}
}

func TestFilter(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	all, empty, one := g.session("op"), g.dial(""), g.session("op", "a")
	empty.connect("op", []string{})
	g.journal.emit("a", 1)
	g.journal.emit("b", 1)
	want := append(expect("task.output", "a", 1, 1), expect("task.output", "b", 1, 1)...)
	require.Equal(t, want, all.events(2))
	require.Equal(t, want, empty.events(2), "an empty filter means everything (Q9)")
	require.Equal(t, want[:1], one.events(1))

	// An explicit stream bypasses the filter (Q8).
	one.stream("b", 0)
	require.Equal(t, expect("run.event", "b", 1, 1), one.events(1))
	g.journal.emit("b", 1)
	require.Equal(t, expect("run.event", "b", 2, 2), one.events(1))
}

// Launching widens a filter and never makes one (Q8); the response comes first, and
// the events of the run that were committed before it are not lost.
func TestLaunchSubscribes(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.router.on("launchRun", func(_ context.Context, c *rpc.Call) (any, *wire.Error) {
		var p struct{ RunID string }
		_ = json.Unmarshal(c.Params, &p)
		g.journal.emit(p.RunID, 2) // the run is off before the answer is
		c.Conn.Subscribe(p.RunID)
		return map[string]any{"runId": p.RunID}, nil
	})
	c := g.session("op", "other")
	require.True(t, c.call("launchRun", map[string]any{"runId": "new"}).OK)
	require.Equal(t, expect("task.output", "new", 1, 2), c.events(2))
	g.journal.emit("strange", 1)
	g.journal.emit("other", 1)
	require.Equal(t, expect("task.output", "other", 1, 1), c.events(1))

	open := g.session("op")
	require.True(t, open.call("launchRun", map[string]any{"runId": "next"}).OK)
	require.Equal(t, expect("task.output", "next", 1, 2), open.events(2))
	g.journal.emit("strange", 1)
	require.Equal(t, expect("task.output", "strange", 2, 2), open.events(1), "still unfiltered")
}

// However often a socket signals a run, the run is in its filter once.
func TestFilterHoldsEachRunOnce(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.router.on("submitSignal", func(_ context.Context, c *rpc.Call) (any, *wire.Error) {
		c.Conn.Subscribe("r")
		return true, nil
	})
	c := g.session("op", "other")
	for range 5 {
		require.True(t, c.call("submitSignal", nil).OK)
	}
	g.journal.emit("r", 1)
	require.Equal(t, expect("task.output", "r", 1, 1), c.events(1))
	inside := g.reg.all()[0]
	require.NoError(t, c.ws.Close())
	<-inside.ended
	require.Len(t, inside.w.filter, 2)
}

func TestFailedLaunchSubscribesNothing(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.router.on("launchRun", func(ctx context.Context, c *rpc.Call) (any, *wire.Error) {
		c.Conn.Subscribe("x")
		g.journal.create("x")
		_, failure := c.Conn.OpenRunStream(ctx, "x", nil)
		require.Nil(t, failure)
		return nil, wire.Errorf(wire.CodeConflict, "no")
	})
	c := g.session("op", "other")
	require.Equal(t, "CONFLICT", c.call("launchRun", nil).Error.Code)
	g.journal.emit("x", 1)
	g.journal.emit("other", 1)
	require.Equal(t, expect("task.output", "other", 1, 1), c.events(1))
	require.Zero(t, g.reg.Stats().Streams)
}

func TestSystemRunsOnlyOnStreams(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	c := g.session("op")
	g.journal.emitSized("sys", 1, 0, true)
	c.stream("sys", 0)
	require.Equal(t, expect("run.event", "sys", 1, 1), c.events(1))
	g.journal.emitSized("sys", 1, 0, true)
	require.Equal(t, expect("run.event", "sys", 2, 2), c.events(1))
}

func TestStreamEndsOnStorageError(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.journal.create("a")
	big := g.journal
	big.log = eventlog.New(&journal{runs: nil}, eventlog.Options{}) // commit without publishing
	big.emit("a", 5000)                                             // more than is read ahead
	big.log.Close()
	big.log = g.log
	c := g.session("op")
	g.router.on("streamRunEvents", func(ctx context.Context, call *rpc.Call) (any, *wire.Error) {
		v, failure := streamRunEvents(ctx, call)
		g.journal.mu.Lock()
		g.journal.err = errors.New("disk")
		g.journal.mu.Unlock()
		return v, failure
	})
	c.stream("a", 0)
	var f frame
	for f = c.read(); f.Event == wire.EventRun; f = c.read() {
	}
	require.Equal(t, wire.EventRunError, f.Event)
	require.Equal(t, "Internal", f.body(t).Error.Code)
	require.NotContains(t, f.body(t).Error.Message, "disk")
	g.journal.mu.Lock()
	g.journal.err = nil
	g.journal.mu.Unlock()
	c.quiet()
}

// stall makes the writer of a socket block until the peer reads: nothing is sent
// from now on although the log moves.
func stall(g *testGateway, c *client) {
	server, client := g.reg.all()[0].nc.Conn.(*net.TCPConn), c.ws.NetConn().(*net.TCPConn)
	require.NoError(g.t, server.SetWriteBuffer(64<<10)) // less than the filler, whatever the machine allows
	require.NoError(g.t, client.SetReadBuffer(64<<10))
	g.journal.emitSized("stall", 400, 100<<10, true)
	c.send("streamRunEvents", map[string]any{"runId": "stall", "afterSeq": 0})
	eventually(g.t, func() bool { return g.reg.Stats().Streams > 0 }, "stream of the filler")
	last, still := int64(0), 0
	eventually(g.t, func() bool { // no progress any more, and not because the writer has no processor
		time.Sleep(10 * time.Millisecond)
		if now := g.reg.Stats().Bytes; now != last || now == 0 || !flushWaits() {
			last, still = now, 0
		}
		still++
		return still > 15
	}, "the socket is full")
}

// flushWaits reports whether a writer waits for room in its socket.
func flushWaits() bool {
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if head, _, _ := strings.Cut(stack, "\n"); strings.Contains(head, "[IO wait") && strings.Contains(stack, "(*coalescer).Flush(") {
			return true
		}
	}
	return false
}

// A stream that lags gets run.error; its run is not delivered in any form until it
// is subscribed again, and then the gap is exact (Q37).
func TestLaggingStreamIsCutOffAndMuted(t *testing.T) {
	g := newGateway(t, Options{WriteTimeout: time.Minute, MaxStreamLag: 50}, eventlog.Options{Window: 50, MaxLag: 50})
	g.journal.emit("a", 3)
	c := g.session("op")
	c.stream("a", 0)
	require.Equal(t, expect("run.event", "a", 1, 3), c.events(3))
	stall(g, c)
	for range 10 {
		g.journal.emit("a", 20)
	}
	var failed frame
	for failed.Event != wire.EventRunError {
		failed = c.read()
		require.NotEqual(t, wire.EventTaskOutput, failed.Event)
	}
	require.Equal(t, "a", failed.body(t).RunID)
	require.Equal(t, *wire.BackpressureError(50), wire.Error{Code: failed.body(t).Error.Code, Message: failed.body(t).Error.Message})
	g.journal.emit("a", 5) // 208 now, none of which may appear
	g.journal.emit("b", 1)
	for {
		f := c.read()
		if f.Event == wire.EventTaskOutput {
			require.Equal(t, "b", f.body(t).RunID)
			break
		}
		require.NotEqual(t, "a", f.body(t).RunID)
	}
	require.Equal(t, []string{"BackpressureDisconnect"}, g.metrics.ended)

	id := c.send("streamRunEvents", map[string]any{"runId": "a", "afterSeq": 3})
	var f frame
	for f = c.read(); f.ID != id; f = c.read() {
	}
	gap := c.read().body(t)
	require.Equal(t, []int64{4, 158}, []int64{gap.FromSeq, gap.ToSeq})
	require.Equal(t, expect("run.event", "a", 159, 208), c.events(50))
	g.journal.emit("a", 1)
	require.Equal(t, expect("run.event", "a", 209, 209), c.events(1))
	c.quiet()
}

func TestPlainFallsOff(t *testing.T) {
	g := newGateway(t, Options{WriteTimeout: time.Minute}, eventlog.Options{PlainRing: 20})
	c := g.session("op")
	stall(g, c)
	g.journal.emit("a", 100)
	code, reason := c.closed()
	require.Equal(t, 1013, code)
	require.Equal(t, "event backpressure", reason)
	eventually(t, func() bool { return len(g.metrics.closes()) == 1 }, "ended")
	require.Equal(t, []string{ClosedBackpressure}, g.metrics.closes())
}
