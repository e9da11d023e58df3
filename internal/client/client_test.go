package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a gateway that plays a fixed conversation on its socket.
type script func(ctx context.Context, conn *websocket.Conn)

func serve(t *testing.T, rpc http.HandlerFunc, play script) *Client {
	t.Helper()
	mux := http.NewServeMux()
	if rpc != nil {
		mux.HandleFunc("POST /v1/rpc/{method}", rpc)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		ctx := r.Context()
		send(ctx, conn, `{"type":"event","event":"connect.challenge","payload":{"nonce":"n"},"seq":1}`)
		play(ctx, conn)
	})
	srv := httptest.NewServer(mux)
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		srv.CloseClientConnections()
		srv.Close()
	})
	return &Client{Base: srv.URL, Token: "secret", HTTP: &http.Client{Transport: transport}}
}

func send(ctx context.Context, conn *websocket.Conn, text string) {
	_ = conn.Write(ctx, websocket.MessageText, []byte(text))
}

// request reads one request frame.
func request(ctx context.Context, conn *websocket.Conn) (id, method string, params map[string]any) {
	_, data, err := conn.Read(ctx)
	if err != nil {
		return "", "", nil
	}
	var f struct {
		ID, Method string
		Params     map[string]any
	}
	_ = json.Unmarshal(data, &f)
	return f.ID, f.Method, f.Params
}

func answer(ctx context.Context, conn *websocket.Conn, id, payload string) {
	send(ctx, conn, fmt.Sprintf(`{"type":"res","id":%q,"ok":true,"payload":%s}`, id, payload))
}

func TestCall(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.PathValue("method") {
		case "echo":
			fmt.Fprintf(w, `{"type":"res","id":"x","ok":true,"payload":{"auth":%q}}`, r.Header.Get("Authorization"))
		case "refuse":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"type":"res","id":"x","ok":false,"error":{"version":"v1","code":"FORBIDDEN","message":"no","requiredScope":"run:write"}}`)
		default:
			fmt.Fprint(w, `<html>`)
		}
	}, nil)

	var out struct{ Auth string }
	require.NoError(t, c.Call(t.Context(), "echo", nil, &out))
	require.Equal(t, "Bearer secret", out.Auth)

	err := c.Call(t.Context(), "refuse", nil, nil)
	require.True(t, IsCode(err, "FORBIDDEN"))
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, http.StatusForbidden, e.Status)
	require.Equal(t, "run:write", e.Extra["requiredScope"])

	require.ErrorContains(t, c.Call(t.Context(), "page", nil, nil), "not a response frame")
}

func TestStreamFiltersWhatIsNotItsOwn(t *testing.T) {
	c := serve(t, nil, func(ctx context.Context, conn *websocket.Conn) {
		id, _, params := request(ctx, conn)
		answer(ctx, conn, id, fmt.Sprintf(`{"protocol":1,"auth":{"role":%q}}`, params["auth"].(map[string]any)["token"]))
		id, _, _ = request(ctx, conn)
		// Replay may come before the response.
		send(ctx, conn, `{"type":"event","event":"run.gap_resync","payload":{"streamId":"s","fromSeq":1,"toSeq":4}}`)
		answer(ctx, conn, id, `{"streamId":"s","runId":"r","afterSeq":0,"currentSeq":6}`)
		send(ctx, conn, `{"type":"event","event":"tick","payload":{}}`)
		send(ctx, conn, `{"type":"event","event":"run.event","payload":{"streamId":"other","seq":9}}`)
		send(ctx, conn, `{"type":"event","event":"run.event","payload":{"streamId":"s","seq":5,"event":"node.started"}}`)
		send(ctx, conn, `{"type":"event","event":"run.error","payload":{"streamId":"s","error":{"code":"BackpressureDisconnect","message":"slow"}}}`)
		_, _, _ = conn.Read(ctx)
	})
	s, err := c.Dial(t.Context(), DialOptions{})
	require.NoError(t, err)
	require.Equal(t, "secret", s.Hello.Auth.Role)
	zero := int64(0)
	opened, err := s.Stream(t.Context(), "r", &zero)
	require.NoError(t, err)
	require.Equal(t, int64(6), opened.CurrentSeq)

	var items []Item
	require.NoError(t, s.Follow(t.Context(), opened.StreamID, func(i Item) bool {
		items = append(items, i)
		return i.Error == nil
	}))
	require.Len(t, items, 3)
	require.Equal(t, int64(4), items[0].Gap.ToSeq)
	require.Equal(t, int64(5), items[1].Seq())
	require.True(t, IsCode(items[2].Error, "BackpressureDisconnect"))
	s.Cut()
	_, err = s.Next(t.Context())
	require.ErrorIs(t, err, ErrCut)
}

func TestSocketEnds(t *testing.T) {
	c := serve(t, nil, func(ctx context.Context, conn *websocket.Conn) {
		id, _, _ := request(ctx, conn)
		answer(ctx, conn, id, `{}`)
		send(ctx, conn, `{"type":"event","event":"tick","payload":{},"seq":2}`)
		_, _, _ = request(ctx, conn) // never answered
		_ = conn.Close(websocket.StatusCode(1008), "authentication failed")
	})
	s, err := c.Dial(t.Context(), DialOptions{})
	require.NoError(t, err)
	require.ErrorContains(t, s.Call(t.Context(), "health", nil, nil), "no answer")
	<-s.Done()
	require.Equal(t, 1008, s.CloseCode())
	f, err := s.Next(t.Context())
	require.NoError(t, err, "what had arrived is still there")
	require.Equal(t, "tick", f.Event)
	_, err = s.Next(t.Context())
	require.Error(t, err)
}

func TestDialRefused(t *testing.T) {
	c := serve(t, nil, func(ctx context.Context, conn *websocket.Conn) {
		id, _, _ := request(ctx, conn)
		send(ctx, conn, fmt.Sprintf(`{"type":"res","id":%q,"ok":false,"error":{"code":"UNAUTHORIZED","message":"Invalid token"}}`, id))
		_, _, _ = conn.Read(ctx)
	})
	_, err := c.Dial(t.Context(), DialOptions{})
	require.True(t, IsCode(err, "UNAUTHORIZED"), err)

	s, err := c.Dial(t.Context(), DialOptions{NoConnect: true})
	require.NoError(t, err)
	s.Cut()
}
