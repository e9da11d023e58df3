package wsconn

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// TestFramesAreTheLibrarys holds that frames of every length come out byte for byte as
// the library would write them.
func TestFramesAreTheLibrarys(t *testing.T) {
	ours := &coalescer{}
	theirs := &coalescer{}
	ws := libraryOn(t, theirs)
	for _, kind := range []int{websocket.TextMessage, websocket.PongMessage, websocket.CloseMessage} {
		for _, n := range []int{0, 1, 125, 126, 127, 1_000, 65_535, 65_536, 200_000} {
			if n > 125 && kind != websocket.TextMessage || kind == websocket.CloseMessage && n != 125 {
				continue
			}
			data := bytes.Repeat([]byte{'x'}, n)
			require.NoError(t, ours.message(kind, data))
			require.NoError(t, ws.WriteMessage(kind, data))
			require.Equal(t, *theirs.buf, *ours.buf, "kind %d, %d bytes", kind, n)
			if kind == websocket.TextMessage { // once more, made in place behind the first
				whole, err := ours.endText(append(ours.beginText(), data...))
				require.NoError(t, err)
				require.Equal(t, len(*theirs.buf), whole)
				require.Equal(t, append(bytes.Clone(*theirs.buf), *theirs.buf...), *ours.buf, "%d bytes in place", n)
			}
			*ours.buf, *theirs.buf = (*ours.buf)[:0], (*theirs.buf)[:0]
		}
	}
}

func TestNothingFollowsACloseFrame(t *testing.T) {
	for _, first := range []string{"ours", "the library's"} {
		nc := &coalescer{}
		ws := libraryOn(t, nc)
		text := websocket.FormatCloseMessage(websocket.ClosePolicyViolation, "enough")
		if first == "ours" {
			require.NoError(t, nc.message(websocket.CloseMessage, text))
		} else {
			require.NoError(t, ws.WriteControl(websocket.CloseMessage, text, time.Now().Add(time.Minute)))
		}
		want := bytes.Clone(*nc.buf)
		require.ErrorIs(t, nc.message(websocket.TextMessage, []byte("more")), websocket.ErrCloseSent)
		_, err := nc.endText(append(nc.beginText(), "more"...))
		require.ErrorIs(t, err, websocket.ErrCloseSent)
		require.ErrorIs(t, nc.message(websocket.CloseMessage, text), websocket.ErrCloseSent)
		require.Error(t, ws.WriteControl(websocket.CloseMessage, text, time.Now().Add(time.Minute)))
		require.Equal(t, want, *nc.buf, first)
	}
}

// libraryOn makes the library's connection over nc by an upgrade, whose answer is dropped.
func libraryOn(t *testing.T, nc *coalescer) *websocket.Conn {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	nc.Conn = server
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		req.Header.Set(name, value)
	}
	up := websocket.Upgrader{}
	ws, err := up.Upgrade(taken{nc}, req, nil)
	require.NoError(t, err)
	*nc.buf = (*nc.buf)[:0]
	return ws
}

// taken is a ResponseWriter whose connection is a coalescer.
type taken struct{ nc *coalescer }

func (taken) Header() http.Header         { return http.Header{} }
func (taken) Write(p []byte) (int, error) { return len(p), nil }
func (taken) WriteHeader(int)             {}
func (h taken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.nc, bufio.NewReadWriter(bufio.NewReader(h.nc), bufio.NewWriter(h.nc)), nil
}
