package wsconn

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func (g *testGateway) refused(h http.Header) (int, string) {
	req, err := http.NewRequest(http.MethodGet, g.server.URL, nil)
	require.NoError(g.t, err)
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	for k, v := range h {
		req.Header[k] = v
	}
	resp, err := g.server.Client().Do(req)
	require.NoError(g.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	require.True(g.t, resp.Close, "Connection: close")
	require.Equal(g.t, "text/plain; charset=utf-8", resp.Header.Get("Content-Type"))
	require.EqualValues(g.t, len(body), resp.ContentLength)
	require.Equal(g.t, "v1", resp.Header.Get(wire.HeaderAPIVersion))
	return resp.StatusCode, string(body)
}

func TestRefusedPreAuthLimit(t *testing.T) {
	g := newGateway(t, Options{MaxPreAuth: 2}, eventlog.Options{})
	a, _ := g.dial(""), g.dial("")
	code, body := g.refused(nil)
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "Gateway connection limit reached\n", body)
	a.connect("op", nil) // leaves the pool
	g.dial("")
	require.Equal(t, []string{RefusedLimit}, g.metrics.refused)
}

func TestRefusedPerAddress(t *testing.T) {
	g := newGateway(t, Options{MaxPreAuthPerAddr: 1}, eventlog.Options{})
	c := g.dial("")
	code, _ := g.refused(nil)
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.NoError(t, c.ws.Close())
	eventually(t, func() bool { return g.reg.Stats().PreAuth == 0 }, "the place is free again")
	g.dial("")
	require.Equal(t, []string{RefusedAddress}, g.metrics.refused)
}

func TestRefusedConnectionLimit(t *testing.T) {
	g := newGateway(t, Options{MaxConnections: 1}, eventlog.Options{})
	late := g.dial("")
	g.session("op")
	code, body := g.refused(nil)
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "Gateway connection limit reached\n", body)

	f := late.call("connect", map[string]any{"minProtocol": 1, "maxProtocol": 1, "client": "x", "auth": map[string]any{"token": "op"}})
	require.Equal(t, "CONNECTION_LIMIT", f.Error.Code)
	status, reason := late.closed()
	require.Equal(t, 1013, status)
	require.Equal(t, "connection limit reached", reason)
}

func TestRefusedOrigin(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	g.auth.origins = func(r *http.Request) bool { return r.Header.Get("Origin") != "https://evil.example" }
	code, body := g.refused(http.Header{"Origin": {"https://evil.example"}})
	require.Equal(t, http.StatusForbidden, code)
	require.Equal(t, "Origin or host is not allowed\n", body)
	require.Zero(t, g.reg.Stats().PreAuth)
}

func TestRefusedHandshake(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	code, body := g.refused(http.Header{"Sec-Websocket-Key": {"short"}})
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, body, "Sec-WebSocket-Key")
	code, _ = g.refused(http.Header{"Upgrade": {"h2c"}})
	require.Equal(t, http.StatusBadRequest, code)
	require.Zero(t, g.reg.Stats().PreAuth)
}

func TestRefusedCONNECT(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	done := 0
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodConnect, "/", nil)
	r.ProtoMajor, r.ProtoMinor = 2, 0
	g.reg.ServeHTTP(w, r, Site{Auth: g.auth, Done: func() { done++ }})
	require.Equal(t, http.StatusNotImplemented, w.Code)
	require.Contains(t, w.Body.String(), "HTTP/1.1")
	require.Equal(t, "v1", w.Header().Get(wire.HeaderAPIVersion))
	require.Empty(t, w.Header().Get("Connection"), "has no place in HTTP/2")
	require.Equal(t, 1, done)
}

func TestRefusedWithoutHijacking(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	g.reg.ServeHTTP(w, r, Site{Auth: g.auth})
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Zero(t, g.reg.Stats().PreAuth)
}

// wrapped hides the Hijacker as Caddy's writers do.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestUpgradeThroughWrappedWriterAndSubprotocol(t *testing.T) {
	g := newGateway(t, Options{}, eventlog.Options{})
	ended := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Sec-WebSocket-Version", "8") // not enforced
		g.reg.ServeHTTP(wrapped{w}, r, Site{Auth: g.auth, Done: func() { close(ended) }})
	}))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, srv.URL, &websocket.DialOptions{Subprotocols: []string{"smithers", "other"}})
	require.NoError(t, err)
	require.Equal(t, "smithers", ws.Subprotocol())
	require.Equal(t, "v1", resp.Header.Get(wire.HeaderAPIVersion))
	require.Empty(t, resp.Header.Get("Sec-Websocket-Extensions"), "no compression")
	_, data, err := ws.Read(ctx)
	require.NoError(t, err)
	require.Contains(t, string(data), wire.EventChallenge)
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, "bye"))
	<-ended
	eventually(t, func() bool { return strings.Join(g.metrics.closes(), "") == ClosedClient }, "closed by the client")
}

func TestAddressKey(t *testing.T) {
	for in, want := range map[[2]string]string{
		{"", "10.1.2.3:99"}:             "10.1.2.3",
		{"10.9.9.9", "127.0.0.1:1"}:     "10.9.9.9",
		{"", "[2001:db8:1:2:3::4]:99"}:  "2001:db8:1:2::/64",
		{"::ffff:10.0.0.1", ""}:         "10.0.0.1",
		{"fe80::1%eth0", ""}:            "fe80::/64",
		{"", "@"}:                       "@",
		{"2001:db8:1:2:ffff::9", "x:1"}: "2001:db8:1:2::/64",
	} {
		require.Equal(t, want, auth.AddressKey(hostOf(in[0], in[1])))
	}
}
