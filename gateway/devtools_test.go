package gateway

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// viewer keeps the tree that a DevTools stream describes, as a client that shares no
// code with the server does.
type viewer struct {
	*socket
	id   string // of the stream
	root obj
	seq  float64
	seqs []float64
	kind []string
}

func (s *socket) watch(params obj) *viewer {
	s.t.Helper()
	f := s.call("streamDevTools", params)
	require.True(s.t, f.OK, f.Error)
	var opened obj
	require.NoError(s.t, json.Unmarshal(f.Payload, &opened))
	require.Len(s.t, opened, 4)
	require.Equal(s.t, params["runId"], opened["runId"])
	require.Equal(s.t, opened["fromSeq"], opened["afterSeq"])
	return &viewer{socket: s, id: opened["streamId"].(string), seq: -1}
}

// until reads the stream until done says so of the tree.
func (v *viewer) until(done func() bool) {
	v.t.Helper()
	for !done() {
		e := v.event()
		if e.Event != "devtools.event" || e.Payload["streamId"] != v.id {
			continue
		}
		v.apply(e.Payload["event"].(obj))
	}
}

func (v *viewer) apply(ev obj) {
	v.t.Helper()
	require.Equal(v.t, 1.0, ev["version"])
	kind := ev["kind"].(string)
	if kind == "snapshot" {
		s := ev["snapshot"].(obj)
		require.Equal(v.t, s["frameNo"], s["seq"])
		v.root, v.seq = s["root"].(obj), s["seq"].(float64)
	} else {
		d := ev["delta"].(obj)
		require.Equal(v.t, v.seq, d["baseSeq"])
		for _, op := range d["ops"].([]any) {
			v.do(op.(obj))
		}
		v.seq = d["seq"].(float64)
	}
	v.seqs, v.kind = append(v.seqs, v.seq), append(v.kind, kind)
}

func (v *viewer) do(op obj) {
	switch op["op"] {
	case "replaceRoot":
		v.root = op["node"].(obj)
	case "addNode":
		p, _ := find(v.root, nil, op["parentId"])
		children := p["children"].([]any)
		p["children"] = slices.Insert(slices.Clone(children), min(int(op["index"].(float64)), len(children)), op["node"])
	case "removeNode":
		n, p := find(v.root, nil, op["id"])
		p["children"] = slices.DeleteFunc(slices.Clone(p["children"].([]any)), func(c any) bool { return c.(obj)["id"] == n["id"] })
	case "updateProps":
		n, _ := find(v.root, nil, op["id"])
		n["props"] = op["props"]
	case "updateTask":
		n, _ := find(v.root, nil, op["id"])
		n["task"] = op["task"]
	default:
		require.Fail(v.t, "unknown op", "%v", op)
	}
}

func find(n, parent obj, id any) (found, above obj) {
	if n["id"] == id {
		return n, parent
	}
	for _, c := range n["children"].([]any) {
		if found, above := find(c.(obj), n, id); found != nil {
			return found, above
		}
	}
	return nil, nil
}

// state of a node of the tree; "" when there is none.
func (v *viewer) state(nodeID string) (state string) {
	var visit func(n obj)
	visit = func(n obj) {
		if task, ok := n["task"].(obj); ok && task["nodeId"] == nodeID {
			state = task["state"].(string)
		}
		for _, c := range n["children"].([]any) {
			visit(c.(obj))
		}
	}
	if v.root != nil {
		visit(v.root)
	}
	return state
}

func (h *harness) tree(runID string, frame any) obj {
	h.t.Helper()
	params := obj{"runId": runID}
	if frame != nil {
		params["frameNo"] = frame
	}
	var s obj
	h.call("getDevToolsSnapshot", params, &s)
	return s
}

func TestDevToolsStream(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	s := h.dial("op")
	id := h.launch("approve", nil)
	v := s.watch(obj{"runId": id})
	v.until(func() bool { return v.state("gate") == "waiting-approval" }) // at once, not with the next frame (Q32)
	require.Equal(t, "finished", v.state("build"))
	h.await(id, "waiting-approval")
	parked := h.tree(id, nil)
	require.Equal(t, parked["root"], v.root)
	require.Equal(t, "waiting-approval", parked["runState"].(obj)["state"])

	h.call("submitApproval", obj{"runId": id, "nodeId": "gate", "approved": true}, new(obj))
	h.await(id, "finished")
	last := h.tree(id, nil)
	v.until(func() bool { return v.seq == last["seq"] })
	require.Equal(t, last["root"], v.root)
	require.Equal(t, "snapshot", v.kind[0])
	require.NotContains(t, v.kind[1:], "snapshot")
	for i := range v.seqs[1:] {
		require.Equal(t, v.seqs[i]+1, v.seqs[i+1], "every frame, in order")
	}

	// A finished run is replayed from its first frame, with the states of then (Q32).
	again := s.watch(obj{"runId": id, "fromSeq": 1, "afterSeq": 1})
	for frame := 1.0; frame <= last["seq"].(float64); frame++ {
		again.until(func() bool { return again.seq == frame })
		require.Equal(t, h.tree(id, frame)["root"], again.root, "frame %v", frame)
	}
	// On a socket with a filter only what the filter names can be watched.
	other := h.dial("op", "x", id)
	w := other.watch(obj{"runId": id})
	w.until(func() bool { return w.seq == last["seq"] })
	refuse := func(s *socket, method string, params obj, code, message string) {
		f := s.call(method, params)
		require.False(t, f.OK)
		require.Equal(t, code, f.Error["code"])
		require.Equal(t, message, f.Error["message"])
	}
	const unsubscribed = "Connection is not subscribed to this runId."
	empty := h.dial("op", []string{}...) // subscribed to nothing, though events of all runs come (Q9)
	refuse(empty, "streamDevTools", obj{"runId": id}, "Unauthorized", unsubscribed)
	var launched obj
	require.NoError(t, json.Unmarshal(empty.call("launchRun", obj{"workflow": "static"}).Payload, &launched))
	own := empty.watch(obj{"runId": launched["runId"]})
	own.until(func() bool { return own.state("ship") == "finished" })
	refuse(h.dial("op", "x"), "streamDevTools", obj{"runId": id}, "Unauthorized", unsubscribed)
	refuse(h.dial("op", "x"), "getDevToolsSnapshot", obj{"runId": id}, "Unauthorized", unsubscribed)
	const shape = "runId must match /^[a-z0-9_-][a-z0-9_.-]{0,63}$/."
	for _, tt := range []struct {
		params        obj
		code, message string
	}{
		{obj{}, "InvalidRunId", "runId is required"},
		{obj{"runId": "BAD ID"}, "InvalidRunId", shape},
		{obj{"runId": "nope"}, "RunNotFound", "Run not found: nope"},
		{obj{"runId": id, "fromSeq": 1, "afterSeq": 2}, "SeqOutOfRange", "fromSeq and afterSeq must match when both are provided"},
		{obj{"runId": id, "afterSeq": 999}, "SeqOutOfRange", "fromSeq 999 is newer than current seq 8"},
		{obj{"runId": id, "afterSeq": -1}, "SeqOutOfRange", "fromSeq must be a non-negative integer."},
		{obj{"runId": id, "afterSeq": "1"}, "SeqOutOfRange", "fromSeq must be a non-negative integer."},
	} {
		refuse(s, "streamDevTools", tt.params, tt.code, tt.message)
	}
	for _, tt := range []struct {
		params        obj
		status        int
		code, message string
	}{
		{obj{}, 400, "InvalidRunId", "runId is required"},
		{obj{"runId": "x:y"}, 400, "InvalidRunId", shape},
		{obj{"runId": "nope"}, 404, "RunNotFound", "Run not found: nope"},
		{obj{"runId": id, "frameNo": 0}, 400, "FrameOutOfRange", "Frame 0 is not available for run " + id + "."},
		{obj{"runId": id, "frameNo": 99}, 400, "FrameOutOfRange", "frameNo must be between 0 and 8."},
		{obj{"runId": id, "frameNo": -1}, 400, "FrameOutOfRange", "frameNo must be an integer between 0 and 2147483647."},
		{obj{"runId": id, "frameNo": "1"}, 400, "FrameOutOfRange", "frameNo must be an integer between 0 and 2147483647."},
	} {
		h.refused("op", "getDevToolsSnapshot", tt.params, tt.status, tt.code, tt.message)
	}
	h.refused("rw", "getDevToolsSnapshot", obj{"runId": id}, 403, "FORBIDDEN", "Missing required scope observability:read for getDevToolsSnapshot")
	h.refused("op", "frames.get", obj{"runId": id, "frameNo": 99}, 404, "NOT_FOUND", "Frame not found")
	h.refused("op", "frames.get", obj{"runId": id, "frameNo": 0}, 400, "INVALID_INPUT", "frameNo must be a finite number greater than 0.")
	h.refused("op", "frames.list", obj{"runId": "nope"}, 404, "NOT_FOUND", "Run not found: nope")
	h.refused("op", "frames.list", obj{"runId": id, "afterFrameNo": 0}, 400, "INVALID_INPUT", "afterFrameNo must be a finite number greater than 0.")
}

// streams is how many are open, as the health report has it.
func (h *harness) streams(token string) float64 {
	h.t.Helper()
	var probe obj
	_, b := h.do("GET", "/health", token, "")
	require.NoError(h.t, json.Unmarshal(b, &probe))
	return probe["details"].(obj)["connections"].(obj)["streams"].(float64)
}

// A stream of frames ends with the grant that it was opened by, and gives back what it held.
func TestDevToolsStreamsEndWithTheGrant(t *testing.T) {
	tokens := func(op string) string {
		return `{"version":2,"tokens":{"op":{"role":"operator","scopes":["*"],"userId":"alice"` + op + `},"other":{"role":"operator","scopes":["*"]}}}`
	}
	h := start(t, t.TempDir(), func(s *Settings) { require.NoError(t, writeFile(s.TokenStore, tokens(""))) }, Site{})
	id := h.launch("sleep", nil)
	h.await(id, "waiting-timer")
	s, stays := h.dial("op"), h.dial("other")
	v := s.watch(obj{"runId": id})
	v.until(func() bool { return v.root != nil })
	w := stays.watch(obj{"runId": id})
	w.until(func() bool { return w.root != nil })
	require.Equal(t, 2.0, h.streams("other"))

	settings := testSettings(t, h.dir)
	require.NoError(t, writeFile(settings.TokenStore, tokens(`,"revokedAtMs":1000`)))
	var err error
	for err == nil { // a tick may come before
		_, _, err = s.c.Read(t.Context())
	}
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
	require.Eventually(t, func() bool { return h.streams("other") == 1 }, time.Minute, 5*time.Millisecond)
	require.True(t, stays.call("cancelRun", obj{"runId": id}).OK)
	w.until(func() bool { return w.state("cool") == "cancelled" })
}

// DevTools streams count with the others, end when the session may not observe any more,
// and go with their socket.
func TestDevToolsStreamsAreStreams(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("sleep", nil)
	h.await(id, "waiting-timer")
	s := h.dial("op")
	for range 7 {
		s.watch(obj{"runId": id})
	}
	s.stream(id, nil)
	f := s.call("streamDevTools", obj{"runId": id})
	require.Equal(t, "RateLimited", f.Error["code"])
	require.Equal(t, "connection", f.Error["scope"])
	require.Equal(t, 8.0, h.streams("op"))

	require.True(t, s.call("connect", obj{"minProtocol": 1, "maxProtocol": 1, "client": obj{"id": "test"}, "auth": obj{"token": "rw"}}).OK)
	for ended := 0; ended < 7; {
		if e := s.event(); e.Event == "devtools.error" {
			require.Equal(t, obj{"code": "FORBIDDEN", "message": "Missing required scope observability:read for streamDevTools"}, e.Payload["error"])
			ended++
		}
	}
	require.Equal(t, 1.0, h.streams("op"), "the stream of events stays")
	require.Equal(t, "FORBIDDEN", s.call("streamDevTools", obj{"runId": id}).Error["code"])
	s.c.CloseNow()
	require.Eventually(t, func() bool { return h.streams("op") == 0 }, time.Minute, 5*time.Millisecond)
}
