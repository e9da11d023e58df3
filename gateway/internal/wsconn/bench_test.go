package wsconn

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// benchBatch is how many events one commit brings, benchWindow how far the sender
// may be ahead of the slowest reader, in events.
const (
	benchBatch  = 64
	benchWindow = 2048
)

// countFrames reads server frames and adds them up, cheaply: the readers share the
// machine with what is measured.
func countFrames(c net.Conn, total *atomic.Int64) {
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		h, err := r.Peek(2)
		if err != nil {
			return
		}
		skip, n := 2, int(h[1]&127)
		if n == 126 {
			if h, err = r.Peek(4); err != nil {
				return
			}
			skip, n = 4, int(binary.BigEndian.Uint16(h[2:]))
		}
		if _, err := r.Discard(skip + n); err != nil {
			return
		}
		total.Add(1)
	}
}

// pace waits until the readers are within the window.
func pace(total *atomic.Int64, want int64) {
	for total.Load() < want {
		runtime.Gosched()
	}
}

// BenchmarkFanOut delivers the events of one run to n sockets, each with a stream.
// One op is one frame received.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{64, 1000} {
		b.Run(fmt.Sprintf("gateway/sockets=%d", n), func(b *testing.B) { fanOutGateway(b, n) })
		b.Run(fmt.Sprintf("gorilla/sockets=%d", n), func(b *testing.B) { fanOutBare(b, n) })
	}
}

var benchPayload = json.RawMessage(`{"runId":"a","nodeId":"build","state":"in-progress","iteration":0,"attempt":1}`)

func fanOutGateway(b *testing.B, sockets int) {
	g := newGateway(b, Options{MaxPreAuthPerAddr: sockets, MaxPreAuth: sockets, WriteTimeout: time.Minute}, eventlog.Options{})
	g.journal.create("a")
	var total atomic.Int64
	var readers sync.WaitGroup
	var conns []net.Conn
	for range sockets {
		c := g.session("op", "a")
		c.stream("a", 0)
		conns = append(conns, c.ws.NetConn())
		readers.Go(func() { countFrames(c.ws.NetConn(), &total) })
	}
	rounds := max(1, b.N/(sockets*benchBatch))
	events := make([]store.Event, rounds*benchBatch)
	batch := make([]*store.Event, benchBatch)
	b.ReportAllocs()
	b.ResetTimer()
	for r := range rounds {
		for i := range batch {
			k := r*benchBatch + i
			events[k] = store.Event{RunID: "a", Name: wire.EventNodeStarted, Payload: benchPayload, Seq: int64(k + 1), StateVersion: int64(k + 1)}
			batch[i] = &events[k]
		}
		g.log.Publish(batch)
		pace(&total, int64(sockets)*int64((r+1)*benchBatch-benchWindow))
	}
	pace(&total, int64(sockets)*int64(rounds*benchBatch))
	b.StopTimer()
	b.ReportMetric(float64(sockets*rounds*benchBatch)/b.Elapsed().Seconds(), "frames/s")
	for _, c := range conns {
		_ = c.Close()
	}
	readers.Wait()
}

// fanOutBare is the limit: the library and a coalescing connection, frames made
// once for all and handed over in batches, nothing durable, nothing numbered.
func fanOutBare(b *testing.B, sockets int) {
	var mu sync.Mutex
	var feeds []chan [][]byte
	var writers sync.WaitGroup
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := &hijacker{ResponseWriter: w, timeout: func() time.Duration { return time.Minute }}
		up := websocket.Upgrader{ReadBufferSize: readBuffer, WriteBufferSize: 1 << 10}
		ws, err := up.Upgrade(h, r, nil)
		if err != nil {
			return
		}
		_ = h.conn.Flush()
		feed := make(chan [][]byte, benchWindow/benchBatch)
		mu.Lock()
		feeds = append(feeds, feed)
		mu.Unlock()
		writers.Go(func() {
			waiting := 0
			for frames := range feed {
				for _, f := range frames {
					_ = ws.WriteMessage(websocket.TextMessage, f)
					if waiting += len(f); waiting >= flushBytes {
						_ = h.conn.Flush()
						waiting = 0
					}
				}
				if len(feed) == 0 {
					_ = h.conn.Flush()
					waiting = 0
				}
			}
			_ = ws.Close()
		})
	}))
	defer srv.Close()
	var total atomic.Int64
	var readers sync.WaitGroup
	for range sockets {
		ws, _, err := websocket.DefaultDialer.Dial("ws"+srv.URL[4:], nil)
		if err != nil {
			b.Fatal(err)
		}
		defer ws.Close()
		readers.Go(func() { countFrames(ws.NetConn(), &total) })
	}
	eventually(b, func() bool { mu.Lock(); defer mu.Unlock(); return len(feeds) == sockets }, "all sockets")
	rounds := max(1, b.N/(sockets*benchBatch))
	b.ReportAllocs()
	b.ResetTimer()
	for r := range rounds {
		frames := make([][]byte, benchBatch)
		for i := range frames {
			k := int64(r*benchBatch + i)
			frames[i] = wire.AppendRunEvent(nil, "0198a7b0-0000-7000-8000-000000000000", "a", wire.EventNodeStarted, benchPayload, k, k, k, k)
		}
		for _, feed := range feeds {
			feed <- frames
		}
		pace(&total, int64(sockets)*int64((r+1)*benchBatch-benchWindow))
	}
	pace(&total, int64(sockets)*int64(rounds*benchBatch))
	b.StopTimer()
	b.ReportMetric(float64(sockets*rounds*benchBatch)/b.Elapsed().Seconds(), "frames/s")
	for _, f := range feeds {
		close(f)
	}
	writers.Wait()
	readers.Wait()
}

// BenchmarkIdleSocket reports the memory of one authenticated socket at rest, the
// client's side (a bare TCP connection) included.
func BenchmarkIdleSocket(b *testing.B) {
	const sockets = 2000
	for range b.N {
		g := newGateway(b, Options{MaxPreAuthPerAddr: sockets}, eventlog.Options{})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		conns := make([]net.Conn, 0, sockets)
		for range sockets {
			conns = append(conns, rawSession(b, g))
		}
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/sockets, "B/socket")
		for _, c := range conns {
			_ = c.Close()
		}
		eventually(b, func() bool { return g.reg.Stats().Connections == 0 }, "closed")
	}
}

// rawSession connects without a WebSocket library: nothing of it stays in memory.
func rawSession(b *testing.B, g *testGateway) net.Conn {
	c, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	frame := `{"type":"req","id":"c","method":"connect","params":{"minProtocol":1,"maxProtocol":1,"client":"x","auth":{"token":"op"}}}`
	msg := append([]byte{0x81, 0x80 | 126, 0, byte(len(frame)), 0, 0, 0, 0}, frame...)
	_, _ = c.Write(msg)
	buf := make([]byte, 4096)
	for got := ""; ; {
		n, err := c.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		if got += string(buf[:n]); len(got) > 0 && got[len(got)-1] == '}' && contains(got, `"id":"c"`) {
			return c
		}
	}
}

func contains(s, sub string) bool {
	for i := 0; i+len(sub) <= len(s); i++ {
		if s[i:i+len(sub)] == sub {
			return true
		}
	}
	return false
}

// BenchmarkRunEventFrame is what one socket's frame of a run's event costs before it is
// sent.
func BenchmarkRunEventFrame(b *testing.B) {
	frames := wire.NewRunEvents("01234567-89ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcdef")
	var tail wire.EventTail
	payload := bytes.Repeat([]byte{'x'}, 250)
	nc := &coalescer{}
	b.ReportAllocs()
	for i := int64(1); b.Loop(); i++ {
		frame := frames.Append(nc.beginText(), "task.output", payload, i, i)
		if _, err := nc.endText(tail.Append(frame, i, i)); err != nil {
			b.Fatal(err)
		}
		if len(*nc.buf) > flushBytes {
			*nc.buf = (*nc.buf)[:0]
		}
	}
}
