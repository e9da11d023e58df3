// Package upstreamtest plays a Smithers gateway for tests: its RPC, its durable log and
// its socket, in the shapes that were recorded of the real one, with the faults that it
// has or may have: events pushed twice, pushed by another process (that is, not), lost
// with the connection, launches that are forgotten, answers that are slow or no
// answers, logs that are rewritten.
package upstreamtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// Fake is a Smithers gateway. Safe for concurrent use.
type Fake struct {
	t      testing.TB
	Socket string // path of its socket

	mu       sync.Mutex
	server   *httptest.Server
	started  int64
	runs     map[string]*Run
	order    []string
	flows    []map[string]any
	crons    []map[string]any
	sockets  map[*websocket.Conn]*sync.Mutex
	watching map[*websocket.Conn]string // runs whose frames it gets
	feed     *feed
	hands    bool // there may be a feed
	calls    []Call
	faults   Faults
	onCall   func(Call) (payload any, code string)
}

// Run is a run that a Fake has.
type Run struct {
	ID, Workflow, Status, Parent string
	CreatedAtMs                  int64
	System                       bool
	By                           string
	Owner                        string
	Log                          []map[string]any // seq, event, payload, timestampMs
	Frames                       []map[string]any // events of DevTools
	Approvals                    []map[string]any
}

// Call is a request that a Fake has got.
type Call struct {
	Method string // RPC name, or verb and path
	User   string
	Scopes string
	Role   string
	Bearer string
	Params json.RawMessage
	Header http.Header
}

// Faults is what goes wrong.
type Faults struct {
	Garbage    string        // answered to every request
	Status     int           // of Garbage; 0: 200
	Delay      time.Duration // before every answer
	Cut        bool          // connections are cut instead of answered
	Silent     bool          // nothing is pushed
	Twice      bool          // everything is pushed twice
	Withhold   int           // of so many lines of the feed one is left out; 0: none
	Forget     bool          // launches are answered and forgotten
	CutLaunch  bool          // launches are done, and the connection is cut
	RefuseRuns string        // error code for launches
	Mute       bool          // who asks for frames is not answered
	Early      bool          // frames come before the answer to who asks for them
	Tick       time.Duration // told to new sockets; nothing ticks. 0: not told
}

// New starts a fake with the workflows named.
func New(t testing.TB, workflows ...string) *Fake {
	dir, err := os.MkdirTemp("", "up") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := fake(t, workflows)
	f.Socket = filepath.Join(dir, "s")
	f.Start()
	t.Cleanup(f.Stop)
	return f
}

func fake(t testing.TB, workflows []string) *Fake {
	f := &Fake{t: t, runs: map[string]*Run{}, sockets: map[*websocket.Conn]*sync.Mutex{}, watching: map[*websocket.Conn]string{}}
	for _, key := range workflows {
		f.flows = append(f.flows, map[string]any{"key": key, "hasUi": false, "uiPath": nil, "system": strings.HasPrefix(key, "sys")})
	}
	return f
}

// URL names the fake as a Target does.
func (f *Fake) URL() string { return "unix/" + f.Socket }

// Start begins a process, with what the database of the one before holds.
func (f *Fake) Start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, err := net.Listen("unix", f.Socket)
	if err != nil {
		f.t.Fatal(err)
	}
	f.started++
	f.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(f.serve)}}
	f.server.Start()
}

// Stop ends the process with all of its connections.
func (f *Fake) Stop() {
	f.mu.Lock()
	server := f.server
	f.server = nil
	f.cutFeed()
	f.cutSockets()
	f.mu.Unlock()
	if server != nil {
		server.CloseClientConnections()
		server.Close()
	}
}

// CutSockets drops the sockets, the feed, and nothing else.
func (f *Fake) CutSockets() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutFeed()
	f.cutSockets()
}

// cutSockets ends the sockets. mu is held.
func (f *Fake) cutSockets() {
	for c := range f.sockets {
		_ = c.Close()
	}
	clear(f.sockets)
	clear(f.watching)
}

// Sockets counts the sockets that are connected.
func (f *Fake) Sockets() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sockets)
}

// Fail sets what goes wrong from now on.
func (f *Fake) Fail(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// OnCall sets who answers methods that the fake does not know. A code makes an error.
func (f *Fake) OnCall(fn func(Call) (payload any, code string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onCall = fn
}

// Calls returns the requests of one method, oldest first.
func (f *Fake) Calls(method string) (of []Call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c.Method == method {
			of = append(of, c)
		}
	}
	return of
}

// Put adds a run that the upstream has launched by itself.
func (f *Fake) Put(r *Run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(r)
}

// Later is Put for the function of OnCall.
func (f *Fake) Later(r *Run) { f.put(r) }

func (f *Fake) put(r *Run) {
	if r.CreatedAtMs == 0 {
		r.CreatedAtMs = time.Now().UnixMilli()
	}
	if r.Status == "" {
		r.Status = "running"
	}
	if f.runs[r.ID] == nil {
		f.order = append(f.order, r.ID)
	}
	f.runs[r.ID] = r
}

// Cron adds a schedule.
func (f *Fake) Cron(row map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crons = append(f.crons, row)
}

// Event appends an event to the log of a run and pushes it. Pairs are names and values
// of its payload; "at" is its time.
func (f *Fake) Event(runID, typ string, pairs ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.runs[runID]
	if r == nil {
		f.t.Errorf("the fake has no run %s", runID)
		return
	}
	at := time.Now().UnixMilli()
	payload := map[string]any{"type": typ, "runId": runID}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == "at" {
			at = pairs[i+1].(int64)
			continue
		}
		payload[pairs[i].(string)] = pairs[i+1]
	}
	payload["timestampMs"] = at
	seq := 0
	if n := len(r.Log); n > 0 {
		seq = r.Log[n-1]["seq"].(int) + 1
	}
	r.Log = append(r.Log, map[string]any{"runId": runID, "seq": seq, "event": typ, "payload": payload, "timestampMs": at})
	f.follow(r, typ, payload)
	f.handOver(r)
	f.push(map[string]any{"type": "event", "event": "whatever", "payload": map[string]any{"runId": runID}, "seq": 1, "stateVersion": 1})
}

// follow changes the row as the event says.
func (f *Fake) follow(r *Run, typ string, payload map[string]any) {
	switch typ {
	case "RunStarted":
		r.Status = "running"
	case "RunFinished":
		r.Status = "finished"
	case "RunFailed":
		r.Status = "failed"
	case "RunCancelled":
		r.Status = "cancelled"
	case "RunStatusChanged":
		r.Status = payload["status"].(string)
	case "ApprovalRequested":
		r.Approvals = append(r.Approvals, map[string]any{"runId": r.ID, "workflowKey": r.Workflow, "nodeId": payload["nodeId"],
			"iteration": payload["iteration"], "requestTitle": "T", "requestSummary": nil, "requestedAtMs": payload["timestampMs"],
			"approvalMode": "decision", "options": []any{}, "allowedScopes": []any{}, "allowedUsers": []any{}, "autoApprove": nil})
	case "ApprovalGranted", "ApprovalDenied":
		r.Approvals = nil
	}
}

// Rewrite changes the log of a run as it likes, without a push.
func (f *Fake) Rewrite(runID string, change func(log []map[string]any) []map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs[runID].Log = change(f.runs[runID].Log)
}

// Lose forgets a run, as a database does that was not written.
func (f *Fake) Lose(runID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.runs, runID)
	f.order = slices.DeleteFunc(f.order, func(id string) bool { return id == runID })
}

// push sends a frame to all sockets. mu is held.
func (f *Fake) push(frame map[string]any) {
	if f.faults.Silent {
		return
	}
	times := 1
	if f.faults.Twice {
		times = 2
	}
	for c, mu := range f.sockets {
		for range times {
			mu.Lock()
			_ = c.WriteJSON(frame) // a socket that has gone hears nothing
			mu.Unlock()
		}
	}
}

var upgrader = websocket.Upgrader{}

func (f *Fake) serve(w http.ResponseWriter, r *http.Request) {
	if websocket.IsWebSocketUpgrade(r) {
		f.socket(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	faults := f.faults
	f.mu.Unlock()
	if faults.Delay > 0 {
		select {
		case <-time.After(faults.Delay):
		case <-r.Context().Done():
			return
		}
	}
	health := r.URL.Path == "/health"
	switch {
	case faults.Cut && !health:
		panic(http.ErrAbortHandler)
	case faults.Garbage != "" && !health:
		if faults.Status != 0 {
			w.WriteHeader(faults.Status)
		}
		_, _ = io.WriteString(w, faults.Garbage)
		return
	}
	f.mu.Lock()
	status, answer := f.answer(r, body)
	f.mu.Unlock()
	if answer == nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// socket answers a connect and keeps the connection for pushes.
func (f *Fake) socket(w http.ResponseWriter, r *http.Request) {
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	mu := &sync.Mutex{}
	var greeting sync.WaitGroup
	greeting.Go(func() { // both sides speak first
		mu.Lock()
		defer mu.Unlock()
		_ = c.WriteJSON(map[string]any{"type": "event", "event": "connect.challenge", "payload": map[string]any{}, "seq": 1})
	})
	defer greeting.Wait()
	defer func() { _ = c.Close() }()
	for {
		var frame struct {
			ID, Method string
			Params     frameParams
		}
		if c.ReadJSON(&frame) != nil {
			f.mu.Lock()
			delete(f.sockets, c)
			delete(f.watching, c)
			f.mu.Unlock()
			return
		}
		f.mu.Lock()
		f.sockets[c] = mu
		mu.Lock()
		if frame.Method == "streamDevTools" {
			f.watchFrames(c, frame.ID, frame.Params)
			mu.Unlock()
			f.mu.Unlock()
			continue
		}
		hello := map[string]any{}
		if f.faults.Tick > 0 {
			hello["policy"] = map[string]any{"heartbeatMs": f.faults.Tick.Milliseconds()}
		}
		_ = c.WriteJSON(map[string]any{"type": "res", "id": frame.ID, "ok": true, "apiVersion": "v1", "payload": hello})
		mu.Unlock()
		f.mu.Unlock()
	}
}

// answer is the reply to a plain request; nil cuts the connection. mu is held.
func (f *Fake) answer(r *http.Request, body []byte) (int, any) {
	c := Call{Method: r.Method + " " + r.URL.Path, User: r.Header.Get("x-user-id"), Scopes: r.Header.Get("x-user-scopes"),
		Role: r.Header.Get("x-user-role"), Bearer: r.Header.Get("Authorization"), Params: body, Header: r.Header}
	if name, ok := strings.CutPrefix(r.URL.Path, "/v1/rpc/"); ok {
		c.Method = name
		var frame struct {
			Method string
			Params json.RawMessage
		}
		if json.Unmarshal(body, &frame) == nil && frame.Method != "" {
			c.Params = frame.Params
		}
		f.calls = append(f.calls, c)
		payload, code, message := f.call(c)
		switch {
		case code == "cut":
			return 0, nil
		case code != "":
			return 400, map[string]any{"type": "res", "id": "x", "ok": false, "apiVersion": "v1",
				"error": map[string]any{"version": "v1", "code": code, "message": message}}
		}
		return 200, map[string]any{"type": "res", "id": "x", "ok": true, "apiVersion": "v1", "payload": payload}
	}
	f.calls = append(f.calls, c)
	if r.URL.Path == "/health" {
		return 200, map[string]any{"ok": true, "protocol": 1, "identity": map[string]any{"startedAtMs": f.started}}
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v1/api/runs/"); ok && strings.HasSuffix(rest, "/events") {
		return f.log(strings.TrimSuffix(rest, "/events"), r)
	}
	if strings.HasPrefix(r.URL.Path, "/webhooks/") {
		return 200, map[string]any{"ok": true, "verified": true}
	}
	return 404, map[string]any{"error": map[string]any{"code": "NOT_FOUND", "message": "Route not found"}}
}

func (f *Fake) log(id string, r *http.Request) (int, any) {
	run := f.runs[id]
	if run == nil {
		return 404, map[string]any{"ok": false, "error": map[string]any{"code": "NOT_FOUND", "message": "Run not found: " + id}}
	}
	after, limit := -1, 100
	if s := r.URL.Query().Get("afterSeq"); s != "" {
		after, _ = strconv.Atoi(s)
	}
	if s := r.URL.Query().Get("limit"); s != "" {
		limit, _ = strconv.Atoi(s)
	}
	rows := []map[string]any{}
	for _, ev := range run.Log {
		if ev["seq"].(int) > after && len(rows) < limit {
			rows = append(rows, ev)
		}
	}
	return 200, map[string]any{"ok": true, "data": rows}
}

// call is one RPC.
func (f *Fake) call(c Call) (payload any, code, message string) {
	var p struct {
		RunID    string `json:"runId"`
		Workflow string `json:"workflow"`
		Filter   struct {
			Limit         int    `json:"limit"`
			Offset        int    `json:"offset"`
			Status        string `json:"status"`
			IncludeSystem bool   `json:"includeSystem"`
		} `json:"filter"`
	}
	if json.Unmarshal(c.Params, &p) != nil {
		return nil, "INVALID_INPUT", "not JSON"
	}
	switch c.Method {
	case "listWorkflows":
		return f.flows, "", ""
	case "launchRun":
		return f.launch(c, p.RunID, p.Workflow)
	case "getRun":
		if r := f.runs[p.RunID]; r != nil {
			return r.row(), "", ""
		}
		return nil, "NOT_FOUND", "Run not found: " + p.RunID
	case "listRuns":
		rows := []any{}
		for i := len(f.order) - 1; i >= 0; i-- {
			r := f.runs[f.order[i]]
			if r.System && !p.Filter.IncludeSystem || p.Filter.Status != "" && r.Status != p.Filter.Status {
				continue
			}
			rows = append(rows, r.row())
		}
		rows = rows[min(p.Filter.Offset, len(rows)):]
		return rows[:min(p.Filter.Limit, len(rows))], "", ""
	case "listApprovals":
		rows := []map[string]any{}
		for _, id := range f.order {
			rows = append(rows, f.runs[id].Approvals...)
		}
		return rows, "", ""
	case "cronList":
		return append([]map[string]any{}, f.crons...), "", ""
	}
	if f.onCall != nil {
		payload, code = f.onCall(c)
		return payload, code, "the fake refuses " + c.Method
	}
	return map[string]any{"method": c.Method}, "", ""
}

func (f *Fake) launch(c Call, id, workflow string) (payload any, code, message string) {
	if f.faults.RefuseRuns != "" {
		return nil, f.faults.RefuseRuns, "the fake launches nothing"
	}
	if !f.faults.Forget {
		f.put(&Run{ID: id, Workflow: workflow, By: c.User})
		if f.faults.CutLaunch {
			return nil, "cut", ""
		}
	}
	return map[string]any{"runId": id, "workflow": workflow, "system": false}, "", ""
}

// row is the run as Smithers shows it.
func (r *Run) row() map[string]any {
	var parent, owner, finished any
	if r.Parent != "" {
		parent = r.Parent
	}
	if r.Owner != "" {
		owner = r.Owner
	}
	switch r.Status {
	case "finished", "failed", "cancelled":
		finished = r.CreatedAtMs + 1
	}
	config, _ := json.Marshal(map[string]any{"gatewayTriggeredBy": r.By, "gatewayWorkflowKey": r.Workflow,
		"auth": map[string]any{"triggeredBy": r.By}})
	return map[string]any{"runId": r.ID, "parentRunId": parent, "workflowName": r.Workflow, "workflowKey": r.Workflow, "status": r.Status,
		"createdAtMs": r.CreatedAtMs, "startedAtMs": r.CreatedAtMs, "finishedAtMs": finished, "errorJson": nil, "configJson": string(config),
		"runtimeOwnerId": owner, "system": r.System, "summary": map[string]any{"from": 1},
		"runState": map[string]any{"runId": r.ID, "state": fmt.Sprint("fake-", r.Status)}}
}

// EndSilently gives the row of a run its last status and logs nothing, as a process does
// that is killed between the two.
func (f *Fake) EndSilently(runID, status string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs[runID].Status = status
}
