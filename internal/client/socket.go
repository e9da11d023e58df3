package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/coder/websocket"
)

// maxFrame bounds one frame of the gateway.
const maxFrame = 64 << 20

// ErrCut is why a socket ended that Cut was called on.
var ErrCut = errors.New("connection cut by this client")

// Hello is the answer to connect.
type Hello struct {
	Protocol int
	Auth     struct {
		Role   string
		Scopes []string
		UserID *string
	}
	Snapshot struct {
		Runs         []Run
		Approvals    []json.RawMessage
		StateVersion int64
	}
}

// Socket is one authenticated WebSocket. Its methods are safe for concurrent use.
// Event frames wait in an unbounded queue until Next takes them: this client is
// for programs that read everything.
type Socket struct {
	Hello Hello

	conn *websocket.Conn
	tcp  net.Conn

	mu      sync.Mutex
	queue   []*Frame
	wake    chan struct{} // closed and replaced when queue or err changes
	waiting map[string]chan *Frame
	nextID  int64
	err     error
	done    chan struct{}
}

// DialOptions change how a socket connects.
type DialOptions struct {
	Subscribe []string    // nil: no filter
	Header    http.Header // of the upgrade request
	NoConnect bool        // stop after the challenge: nothing is authenticated
}

// Dial opens a socket, waits for the challenge and authenticates with the token of
// the client.
func (c *Client) Dial(ctx context.Context, o DialOptions) (*Socket, error) {
	s := &Socket{
		wake: make(chan struct{}), waiting: map[string]chan *Frame{}, done: make(chan struct{}),
	}
	// A transport of its own: the connection can be cut without a closing handshake.
	transport := &http.Transport{TLSClientConfig: c.TLS, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var conn net.Conn
		var err error
		if c.Connect != nil {
			conn, err = c.Connect(ctx)
		} else {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		}
		s.tcp = conn
		return conn, err
	}}
	header := c.Header.Clone()
	if o.Header != nil {
		header = o.Header
	}
	conn, resp, err := websocket.Dial(ctx, c.socketURL(), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header,
	})
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("upgrade answered %s: %w", resp.Status, err)
		}
		return nil, err
	}
	conn.SetReadLimit(maxFrame)
	s.conn = conn
	go s.read()
	if err := s.greet(ctx, c, o); err != nil {
		s.Cut()
		return nil, err
	}
	return s, nil
}

func (s *Socket) greet(ctx context.Context, c *Client, o DialOptions) error {
	f, err := s.Next(ctx)
	if err != nil {
		return fmt.Errorf("waiting for the challenge: %w", err)
	}
	if f.Event != "connect.challenge" {
		return fmt.Errorf("the first frame is %q, not the challenge", f.Event)
	}
	if o.NoConnect {
		return nil
	}
	params := map[string]any{
		"minProtocol": 1, "maxProtocol": 1,
		"client": map[string]string{"id": "caddy-smithers", "version": "1", "platform": "go"},
	}
	if c.Token != "" {
		params["auth"] = map[string]string{"token": c.Token}
	}
	if o.Subscribe != nil {
		params["subscribe"] = o.Subscribe
	}
	return s.Call(ctx, "connect", params, &s.Hello)
}

func (s *Socket) read() {
	defer close(s.done)
	for {
		_, data, err := s.conn.Read(context.Background())
		if err != nil {
			s.fail(err)
			return
		}
		f := new(Frame)
		if err := json.Unmarshal(data, f); err != nil {
			s.fail(fmt.Errorf("unreadable frame %.200q: %w", data, err))
			return
		}
		s.mu.Lock()
		if f.Type == "res" {
			if answer, ok := s.waiting[f.ID]; ok {
				delete(s.waiting, f.ID)
				answer <- f
			}
		} else {
			s.queue = append(s.queue, f)
			s.signal()
		}
		s.mu.Unlock()
	}
}

// signal wakes all callers of Next; the caller holds mu.
func (s *Socket) signal() {
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *Socket) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.signal()
}

// Err is why the socket ended, or nil.
func (s *Socket) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// CloseCode is the close code the gateway sent, or -1 if it sent none.
func (s *Socket) CloseCode() int { return int(websocket.CloseStatus(s.Err())) }

// Done is closed when nothing more will arrive.
func (s *Socket) Done() <-chan struct{} { return s.done }

// Next takes the oldest event frame, waiting for one. After the connection has
// ended it first returns what had arrived, then the reason.
func (s *Socket) Next(ctx context.Context) (*Frame, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			f := s.queue[0]
			s.queue[0] = nil
			s.queue = s.queue[1:]
			s.mu.Unlock()
			return f, nil
		}
		err, wake := s.err, s.wake
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Call sends a request frame and waits for its response.
func (s *Socket) Call(ctx context.Context, method string, params, result any) error {
	if params == nil {
		params = struct{}{}
	}
	answer := make(chan *Frame, 1)
	s.mu.Lock()
	s.nextID++
	id := strconv.FormatInt(s.nextID, 10)
	s.waiting[id] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
	}()
	data, err := json.Marshal(map[string]any{"type": "req", "id": id, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if err := s.Send(ctx, data); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case f := <-answer:
		return f.into(result)
	case <-s.done:
		select {
		case f := <-answer:
			return f.into(result)
		default:
			return fmt.Errorf("%s: no answer: %w", method, s.Err())
		}
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer: %w", method, ctx.Err())
	}
}

// Send writes one text message as it is.
func (s *Socket) Send(ctx context.Context, data []byte) error {
	return s.conn.Write(ctx, websocket.MessageText, data)
}

// StreamOpened is the answer to streamRunEvents.
type StreamOpened struct {
	StreamID   string
	RunID      string
	AfterSeq   *int64
	CurrentSeq int64
}

// Stream subscribes to the events of a run after a number; nil: live ones only.
func (s *Socket) Stream(ctx context.Context, runID string, after *int64) (*StreamOpened, error) {
	params := map[string]any{"runId": runID}
	if after != nil {
		params["afterSeq"] = *after
	}
	var opened StreamOpened
	if err := s.Call(ctx, "streamRunEvents", params, &opened); err != nil {
		return nil, err
	}
	return &opened, nil
}

// Close says goodbye and ends the connection.
func (s *Socket) Close() error {
	err := s.conn.Close(websocket.StatusNormalClosure, "")
	<-s.done
	return err
}

// Cut ends the TCP connection at once, as a pulled cable does: no closing
// handshake, and what was on its way is lost.
func (s *Socket) Cut() {
	s.fail(ErrCut)
	if tcp, ok := s.tcp.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	if s.tcp != nil {
		_ = s.tcp.Close()
	}
	_ = s.conn.CloseNow()
	<-s.done
}
