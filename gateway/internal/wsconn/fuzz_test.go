package wsconn

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
)

// FuzzFirstFrames sends arbitrary bytes behind the handshake, once as they are and
// once as the payload of a masked text frame. Whatever they are, the socket ends
// when the peer leaves, and places, streams and cursors come back (newGateway's
// cleanup holds that).
func FuzzFirstFrames(f *testing.F) {
	connect := `{"type":"req","id":"c","method":"connect","params":{"minProtocol":1,"maxProtocol":1,"client":"x","auth":{"token":"op"}}}`
	f.Add([]byte(connect), []byte(`{"type":"req","id":"s","method":"streamRunEvents","params":{"runId":"a","afterSeq":0}}`))
	f.Add([]byte(`{"type":"req","id":"c","method":"connect","params":{"minProtocol":1e309}}`), []byte(`null`))
	f.Add([]byte{0x88, 0x80, 0, 0, 0, 0}, []byte{0x89, 0xff})
	f.Add([]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte{})
	f.Add([]byte(connect), []byte(`{"type":"req","id":"\ud800","method":"health","params":[[[[]]]]}`))
	g := newGateway(f, Options{CloseWait: time.Millisecond, MaxMessageBytes: 4096}, eventlog.Options{})
	g.journal.emit("a", 3)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		if len(first) > 4096 || len(second) > 4096 {
			return
		}
		for _, framed := range []bool{false, true} {
			c, err := net.Dial("tcp", g.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			for _, p := range [][]byte{first, second} {
				if framed {
					p = append([]byte{0x81, 0x80 | 126, byte(len(p) >> 8), byte(len(p)), 0, 0, 0, 0}, p...)
				}
				_, _ = c.Write(p) // the gateway may have closed already
			}
			_ = c.(*net.TCPConn).CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.Copy(io.Discard, c); err != nil {
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Fatal("the socket does not end")
				}
			}
			_ = c.Close()
		}
	})
}
