package overload

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// dial opens a TCP connection from the attacker's address.
func (h *house) dial() (net.Conn, error) {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(attackerAddress)}, Timeout: rig.Patience}
	return d.DialContext(h.t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(h.s.Port)))
}

// crowd opens connections that send something, one byte each period, and returns what
// the gateway answered on each and how long the last one was tolerated.
func (h *house) crowd(n int, first, rest string, period time.Duration) (answers map[string]int, longest time.Duration) {
	h.t.Helper()
	answers = map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	gate := make(chan struct{}, 200) // dialling at once
	for range n {
		wg.Go(func() {
			gate <- struct{}{}
			conn, err := h.dial()
			<-gate
			answer := "refused"
			begin := time.Now()
			if err == nil {
				answer = trickle(conn, first, rest, period)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[answer]++
			longest = max(longest, time.Since(begin))
		})
	}
	wg.Wait()
	return answers, longest
}

// trickle sends slowly until the other side has had enough, and returns its status
// line, or "closed".
func trickle(conn net.Conn, first, rest string, period time.Duration) string {
	defer conn.Close()
	done := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil && line == "" {
			line = "closed"
		}
		done <- strings.TrimSpace(line)
	}()
	_, err := io.WriteString(conn, first)
	tick := time.NewTicker(period)
	defer tick.Stop()
	enough := time.After(rig.Patience)
	for i := 0; ; i++ {
		select {
		case answer := <-done:
			return answer
		case <-enough:
			return "tolerated"
		case <-tick.C:
			if err == nil && rest != "" {
				_, err = io.WriteString(conn, rest[i%len(rest):i%len(rest)+1])
			}
		}
	}
}

func TestSlowHeaders(t *testing.T) {
	h := newHouse(t, hasty)
	h.beside(func() {
		answers, longest := h.crowd(rig.Count(t, "SLOW_CLIENTS", 300), "POST /v1/rpc/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ", "a", 200*time.Millisecond)
		t.Logf("%v, the last after %s", answers, longest)
		rig.Prompt(t, "the last", longest, 20*time.Second) // read_header is 3s
		require.NotContains(t, answers, "tolerated")
		require.NotContains(t, answers, "HTTP/1.1 200 OK")
	})
}

func TestSlowBodies(t *testing.T) {
	h := newHouse(t, hasty)
	head := "POST /v1/rpc/launchRun HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + h.p.Token + "\r\nContent-Length: 100000\r\n\r\n{"
	h.beside(func() {
		answers, longest := h.crowd(rig.Count(t, "SLOW_CLIENTS", 300), head, " ", 200*time.Millisecond)
		t.Logf("%v, the last after %s", answers, longest)
		rig.Prompt(t, "the last", longest, 25*time.Second) // request_timeout is 3s
		require.Len(t, answers, 1, "each is told")
		require.Contains(t, answers, "HTTP/1.1 504 Gateway Timeout")
	})
	// Who may not come in is told at the same time at the latest: the server first takes the body.
	var wg sync.WaitGroup
	for path, want := range map[string]string{"/v1/rpc/launchRun": "401", "/webhooks/good": "404", "/v1/api/runs": "401"} {
		wg.Go(func() {
			conn, err := h.dial()
			if !assert.NoError(t, err) {
				return
			}
			begin := time.Now()
			answer := trickle(conn, "POST "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n{", "", time.Second)
			assert.Contains(t, answer, want)
			rig.Prompt(t, path, time.Since(begin), 15*time.Second) // request_timeout is 3s
		})
	}
	wg.Wait()
}

// TestHalfOpenUpgrades: connections that begin a WebSocket handshake and stop.
func TestHalfOpenUpgrades(t *testing.T) {
	n := rig.Count(t, "HALF_OPEN", 1_000)
	h := newHouse(t, hasty)
	h.beside(func() {
		answers, longest := h.crowd(n, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ", "", time.Second)
		t.Logf("%d half-open: %v, the last after %s", n, answers, longest)
		rig.Prompt(t, "the last", longest, 30*time.Second) // read_header is 3s
		require.NotContains(t, answers, "tolerated")
	})
	h.p.Wait("the connections to be gone", func() bool { return h.p.Usage().Files < 200 })
}

// TestIdleSocketsBeforeConnect: sockets that never authenticate.
func TestIdleSocketsBeforeConnect(t *testing.T) {
	h := newHouse(t, hasty)
	upgrade := "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	h.beside(func() {
		var conns []net.Conn
		counts := map[string]int{}
		const dials = 400
		begin := time.Now()
		for range dials {
			conn, err := h.dial()
			require.NoError(t, err)
			conns = append(conns, conn)
			_, err = io.WriteString(conn, upgrade)
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			counts[resp.Status]++
			if resp.StatusCode == http.StatusServiceUnavailable {
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Equal(t, "Gateway connection limit reached\n", string(body))
			}
		}
		took := time.Since(begin)
		t.Logf("%v in %s", counts, took)
		require.Equal(t, dials, counts["503 Service Unavailable"]+counts["101 Switching Protocols"])
		places := 64 * (1 + int(took/(3*time.Second)))
		require.LessOrEqual(t, counts["101 Switching Protocols"], places, "64 of one address at once, each for 3s")
		for _, conn := range conns { // those that were let in are cut at the deadline
			_ = conn.SetReadDeadline(time.Now().Add(rig.Patience))
			_, err := io.Copy(io.Discard, conn)
			if ne, ok := err.(net.Error); ok && ne.Timeout() { //nolint:errorlint // as returned
				t.Error("a socket outlives the deadline for connect")
			}
			conn.Close()
		}
	})
}

// TestHugeFrames: messages over the bound, before and after connect.
func TestHugeFrames(t *testing.T) {
	h := newHouse(t, "")
	h.beside(func() {
		for size, anonymous := range map[int]bool{2 << 20: false, 8 << 20: false, 256 << 10: true} {
			for range 5 {
				s, err := h.p.Client.Dial(t.Context(), client.DialOptions{NoConnect: anonymous})
				require.NoError(t, err)
				_ = s.Send(t.Context(), []byte(`{"type":"req","id":"1","method":"health","params":{"x":"`+strings.Repeat("x", size)+`"}}`))
				<-s.Done()
				if code := s.CloseCode(); code != 1009 { // the close frame may drown in what is still being sent
					require.Error(t, s.Err())
					require.Equal(t, websocket.StatusCode(-1), websocket.StatusCode(code), "%v", s.Err())
				}
				s.Cut()
			}
		}
		// Fragments that never end are one message, too.
		s, err := h.p.Client.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		defer s.Cut()
		begin := time.Now()
		for err == nil && time.Since(begin) < rig.Patience {
			err = s.Send(t.Context(), []byte(`{"type":"req","id":"1","method":"health","params":{}}`+strings.Repeat(" ", 1<<20)))
		}
		require.Error(t, err)
	})
	h.p.Wait("all to be counted", func() bool {
		return h.metric(`smithers_gateway_connections_closed_total{reason="message_too_big",transport="ws"}`) == 16
	})
	require.Less(t, h.p.Usage().Heap, int64(200<<20))
}

func TestDeepAndMalformedJSON(t *testing.T) {
	h := newHouse(t, "")
	deep := strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)
	wide := "[" + strings.Repeat("1,", 300) + "1]"
	h.beside(func() {
		s, err := h.p.Client.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		defer s.Cut()
		for range 20 {
			for _, tc := range []struct{ input, want string }{
				{deep, "exceeds the maximum JSON depth of 32"},
				{strings.Repeat("[", 100_000), "must be valid JSON"},
				{`{"a":` + wide + `}`, "array exceeding 256 items"},
				{`{"a":"` + strings.Repeat("x", 20_000) + `"}`, "string exceeding 16384 characters"},
			} {
				resp, err := h.p.HTTP.Do(h.request("/v1/rpc/launchRun", `{"workflow":"good","input":`+tc.input+`}`))
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				require.Equal(t, 400, resp.StatusCode, "%s", body)
				require.Contains(t, string(body), tc.want)
			}
			require.NoError(t, s.Send(t.Context(), []byte(`{"type":"req","id":"d","method":"launchRun","params":{"workflow":"good","input":`+deep+`}}`)))
			require.NoError(t, s.Call(t.Context(), "health", nil, nil), "the socket lives on")
		}
	})
}

func (h *house) request(path, body string) *http.Request {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.p.Base+path, strings.NewReader(body))
	require.NoError(h.t, err)
	req.Header.Set("Authorization", "Bearer "+h.p.Token)
	return req
}

// metric reads one sample of /metrics.
func (h *house) metric(name string) float64 {
	h.t.Helper()
	status, body, err := h.p.Get(h.t.Context(), "/metrics")
	require.NoError(h.t, err)
	require.Equal(h.t, 200, status)
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(h.t, err)
			return v
		}
	}
	return 0
}

// TestFloodOnOneSocket sends requests and reads no answers.
func TestFloodOnOneSocket(t *testing.T) {
	h := newHouse(t, hasty)
	h.beside(func() {
		ws, _, err := websocket.Dial(t.Context(), "ws://127.0.0.1:"+strconv.Itoa(h.s.Port)+"/", &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: h.p.HTTP.Transport}})
		require.NoError(t, err)
		defer ws.CloseNow()
		send := func(text string) error { return ws.Write(t.Context(), websocket.MessageText, []byte(text)) }
		require.NoError(t, send(`{"type":"req","id":"c","method":"connect","params":{"minProtocol":1,"maxProtocol":1,"client":{"id":"x"},"auth":{"token":"`+h.p.Token+`"}}}`))
		sent := 0
		for begin := time.Now(); err == nil && time.Since(begin) < rig.Patience; sent++ {
			err = send(fmt.Sprintf(`{"type":"req","id":"%d","method":"listRuns","params":{"filter":{"limit":1000}}}`, sent))
		}
		t.Logf("cut after %d requests without an answer read: %v", sent, err)
		require.Error(t, err, "a client that reads nothing is cut (write_timeout 3s)")
	})
	h.p.Wait("it to be counted", func() bool {
		return h.metric(`smithers_gateway_connections_closed_total{reason="write_timeout",transport="ws"}`) > 0
	})
	// One that reads its answers gets all of them.
	h.beside(func() {
		s, err := h.p.Client.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		defer s.Cut()
		var wg sync.WaitGroup
		var failed atomic.Int64
		for range 2_000 {
			wg.Go(func() {
				if s.Call(t.Context(), "listRuns", map[string]any{"filter": map[string]any{"limit": 5}}, nil) != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		require.Zero(t, failed.Load())
	})
}
