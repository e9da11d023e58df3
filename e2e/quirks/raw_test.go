package quirks

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// raw is a socket that reads only when it is told to, and shows frames in their order.
type raw struct {
	t    *testing.T
	conn *websocket.Conn
}

func dialRaw(t *testing.T, p *rig.Process) *raw {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(p.Base, "http")+"/", nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(1 << 26)
	r := &raw{t: t, conn: conn}
	require.Equal(t, "connect.challenge", r.next()["event"])
	return r
}

func (r *raw) connect(token string) {
	r.t.Helper()
	r.send(object{"type": "req", "id": "c", "method": "connect", "params": object{
		"minProtocol": 1, "maxProtocol": 1, "client": object{"id": "t"}, "auth": object{"token": token}}})
	require.Equal(r.t, true, r.response("c")["ok"])
}

func (r *raw) send(v any) {
	r.t.Helper()
	b, err := json.Marshal(v)
	require.NoError(r.t, err)
	require.NoError(r.t, r.conn.Write(r.t.Context(), websocket.MessageText, b))
}

func (r *raw) next() object {
	r.t.Helper()
	f, err := r.read()
	require.NoError(r.t, err)
	return f
}

func (r *raw) read() (object, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), rig.Patience)
	defer cancel()
	_, b, err := r.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	var f object
	return f, json.Unmarshal(b, &f)
}

// response skips events until the answer with an id.
func (r *raw) response(id string) object {
	r.t.Helper()
	for {
		if f := r.next(); f["type"] == "res" {
			require.Equal(r.t, id, f["id"])
			return f
		}
	}
}
