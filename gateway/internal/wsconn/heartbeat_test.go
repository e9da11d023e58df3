package wsconn

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// pipeWriter is a ResponseWriter whose connection is one end of a pipe, so that a
// whole conversation runs on fake time.
type pipeWriter struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (p pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return p.conn, bufio.NewReadWriter(bufio.NewReader(p.conn), bufio.NewWriter(p.conn)), nil
}

// On fake time: heartbeats of a stream come every second, ticks every fifteen, and
// neither carries a seq of the run.
func TestCadenceOfHeartbeatsAndTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{runs: map[string][]*store.Event{}}
		log := eventlog.New(j, eventlog.Options{})
		defer log.Close()
		j.log = log
		j.emit("a", 2)
		router := &fakeRouter{}
		router.on("streamRunEvents", streamRunEvents)
		reg := NewRegistry(Deps{Router: router, Log: log}, Options{}, nil)
		defer reg.Close()
		server, peer := net.Pipe()
		defer peer.Close()
		go func() {
			buf := make([]byte, 4096)
			_, _ = server.Read(buf) // the request, which we do not parse
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
				"Sec-Websocket-Key": {headerValue(string(buf), "Sec-WebSocket-Key: ")}}
			reg.ServeHTTP(pipeWriter{httptest.NewRecorder(), server}, req,
				Site{Auth: &fakeAuth{grants: map[string]*auth.Principal{"op": {Scopes: []string{"*"}}}}})
		}()
		d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return peer, nil }}
		ws, _, err := d.Dial("ws://test/", nil)
		require.NoError(t, err)
		send := func(method string, params any) {
			require.NoError(t, ws.WriteJSON(map[string]any{"type": "req", "id": method, "method": method, "params": params}))
		}
		send("connect", map[string]any{"minProtocol": 1, "maxProtocol": 1, "client": "x", "auth": map[string]any{"token": "op"}})
		send("streamRunEvents", map[string]any{"runId": "a", "afterSeq": 0})
		start := time.Now()
		var beats, ticks []time.Duration
		for len(ticks) < 2 {
			_, data, err := ws.ReadMessage()
			require.NoError(t, err)
			var f frame
			require.NoError(t, json.Unmarshal(data, &f))
			switch f.Event {
			case wire.EventRunHeartbeat:
				require.NotContains(t, string(f.Payload), "seq")
				require.Equal(t, "Heartbeat", f.body(t).Type)
				beats = append(beats, time.Since(start))
			case wire.EventTick:
				ticks = append(ticks, time.Since(start))
			}
		}
		require.LessOrEqual(t, beats[0], time.Second, "the first beat within a second")
		for i := 1; i < len(beats); i++ {
			require.InDelta(t, time.Second, beats[i]-beats[i-1], float64(10*time.Millisecond), "beat %d", i)
		}
		require.InDelta(t, 30, len(beats), 1)
		require.InDelta(t, 15*time.Second, ticks[0], float64(time.Second))
		require.InDelta(t, 15*time.Second, ticks[1]-ticks[0], float64(300*time.Millisecond))
		_ = peer.Close()
		synctest.Wait()
	})
}

func headerValue(request, name string) string {
	for i := 0; i+len(name) < len(request); i++ {
		if request[i:i+len(name)] == name {
			return request[i+len(name) : i+len(name)+24]
		}
	}
	return ""
}
