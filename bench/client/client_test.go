package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func runEvent(n int) string {
	return fmt.Sprintf(`{"type":"event","event":"run.event","payload":{"streamId":"s","event":"task.output","payload":{"output":"@ 12 x"},`+
		`"seq":%d,"stateVersion":77},"seq":%d,"stateVersion":77,"apiVersion":"v1"}`, n, n+5)
}

func TestNumber(t *testing.T) {
	s := &Socket{} // frames of all kinds and lengths follow each other
	for frame, want := range map[string]int64{
		runEvent(1):         1,
		runEvent(123456789): 123456789,
		runEvent(123456790): 123456790,
		runEvent(999999999): 999999999,
		`{"push":{"channel":"run","pub":{"data":{"output":"x","seq":42},"offset":43}}}`: 42,
	} {
		for range 2 {
			if got, ok := s.number([]byte(frame)); !ok || got != want {
				t.Errorf("%s: %d %v, not %d", frame, got, ok, want)
			}
		}
	}
	long := `{"seq":9,"x":"` + strings.Repeat("y", tail) + `"}`
	if _, ok := s.number([]byte(long)); ok {
		t.Error("a number far from the end counts")
	}
	if _, ok := s.number([]byte(`{"seq":"1"}`)); ok {
		t.Error("a text counts as a number")
	}
	if at, ok := After([]byte(runEvent(1)), []byte(`"output":"@ `)); !ok || at != 12 {
		t.Errorf("after the mark: %d %v", at, ok)
	}
}

// serve runs a WebSocket server that plays a part on each socket.
func serve(t *testing.T, play func(*websocket.Conn)) *Socket {
	t.Helper()
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		play(ws)
		_, _, _ = ws.ReadMessage() // until the client has gone
	}))
	s, err := Dialer{Addr: srv.Listener.Addr().String()}.Dial(context.Background(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		srv.Close()
	})
	return s
}

func write(ws *websocket.Conn, messages ...string) {
	for _, m := range messages {
		_ = ws.WriteMessage(websocket.TextMessage, []byte(m))
	}
}

func TestBurst(t *testing.T) {
	s := serve(t, func(ws *websocket.Conn) {
		write(ws, runEvent(8), `{"type":"event","event":"run.heartbeat","payload":{},"seq":99}`, runEvent(9), runEvent(10))
		write(ws, runEvent(12))
	})
	seen := 0
	if err := s.Burst(RunEvents, 3, func([]byte) { seen++ }); err != nil || seen != 3 || s.Last() != 10 {
		t.Fatalf("%v after %d frames, at %d", err, seen, s.Last())
	}
	if err := s.Burst(RunEvents, 1, nil); err == nil || !strings.Contains(err.Error(), "12 follows 10") {
		t.Fatalf("a missing number is %v", err)
	}
}

func TestBurstOfRepeatedNumber(t *testing.T) {
	s := serve(t, func(ws *websocket.Conn) { write(ws, runEvent(1), runEvent(1)) })
	if err := s.Burst(RunEvents, 2, nil); err == nil {
		t.Fatal("a repeated number is fine")
	}
}

func TestBurstEndsWithTheStream(t *testing.T) {
	for _, message := range []string{
		`{"type":"event","event":"run.error","payload":{"error":{"code":"BackpressureDisconnect"}},"seq":4}`,
		`{"type":"event","event":"run.gap_resync","payload":{"fromSeq":1},"seq":4}`,
		`{"type":"res","id":"1","ok":false,"error":{"code":"X"}}`,
	} {
		s := serve(t, func(ws *websocket.Conn) { write(ws, runEvent(1), message, runEvent(2)) })
		if err := s.Burst(RunEvents, 2, nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s is %v", message, err)
		}
	}
}

func TestPublicationsInOneMessage(t *testing.T) {
	pub := func(n int) string {
		return fmt.Sprintf(`{"push":{"channel":"run","pub":{"data":{"seq":%d},"offset":%d}}}`, n, n)
	}
	pong := make(chan string, 1)
	s := serve(t, func(ws *websocket.Conn) {
		write(ws, pub(1)+"\n"+pub(2), "{}", pub(3))
		_, data, _ := ws.ReadMessage()
		pong <- string(data)
	})
	if err := s.Burst(Publications, 3, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-pong; got != "{}" {
		t.Errorf("a ping is answered with %q", got)
	}
}

func TestMessagesOfAllSizes(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 127, readBuffer - 4, readBuffer, readBuffer + 1, 1 << 16, 3 << 20, 5, 70_000, 9}
	s := serve(t, func(ws *websocket.Conn) {
		for _, n := range sizes {
			write(ws, strings.Repeat("a", n))
		}
		w, _ := ws.NextWriter(websocket.TextMessage) // fragmented, as it is longer than the library's buffer
		_, _ = io.WriteString(w, strings.Repeat("b", 20_000))
		_ = w.Close()
		_ = ws.WriteControl(websocket.PingMessage, []byte("p"), time.Now().Add(time.Minute))
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1013, "event backpressure"), time.Now().Add(time.Minute))
	})
	for _, n := range append(sizes, 20_000) {
		m, err := s.Next()
		if err != nil || len(m) != n {
			t.Fatalf("%d bytes and %v instead of %d", len(m), err, n)
		}
	}
	var closed *CloseError
	if _, err := s.Next(); !errors.As(err, &closed) || closed.Code != 1013 || closed.Reason != "event backpressure" {
		t.Fatalf("the end is %v", err)
	}
}

func TestCallSkipsWhatIsNotItsAnswer(t *testing.T) {
	s := serve(t, func(ws *websocket.Conn) {
		_, _, _ = ws.ReadMessage()
		write(ws, `{"type":"event","event":"tick","seq":1}`, `{"type":"res","id":"7","ok":true}`, `{"type":"res","id":"0","ok":true,"payload":{}}`)
		_, _, _ = ws.ReadMessage()
		write(ws, `{"type":"res","id":"1","ok":false,"error":{"code":"FORBIDDEN"}}`)
	})
	if answer, err := s.Call("connect", nil); err != nil || !strings.Contains(string(answer), `"payload"`) {
		t.Fatalf("%s %v", answer, err)
	}
	if _, err := s.Call("launchRun", nil); !errors.Is(err, ErrRefused) {
		t.Fatalf("a refusal is %v", err)
	}
}

func TestRefusedUpgrade(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	if _, err := (Dialer{Addr: srv.Listener.Addr().String()}).Dial(context.Background(), 0); err == nil || !strings.Contains(err.Error(), "404") {
		t.Fatalf("a refused upgrade is %v", err)
	}
}

// FuzzFrames: whatever the server sends, reading ends without a panic and within bounds.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0x81, 2, 'h', 'i', 0x88, 0})
	f.Add([]byte{0x01, 1, 'a', 0x80, 1, 'b'})
	f.Add(binary.BigEndian.AppendUint64([]byte{0x81, 127}, 1<<40))
	f.Add([]byte(runEvent(1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(data)
			_ = theirs.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		s := newSocket(ours)
		defer s.Close()
		for {
			if _, err := s.Next(); err != nil {
				return
			}
		}
	})
}

func TestHTTP(t *testing.T) {
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(bufio.NewReader(r.Body))
		if calls++; calls == 3 {
			http.Error(w, "no", http.StatusTeapot)
			return
		}
		fmt.Fprintf(w, "%s %s %s", r.URL.Path, r.Header.Get("Authorization"), body)
	}))
	defer srv.Close()
	c, err := Post(srv.Listener.Addr().String(), "/v1/rpc/health", "secret", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if got, err := c.Do(); err != nil || string(got) != "/v1/rpc/health Bearer secret {}" {
			t.Fatalf("%q %v", got, err)
		}
	}
	if _, err := c.Do(); err == nil || !strings.Contains(err.Error(), "418") {
		t.Fatalf("a refusal is %v", err)
	}
}

func TestEach(t *testing.T) {
	boom := errors.New("boom")
	var calls atomic.Int64
	err := Each(context.Background(), 1_000, 4, func(ctx context.Context, i int) error {
		calls.Add(1)
		if i == 5 {
			return boom
		}
		if i > 5 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	if n := calls.Load(); n > 6+2*4 {
		t.Errorf("%d calls, though the sixth has failed", n)
	}
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "5 of 1000") {
		t.Fatalf("%v", err)
	}
	if err := Each(context.Background(), 3, 8, func(context.Context, int) error { return nil }); err != nil {
		t.Fatal(err)
	}
}
