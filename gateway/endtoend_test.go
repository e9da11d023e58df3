package gateway

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// socket is a client that shares no code with the server.
type socket struct {
	t    testing.TB
	c    *websocket.Conn
	next int
	// events holds frames that came while something else was awaited.
	events []event
	hello  obj
}

type event struct {
	Event        string
	Payload      obj
	Seq          int64
	StateVersion int64
}

func (h *harness) dial(token string, subscribe ...string) *socket {
	h.t.Helper()
	c, _, err := websocket.Dial(h.t.Context(), "ws"+strings.TrimPrefix(h.server.URL, "http")+"/", nil)
	require.NoError(h.t, err)
	c.SetReadLimit(16 << 20)
	s := &socket{t: h.t, c: c}
	h.t.Cleanup(func() { c.CloseNow() })
	require.Equal(h.t, "connect.challenge", s.event().Event)
	params := obj{"minProtocol": 1, "maxProtocol": 1, "client": obj{"id": "test"}, "auth": obj{"token": token}}
	if subscribe != nil {
		params["subscribe"] = subscribe
	}
	f := s.call("connect", params)
	require.True(h.t, f.OK, f.Error)
	require.NoError(h.t, json.Unmarshal(f.Payload, &s.hello))
	return s
}

func (s *socket) read() (frame, event) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	_, data, err := s.c.Read(ctx)
	require.NoError(s.t, err)
	var f frame
	require.NoError(s.t, json.Unmarshal(data, &f), string(data))
	if f.Type == "res" {
		return f, event{}
	}
	var e event
	require.NoError(s.t, json.Unmarshal(data, &e))
	return frame{}, e
}

// call sends a request and returns its response.
func (s *socket) call(method string, params any) frame {
	s.t.Helper()
	s.next++
	id := method + string(rune('a'+s.next%26))
	b, err := json.Marshal(obj{"type": "req", "id": id, "method": method, "params": params})
	require.NoError(s.t, err)
	require.NoError(s.t, s.c.Write(s.t.Context(), websocket.MessageText, b))
	for {
		f, e := s.read()
		if f.Type == "" {
			s.events = append(s.events, e)
			continue
		}
		require.Equal(s.t, id, f.ID)
		return f
	}
}

// event returns the next event that is neither a tick nor a heartbeat.
func (s *socket) event() event {
	s.t.Helper()
	for {
		var e event
		if len(s.events) > 0 {
			e, s.events = s.events[0], s.events[1:]
		} else {
			_, e = s.read()
		}
		if e.Event != "tick" && e.Event != "run.heartbeat" {
			return e
		}
	}
}

// stream opens a run stream and returns currentSeq.
func (s *socket) stream(runID string, after any) int64 {
	s.t.Helper()
	params := obj{"runId": runID}
	if after != nil {
		params["afterSeq"] = after
	}
	f := s.call("streamRunEvents", params)
	require.True(s.t, f.OK, f.Error)
	var r struct{ CurrentSeq int64 }
	require.NoError(s.t, json.Unmarshal(f.Payload, &r))
	return r.CurrentSeq
}

// follow reads run.event frames of one run until one is named so, and checks that
// every seq follows the one before it.
func (s *socket) follow(runID string, after int64, until string) (names []string, last int64) {
	s.t.Helper()
	for last = after; ; {
		e := s.event()
		if e.Event != "run.event" || e.Payload["runId"] != runID {
			continue
		}
		last++
		require.Equal(s.t, float64(last), e.Payload["seq"], "each seq once, in order")
		name := e.Payload["event"].(string)
		names = append(names, name)
		if name == until {
			return names, last
		}
	}
}

// TestEndToEnd is the main job: launch over a socket, stream, disconnect, reconnect
// with afterSeq, restart the gateway on the same files, reconnect: nothing missing,
// nothing twice.
func TestEndToEnd(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir, nil, Site{})
	s := h.dial("op", "nothing-yet")
	require.Equal(t, []any{}, s.hello["snapshot"].(obj)["runs"])
	require.Equal(t, Version, s.hello["identity"].(obj)["version"])
	f := s.call("launchRun", obj{"workflow": "approve"})
	require.True(t, f.OK, f.Error)
	var l struct{ RunID string }
	require.NoError(t, json.Unmarshal(f.Payload, &l))
	s.stream(l.RunID, 0)
	names, last := s.follow(l.RunID, 0, "node.waiting_approval")
	require.Equal(t, []string{"node.pending", "node.started", "node.finished", "approval.requested", "node.waiting_approval"}, names)
	require.NoError(t, s.c.CloseNow())

	h.close()
	h = start(t, dir, nil, Site{})
	s = h.dial("op", l.RunID)
	snapshot := s.hello["snapshot"].(obj)
	require.Len(t, snapshot["runs"], 1)
	require.Len(t, snapshot["approvals"], 1)
	require.Equal(t, last, s.stream(l.RunID, last))
	require.True(t, s.call("submitApproval", obj{"runId": l.RunID, "nodeId": "gate", "approved": true}).OK)
	more, end := s.follow(l.RunID, last, "run.completed")
	require.Equal(t, []string{"approval.decided", "node.started", "node.finished", "run.completed"}, more)

	// Long finished, after another restart: the whole window from the log.
	h.close()
	h = start(t, dir, nil, Site{})
	s = h.dial("ro")
	require.Equal(t, end, s.stream(l.RunID, 0))
	all, _ := s.follow(l.RunID, 0, "run.completed")
	require.Equal(t, append(names, more...), all)

	f = s.call("streamRunEvents", obj{"runId": l.RunID, "afterSeq": end + 1})
	require.Equal(t, "SeqOutOfRange", f.Error["code"])
	f = s.call("streamRunEvents", obj{"runId": l.RunID, "afterSeq": nil})
	require.Equal(t, "afterSeq must be a non-negative integer", f.Error["message"])
	f = s.call("streamRunEvents", obj{"runId": "nope"})
	require.Equal(t, "RunNotFound", f.Error["code"])
	f = s.call("streamRunEvents", obj{})
	require.Equal(t, "InvalidRunId", f.Error["code"])
}

func TestGapResync(t *testing.T) {
	dir := t.TempDir()
	small := func(s *Settings) { s.EventWindow = 5 }
	h := start(t, dir, small, Site{})
	id := h.launch("many", nil)
	h.await(id, "finished")
	s := h.dial("op", id)
	current := s.stream(id, 1)
	e := s.event()
	require.Equal(t, "run.gap_resync", e.Event)
	require.Equal(t, 2.0, e.Payload["fromSeq"])
	require.Equal(t, float64(current-5), e.Payload["toSeq"])
	snapshot := e.Payload["snapshot"].(obj)
	require.Equal(t, "finished", snapshot["status"])
	require.Equal(t, "many", snapshot["workflowKey"])
	require.Contains(t, snapshot, "summary")
	require.Contains(t, snapshot, "runState")
	require.NotContains(t, snapshot, "system")
	require.NotContains(t, snapshot, "startedBy")
	_, last := s.follow(id, current-5, "run.completed")
	require.Equal(t, current, last)
}

// TestReloadKeepsSockets holds the promise that a reload drops no socket, no event
// and no run, while a revoked grant is cut.
func TestReloadKeepsSockets(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	s := h.dial("op")
	id := h.launch("approve", nil)
	s.stream(id, 0)
	_, last := s.follow(id, 0, "node.waiting_approval")
	gone := h.dial("ro")

	settings := testSettings(t, h.dir)
	settings.MaxConnections = 5
	settings.TokenStore += ".next"
	require.NoError(t, writeFile(settings.TokenStore, `{"version":2,"tokens":{"op":{"role":"operator","scopes":["*"],"userId":"alice"}}}`))
	require.NoError(t, h.gateway.Apply("next", settings))
	h.gateway.Withdraw("test")

	_, _, err := gone.c.Read(t.Context())
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
	require.True(t, s.call("submitApproval", obj{"runId": id, "nodeId": "gate", "approved": true}).OK)
	s.follow(id, last, "run.completed")
}

func TestCloseTellsSocketsToComeBack(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	s := h.dial("op")
	done := make(chan error, 1)
	go func() {
		_, _, err := s.c.Read(context.Background())
		done <- err
	}()
	closeNow(t, h.gateway)
	require.Equal(t, websocket.StatusServiceRestart, websocket.CloseStatus(<-done))
}

func TestHelloShowsNothingWithoutTheScope(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	h.await(h.launch("approve", nil), "waiting-approval")
	require.Len(t, h.dial("ro").hello["snapshot"].(obj)["approvals"], 1)
	snapshot := h.dial("approver").hello["snapshot"].(obj)
	require.Empty(t, snapshot["runs"])
	require.Empty(t, snapshot["approvals"])
}

func TestUpgradeTargets(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{Origins: []string{"https://app.example"}})
	url := "ws" + strings.TrimPrefix(h.server.URL, "http")
	c, res, err := websocket.Dial(t.Context(), url+"/any/target?x=1", nil)
	require.NoError(t, err)
	require.Equal(t, "v1", res.Header.Get("X-Smithers-API-Version"))
	require.NoError(t, c.CloseNow())
	for path, status := range map[string]int{"/v1/pty/hijack": 401} {
		_, res, err = websocket.Dial(t.Context(), url+path, nil)
		require.Error(t, err)
		require.Equal(t, status, res.StatusCode)
		require.Equal(t, "v1", res.Header.Get("X-Smithers-API-Version"))
	}
	res, body := h.do("GET", "/", "", "", "Connection", "Upgrade", "Upgrade", "websocket", "Origin", "https://evil.example")
	require.Equal(t, 403, res.StatusCode)
	require.Equal(t, "Origin or host is not allowed\n", string(body))
	require.Equal(t, "v1", res.Header.Get("X-Smithers-API-Version"))
}

// TestEventsTellNothingOfTheServer holds Q33 for what is pushed.
func TestEventsTellNothingOfTheServer(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("fail", nil)
	h.await(id, "failed")
	s := h.dial("op", id)
	s.stream(id, 0)
	for {
		e := s.event()
		b, err := json.Marshal(e.Payload)
		require.NoError(t, err)
		require.NotContains(t, string(b), "/home/me")
		require.NotContains(t, string(b), `"stack"`)
		if e.Payload["event"] == "run.completed" {
			return
		}
	}
}
