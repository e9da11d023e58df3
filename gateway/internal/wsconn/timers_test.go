package wsconn

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// pipes is a registry in fake time, whose sockets are pipes in memory.
type pipes struct {
	t       *testing.T
	reg     *Registry
	router  *fakeRouter
	auth    *fakeAuth
	journal *journal
	metrics *counted
}

func inFakeTime(t *testing.T, o Options, test func(t *testing.T, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{t: t, router: &fakeRouter{}, metrics: &counted{}, journal: &journal{runs: map[string][]*store.Event{}},
			auth: &fakeAuth{grants: map[string]*auth.Principal{"op": {UserID: "alice", Scopes: []string{"*"}}}}}
		log := eventlog.New(p.journal, eventlog.Options{})
		p.journal.log = log
		p.router.on("streamRunEvents", streamRunEvents)
		p.reg = NewRegistry(Deps{Router: p.router, Log: log, Metrics: p.metrics}, o, nil)
		defer log.Close()
		defer p.reg.Close()
		test(t, p)
	})
}

// dial opens a socket; nothing but the test reads it.
func (p *pipes) dial() *websocket.Conn {
	server, peer := net.Pipe()
	p.t.Cleanup(func() { _ = peer.Close() })
	go func() {
		req, err := http.ReadRequest(bufio.NewReader(server))
		if err == nil {
			p.reg.ServeHTTP(pipeWriter{httptest.NewRecorder(), server}, req, Site{Auth: p.auth})
		}
	}()
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return peer, nil }}
	ws, _, err := d.Dial("ws://test/", nil)
	require.NoError(p.t, err)
	return ws
}

func (p *pipes) send(ws *websocket.Conn, method string, params any) {
	require.NoError(p.t, ws.WriteJSON(map[string]any{"type": "req", "id": method, "method": method, "params": params}))
}

// session returns when connect has been handled; its answer is the next message.
func (p *pipes) session(token string) *websocket.Conn {
	ws := p.dial()
	p.send(ws, "connect", map[string]any{"minProtocol": 1, "maxProtocol": 1, "client": "x", "auth": map[string]any{"token": token}})
	_, _, err := ws.ReadMessage() // the challenge
	require.NoError(p.t, err)
	synctest.Wait()
	return ws
}

// end reads until the socket is closed and returns the code and how long it took.
func (p *pipes) end(ws *websocket.Conn) (int, time.Duration) {
	start := time.Now()
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			took := time.Since(start)
			var closed *websocket.CloseError
			if errors.As(err, &closed) {
				return closed.Code, took
			}
			return websocket.CloseAbnormalClosure, took
		}
	}
}

func TestTimeToConnectIsBounded(t *testing.T) {
	inFakeTime(t, Options{AuthDeadline: 10 * time.Second}, func(t *testing.T, p *pipes) {
		go p.end(p.session("op"))
		_, took := p.end(p.dial())
		require.InDelta(t, 10*time.Second, took, float64(time.Second), "a visit comes every second")
		synctest.Wait()
		require.Equal(t, []string{ClosedAuthDeadline}, p.metrics.closes())
		time.Sleep(time.Hour)
		require.Len(t, p.metrics.closes(), 1, "a session has no such bound")
	})
}

func TestSessionEndsWithItsToken(t *testing.T) {
	inFakeTime(t, Options{}, func(t *testing.T, p *pipes) {
		p.auth.grant("hour", &auth.Principal{Scopes: []string{"*"}, ExpiresAtMs: time.Now().Add(time.Hour).UnixMilli()})
		code, took := p.end(p.session("hour"))
		require.Equal(t, 1008, code)
		require.InDelta(t, time.Hour, took, float64(time.Second))
		require.GreaterOrEqual(t, took, time.Hour)
	})
}

func TestRequestEndsWithItsTime(t *testing.T) {
	inFakeTime(t, Options{RequestTimeout: time.Minute}, func(t *testing.T, p *pipes) {
		ended := make(chan time.Duration, 1)
		p.router.on("wait", func(ctx context.Context, _ *rpc.Call) (any, *wire.Error) {
			start := time.Now()
			<-ctx.Done()
			ended <- time.Since(start)
			return nil, wire.Errorf(wire.CodeRequestTimeout, "late")
		})
		ws := p.session("op")
		p.send(ws, "wait", nil)
		go p.end(ws)
		require.Equal(t, time.Minute, <-ended)
	})
}

// A reader that takes no byte is let go after the write timeout; one that takes some
// now and then is kept.
func TestWriteTimeoutCountsFromTheLastByte(t *testing.T) {
	inFakeTime(t, Options{WriteTimeout: 10 * time.Second}, func(t *testing.T, p *pipes) {
		steady, stuck := p.session("op"), p.session("op")
		p.journal.emitSized("a", 8, 100<<10, true)
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 60<<10)
			for range 10 {
				time.Sleep(9 * time.Second)
				_, _ = steady.NetConn().Read(buf)
			}
		}()
		p.send(steady, "streamRunEvents", map[string]any{"runId": "a", "afterSeq": 0})
		p.send(stuck, "streamRunEvents", map[string]any{"runId": "a", "afterSeq": 0})
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		require.Empty(t, p.metrics.closes())
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, []string{ClosedSlow}, p.metrics.closes())
		<-done
		require.Len(t, p.metrics.closes(), 1)
	})
}

// A peer that does not answer the close frame is cut after the time that it has.
func TestCloseFrameIsWaitedForAWhile(t *testing.T) {
	inFakeTime(t, Options{CloseWait: 2 * time.Second}, func(t *testing.T, p *pipes) {
		ws := p.session("op")
		ws.SetCloseHandler(func(int, string) error { return nil }) // it does not answer
		p.auth.revoke("op")
		p.reg.Recheck()
		code, took := p.end(ws)
		require.Equal(t, 1008, code)
		require.Zero(t, took, "told at once")
		time.Sleep(2*time.Second - time.Millisecond)
		synctest.Wait()
		require.Empty(t, p.metrics.closes())
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, []string{ClosedRevoked}, p.metrics.closes())
	})
}

// TestDrainIsSpread looks at when each of many clients is let go: over three quarters
// of the time, at moments that are not the same twice.
func TestDrainIsSpread(t *testing.T) {
	const clients, limit = 200, 40 * time.Second
	drain := func(t *testing.T, p *pipes) (at []time.Duration) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range clients {
			ws := p.session("op")
			wg.Go(func() {
				code, took := p.end(ws)
				require.Equal(t, 1012, code)
				mu.Lock()
				defer mu.Unlock()
				at = append(at, took)
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		start := time.Now()
		p.reg.Drain(ctx, wire.CloseRestart, wire.ReasonRestarted)
		require.LessOrEqual(t, time.Since(start), limit*3/4+time.Second, "all have answered")
		wg.Wait()
		slices.Sort(at)
		return at
	}
	var first []time.Duration
	inFakeTime(t, Options{}, func(t *testing.T, p *pipes) { first = drain(t, p) })
	require.Len(t, first, clients)
	spread := limit * 3 / 4
	for i, at := range first {
		require.InDelta(t, float64(spread)*(float64(i)+0.5)/clients, at, float64(spread)/clients*0.5+float64(2*time.Millisecond), "client %d", i)
	}
	inFakeTime(t, Options{}, func(t *testing.T, p *pipes) { require.NotEqual(t, first, drain(t, p), "with jitter") })
}

// Without time left everybody is told at once, and cut when that does not help.
func TestDrainThatIsLate(t *testing.T) {
	inFakeTime(t, Options{CloseWait: time.Hour}, func(t *testing.T, p *pipes) {
		ok, deaf := p.session("op"), p.session("op")
		deaf.SetCloseHandler(func(int, string) error { return nil })
		go p.end(ok)
		go p.end(deaf)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		start := time.Now()
		p.reg.Drain(ctx, wire.CloseRestart, wire.ReasonRestarted)
		require.Equal(t, 4*time.Second, time.Since(start))
		require.Zero(t, p.reg.Stats().Connections)
	})
}

// Whoever is told after the time is over is told all the same, and who takes nothing is
// waited for a moment longer.
func TestDrainAfterItsTime(t *testing.T) {
	inFakeTime(t, Options{CloseWait: time.Hour}, func(t *testing.T, p *pipes) {
		over, cancel := context.WithCancel(t.Context())
		cancel()
		codes := make(chan int, 20)
		for range cap(codes) {
			ws := p.session("op")
			ws.SetCloseHandler(func(int, string) error { return nil }) // it does not answer
			go func() {
				code, _ := p.end(ws)
				codes <- code
			}()
		}
		start := time.Now()
		p.reg.Drain(over, wire.CloseRestart, wire.ReasonRestarted)
		require.Zero(t, time.Since(start))
		for range cap(codes) {
			require.Equal(t, wire.CloseRestart, <-codes)
		}
	})
	inFakeTime(t, Options{CloseWait: time.Hour, WriteTimeout: time.Hour}, func(t *testing.T, p *pipes) {
		p.session("op") // reads nothing
		over, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		p.reg.Drain(over, wire.CloseRestart, wire.ReasonRestarted)
		require.Equal(t, tellTime, time.Since(start))
	})
}

// A hello that the database does not give is answered with an error in time.
func TestHelloEndsWithItsTime(t *testing.T) {
	inFakeTime(t, Options{RequestTimeout: time.Minute, AuthDeadline: time.Hour}, func(t *testing.T, p *pipes) {
		p.router.helloHangs.Store(true)
		start := time.Now()
		_, _, err := p.session("op").ReadMessage() // its answer, whatever it says
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(start))
	})
}

// Of what a peer that broke the rules still sends, only so much is read.
func TestCutOffPeerIsReadOnForAWhile(t *testing.T) {
	inFakeTime(t, Options{MaxMessageBytes: 100, CloseWait: 2 * time.Second}, func(t *testing.T, p *pipes) {
		ws := p.session("op")
		ws.SetCloseHandler(func(int, string) error { return nil })
		go func() { _ = ws.WriteMessage(websocket.TextMessage, make([]byte, 200)) }()
		code, took := p.end(ws)
		require.Equal(t, websocket.CloseMessageTooBig, code)
		require.Zero(t, took)
		time.Sleep(2*time.Second - time.Millisecond)
		synctest.Wait()
		require.Empty(t, p.metrics.closes())
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Len(t, p.metrics.closes(), 1)
	})
}
