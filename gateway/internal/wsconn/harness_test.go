package wsconn

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is an eventlog.Backend in memory, and its committer.
type journal struct {
	mu      sync.Mutex
	log     *eventlog.Log
	runs    map[string][]*store.Event
	version int64
	err     error
}

func (j *journal) Bounds(_ context.Context, runID string) (eventlog.Bounds, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	evs, ok := j.runs[runID]
	n := int64(len(evs))
	return eventlog.Bounds{First: min(1, n), Last: n, Next: n + 1, Exists: ok}, nil
}

func (j *journal) WindowStart(_ context.Context, runID string, window int) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return int64(max(0, len(j.runs[runID])-window) + 1), nil
}

func (j *journal) After(_ context.Context, runID string, after int64, limit int) (*store.EventChunk, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	evs := j.runs[runID]
	i := sort.Search(len(evs), func(i int) bool { return evs[i].Seq > after })
	chunk := store.NewEventChunk(runID, false, limit)
	for _, ev := range evs[i:min(len(evs), i+limit)] {
		chunk.Add(ev.Seq, ev.StateVersion, []byte(ev.Name), ev.Payload)
	}
	return chunk, j.err
}

func (j *journal) create(runIDs ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range runIDs {
		j.runs[r] = j.runs[r][:0]
	}
}

// emit commits and publishes n events of a run.
func (j *journal) emit(runID string, n int) { j.emitSized(runID, n, 0, false) }

func (j *journal) emitSized(runID string, n, size int, system bool) {
	j.mu.Lock()
	var out []*store.Event
	for range n {
		j.version++
		seq := int64(len(j.runs[runID]) + 1)
		ev := &store.Event{RunID: runID, Seq: seq, StateVersion: j.version, Name: wire.EventTaskOutput, System: system,
			Payload: json.RawMessage(fmt.Sprintf(`{"runId":%q,"n":%d,"pad":%q}`, runID, seq, strings.Repeat("x", size)))}
		j.runs[runID] = append(j.runs[runID], ev)
		out = append(out, ev)
	}
	j.mu.Unlock()
	j.log.Publish(out)
}

// fakeRouter answers a few methods and whatever a test adds.
type fakeRouter struct {
	methods  sync.Map // name -> func(ctx, *rpc.Call) (any, *wire.Error)
	helloErr atomic.Pointer[error]
	hello    atomic.Pointer[func()]

	helloHangs atomic.Bool
}

func (f *fakeRouter) on(name string, h func(context.Context, *rpc.Call) (any, *wire.Error)) {
	f.methods.Store(name, h)
}

func (f *fakeRouter) Dispatch(ctx context.Context, c *rpc.Call) (json.RawMessage, *wire.Error) {
	if m := wire.ResolveMethod(c.Method); !c.Principal.AllowsMethod(m, c.Method) {
		return nil, wire.MissingScope(m.Scope, c.Method)
	}
	h, ok := f.methods.Load(c.Method)
	if !ok {
		return nil, wire.UnknownMethod(c.Method)
	}
	v, failure := h.(func(context.Context, *rpc.Call) (any, *wire.Error))(ctx, c)
	if failure != nil {
		return nil, failure
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b, nil
}

func (f *fakeRouter) Snapshot(_ context.Context, runID string) (json.RawMessage, error) {
	return json.RawMessage(fmt.Sprintf(`{"runId":%q,"status":"running"}`, runID)), nil
}

func (f *fakeRouter) Hello(ctx context.Context, _ *auth.Principal) (json.RawMessage, error) {
	if f.helloHangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if h := f.hello.Load(); h != nil {
		(*h)()
	}
	if err := f.helloErr.Load(); err != nil {
		return nil, *err
	}
	return json.RawMessage(`{"runs":[],"approvals":[],"stateVersion":0}`), nil
}

func streamRunEvents(ctx context.Context, c *rpc.Call) (any, *wire.Error) {
	var p struct {
		RunID    string `json:"runId"`
		AfterSeq *int64 `json:"afterSeq"`
	}
	if err := json.Unmarshal(c.Params, &p); err != nil {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "%v", err)
	}
	o, failure := c.Conn.OpenRunStream(ctx, p.RunID, p.AfterSeq)
	if failure != nil {
		return nil, failure
	}
	return map[string]any{"streamId": o.StreamID, "runId": p.RunID, "afterSeq": o.AfterSeq, "currentSeq": o.CurrentSeq}, nil
}

// fakeAuth knows the tokens op (all), ro (run:read), appr (approval:submit) and
// those a test grants.
type fakeAuth struct {
	mu      sync.Mutex
	grants  map[string]*auth.Principal
	origins func(*http.Request) bool
}

func (a *fakeAuth) CheckOrigin(r *http.Request) *wire.Error {
	if a.origins != nil && !a.origins(r) {
		return wire.Errorf(wire.CodeUnauthorized, "Origin is not allowed")
	}
	return nil
}

func (a *fakeAuth) Authenticate(r *http.Request, token string) (*auth.Principal, *wire.Error) {
	if token == "" {
		token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	if token == "" {
		return nil, wire.Errorf(wire.CodeUnauthorized, "A bearer token is required")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.grants[token]; p != nil {
		return p, nil
	}
	return nil, wire.Errorf(wire.CodeUnauthorized, "Invalid token").With("refresh", "smithers token issue")
}

func (a *fakeAuth) Recheck(p *auth.Principal) *wire.Error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.grants {
		if g == p {
			return nil
		}
	}
	return wire.Errorf(wire.CodeUnauthorized, "Token has been revoked")
}

func (a *fakeAuth) grant(token string, p *auth.Principal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.grants[token] = p
}

func (a *fakeAuth) revoke(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.grants, token)
}

// counted is a Metrics that remembers reasons.
type counted struct {
	noMetrics
	mu      sync.Mutex
	closed  []string
	refused []string
	ended   []string
}

func (m *counted) Closed(r string) { m.mu.Lock(); defer m.mu.Unlock(); m.closed = append(m.closed, r) }
func (m *counted) Refused(r string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused = append(m.refused, r)
}
func (m *counted) StreamEnded(c string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = append(m.ended, c)
}

func (m *counted) closes() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.closed)
}

// gateway is a registry behind a real server.
type testGateway struct {
	t       testing.TB
	reg     *Registry
	router  *fakeRouter
	auth    *fakeAuth
	log     *eventlog.Log
	journal *journal
	metrics *counted
	server  *httptest.Server
	clock   atomic.Pointer[func() time.Time]
}

func newGateway(t testing.TB, o Options, lo eventlog.Options) *testGateway {
	g := &testGateway{t: t, router: &fakeRouter{}, metrics: &counted{}, journal: &journal{runs: map[string][]*store.Event{}},
		auth: &fakeAuth{grants: map[string]*auth.Principal{
			"op":   {UserID: "alice", TokenID: "t1", Role: "operator", Scopes: []string{"*"}},
			"ro":   {TokenID: "t2", Role: "operator", Scopes: []string{"run:read"}},
			"appr": {Role: "operator", Scopes: []string{"approval:submit"}},
		}}}
	g.log = eventlog.New(g.journal, lo)
	g.journal.log = g.log
	g.router.on("streamRunEvents", streamRunEvents)
	g.router.on("health", func(context.Context, *rpc.Call) (any, *wire.Error) { return map[string]any{"ok": true}, nil })
	g.reg = NewRegistry(Deps{Router: g.router, Log: g.log, Metrics: g.metrics, Now: g.now}, o, nil)
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.reg.ServeHTTP(w, r, Site{Auth: g.auth})
	}))
	t.Cleanup(func() {
		g.reg.Close()
		g.log.Close()
		g.server.Close()
		require.Zero(t, g.reg.Stats().Connections)
		require.Zero(t, g.reg.Stats().PreAuth)
		require.Zero(t, g.reg.Stats().Streams)
		require.Zero(t, g.log.Stats().Cursors)
		require.Empty(t, g.reg.byAddr)
	})
	return g
}

func (g *testGateway) now() time.Time {
	if f := g.clock.Load(); f != nil {
		return (*f)()
	}
	return time.Now()
}

func (g *testGateway) url() string { return "ws" + strings.TrimPrefix(g.server.URL, "http") }

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, f func() bool, what string) {
	t.Helper()
	require.Eventually(t, f, time.Minute, time.Millisecond, what)
}

type frame struct {
	Type         string          `json:"type"`
	ID           string          `json:"id"`
	OK           bool            `json:"ok"`
	Event        string          `json:"event"`
	Payload      json.RawMessage `json:"payload"`
	Error        *frameError     `json:"error"`
	Seq          int64           `json:"seq"`
	StateVersion int64           `json:"stateVersion"`
	APIVersion   string          `json:"apiVersion"`
}

type frameError struct {
	Version string `json:"version"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Refresh string `json:"refresh"`
	Scope   string `json:"scope"`
	Limit   int    `json:"limit"`
}

type runEvent struct {
	StreamID     string          `json:"streamId"`
	Type         string          `json:"type"`
	RunID        string          `json:"runId"`
	Event        string          `json:"event"`
	Payload      json.RawMessage `json:"payload"`
	Seq          int64           `json:"seq"`
	StateVersion int64           `json:"stateVersion"`
	FromSeq      int64           `json:"fromSeq"`
	ToSeq        int64           `json:"toSeq"`
	Snapshot     json.RawMessage `json:"snapshot"`
	TS           int64           `json:"ts"`
	N            int64           `json:"n"`
	CurrentSeq   int64           `json:"currentSeq"`
	AfterSeq     *int64          `json:"afterSeq"`
	Error        *frameError     `json:"error"`
}

func (f frame) body(t testing.TB) (e runEvent) {
	require.NoError(t, json.Unmarshal(f.Payload, &e), "%s", f.Payload)
	return e
}

// client is a gorilla client that checks the counters of every frame it reads.
type client struct {
	t       testing.TB
	ws      *websocket.Conn
	seq     int64
	version int64
	next    int
	beats   bool // hand out heartbeats and ticks too
}

func (g *testGateway) dial(token string) *client {
	c, err := g.tryDial(token)
	require.NoError(g.t, err)
	return c
}

func (g *testGateway) tryDial(token string) (*client, error) {
	d := websocket.Dialer{HandshakeTimeout: time.Minute}
	var h http.Header
	if token != "" {
		h = http.Header{"Authorization": {"Bearer " + token}}
	}
	ws, resp, err := d.Dial(g.url(), h)
	if err != nil {
		return nil, err
	}
	require.Equal(g.t, wire.APIVersion, resp.Header.Get(wire.HeaderAPIVersion))
	c := &client{t: g.t, ws: ws}
	g.t.Cleanup(func() { _ = ws.Close() })
	first := c.read()
	require.Equal(g.t, wire.EventChallenge, first.Event)
	require.EqualValues(g.t, 1, first.Seq)
	return c, nil
}

// session dials and connects.
func (g *testGateway) session(token string, subscribe ...string) *client {
	c := g.dial("")
	c.connect(token, subscribe)
	return c
}

func (c *client) connect(token string, subscribe []string) frame {
	params := map[string]any{"minProtocol": 1, "maxProtocol": 1, "client": map[string]any{"id": "test"},
		"auth": map[string]any{"token": token}}
	if subscribe != nil {
		params["subscribe"] = subscribe
	}
	f := c.call("connect", params)
	require.True(c.t, f.OK, "%v", f.Error)
	return f
}

func (c *client) send(method string, params any) string {
	c.next++
	id := fmt.Sprint("r", c.next)
	require.NoError(c.t, c.ws.WriteJSON(map[string]any{"type": "req", "id": id, "method": method, "params": params}))
	return id
}

func (c *client) raw(text string) {
	require.NoError(c.t, c.ws.WriteMessage(websocket.TextMessage, []byte(text)))
}

// read returns the next frame that is no heartbeat and no tick.
func (c *client) read() frame {
	f, err := c.tryRead()
	require.NoError(c.t, err)
	return f
}

func (c *client) tryRead() (frame, error) {
	for {
		_ = c.ws.SetReadDeadline(time.Now().Add(time.Minute))
		kind, data, err := c.ws.ReadMessage()
		if err != nil {
			return frame{}, err
		}
		require.Equal(c.t, websocket.TextMessage, kind)
		var f frame
		require.NoError(c.t, json.Unmarshal(data, &f), "%s", data)
		require.Equal(c.t, wire.APIVersion, f.APIVersion)
		if f.Type == "event" {
			require.Equal(c.t, c.seq+1, f.Seq, "frame numbers have no holes: %s", data)
			c.seq = f.Seq
			require.GreaterOrEqual(c.t, f.StateVersion, c.version, "stateVersion never decreases")
			c.version = f.StateVersion
			if !c.beats && (f.Event == wire.EventTick || f.Event == wire.EventRunHeartbeat) {
				continue
			}
		}
		return f, nil
	}
}

// call sends a request and reads its response, which must be the next frame.
func (c *client) call(method string, params any) frame {
	id := c.send(method, params)
	f := c.read()
	require.Equal(c.t, "res", f.Type, "%s %s", f.Event, f.Payload)
	require.Equal(c.t, id, f.ID)
	return f
}

func (c *client) stream(runID string, after int64) runEvent {
	p := map[string]any{"runId": runID}
	if after >= 0 {
		p["afterSeq"] = after
	}
	f := c.call("streamRunEvents", p)
	require.True(c.t, f.OK, "%v", f.Error)
	return f.body(c.t)
}

// events reads n event frames and returns them as "run.event r 3" or "task.output r 3".
func (c *client) events(n int) []string {
	var out []string
	for range n {
		f := c.read()
		b := f.body(c.t)
		seq := b.Seq
		if f.Event == wire.EventTaskOutput {
			seq = b.N
		}
		out = append(out, fmt.Sprintf("%s %s %d", f.Event, b.RunID, seq))
	}
	return out
}

func expect(event, runID string, from, to int64) []string {
	var out []string
	for s := from; s <= to; s++ {
		out = append(out, fmt.Sprintf("%s %s %d", event, runID, s))
	}
	return out
}

// closed reads until the socket ends and returns the close code, 1006 without one.
func (c *client) closed() (int, string) {
	for {
		if _, err := c.tryRead(); err != nil {
			if e, ok := err.(*websocket.CloseError); ok {
				return e.Code, e.Text
			}
			return websocket.CloseAbnormalClosure, err.Error()
		}
	}
}

// silent says that nothing but a health answer comes.
func (c *client) quiet() { c.t.Helper(); require.True(c.t, c.call("health", nil).OK) }

var _ net.Conn = (*coalescer)(nil)
