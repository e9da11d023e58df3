package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

type fixture struct {
	*Router
	store  *store.Store
	logs   *observer.ObservedLogs
	events []Observation
}

func newFixture(t testing.TB) *fixture {
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "db")})
	require.NoError(t, err)
	f := &fixture{store: st}
	core, logs := observer.New(zap.ErrorLevel)
	f.logs = logs
	fr := frames.NewService(frames.Deps{Store: st}, frames.Options{})
	f.Router = New(Deps{Engine: engine.New(engine.Options{Store: st}), Store: st, Frames: fr, Logger: zap.New(core),
		Observe: func(o Observation) { f.events = append(f.events, o) }})
	t.Cleanup(func() {
		f.Close()
		fr.Close()
		require.NoError(t, st.Close())
	})
	return f
}

func (f *fixture) call(method, params string, scopes ...string) (string, *wire.Error) {
	payload, err := f.Dispatch(context.Background(), &Call{Principal: &auth.Principal{Scopes: scopes}, Method: method,
		Params: json.RawMessage(params), Transport: TransportHTTP})
	return string(payload), err
}

func (f *fixture) insert(t testing.TB, run store.Run) {
	run.Input, run.CreatedBy = json.RawMessage("{}"), json.RawMessage("{}")
	if run.WorkflowKey == "" {
		run.WorkflowKey, run.WorkflowName = "w", "w"
	}
	if run.Config == nil {
		run.Config = json.RawMessage("{}")
	}
	require.NoError(t, f.store.Update(t.Context(), func(tx *store.Tx) error { return tx.InsertRun(&run) }))
}

// TestScopeComesFirst calls every method of the protocol without any scope: whatever
// the parameters, the answer names the scope and nothing is read.
func TestScopeComesFirst(t *testing.T) {
	f := newFixture(t)
	for _, m := range wire.Methods() {
		for _, name := range append([]string{m.Name}, m.Legacy...) {
			if m.Scope == "" {
				continue
			}
			_, err := f.call(name, `{"runId":5}`)
			require.NotNil(t, err, name)
			require.Equal(t, wire.CodeForbidden, err.Code, name)
			require.Equal(t, fmt.Sprintf("Missing required scope %s for %s", m.Scope, name), err.Message)
			require.Equal(t, m.Scope, err.Extra["requiredScope"])
			last := f.events[len(f.events)-1]
			require.Equal(t, m.Name, last.Method, "metrics count by the canonical name")
			require.Equal(t, wire.CodeForbidden, last.Code)
		}
	}
	_, err := f.Dispatch(t.Context(), &Call{Method: "health"})
	require.Equal(t, wire.CodeUnauthorized, err.Code)
}

// TestEveryMethodIsAnsweredHonestly holds that every method of the catalogue has a
// handler.
func TestEveryMethodIsAnsweredHonestly(t *testing.T) {
	f := newFixture(t)
	for _, m := range wire.Methods() {
		if m.WSOnly {
			continue
		}
		require.NotNil(t, f.handlers[m.Name], m.Name)
		if _, err := f.call(m.Name, `{}`, "*"); err != nil {
			require.NotEqual(t, wire.CodeMethodNotFound, err.Code, m.Name)
			require.NotEqual(t, wire.CodeServerError, err.Code, m.Name)
		}
	}
	for name := range f.handlers {
		require.True(t, wire.ResolveMethod(name).Known, name)
	}
}

func TestPanicsBecomeIncidents(t *testing.T) {
	f := newFixture(t)
	f.handlers[wire.MethodHealth] = func(context.Context, *Call, params) (any, error) { panic("secret detail") }
	_, err := f.call("health", "{}", "*")
	require.Equal(t, wire.CodeServerError, err.Code)
	require.NotContains(t, err.Message, "secret")
	id := err.Extra["incident"].(string)
	require.Contains(t, err.Message, id)
	logged := f.logs.TakeAll()
	require.Len(t, logged, 1)
	require.Equal(t, id, logged[0].ContextMap()["incident"])
	require.Contains(t, fmt.Sprint(logged[0].ContextMap()["error"]), "secret detail")
	require.Empty(t, f.slots, "the slot is given back")

	f.handlers[wire.MethodHealth] = func(context.Context, *Call, params) (any, error) { return nil, errors.New("secret detail") }
	_, err = f.call("health", "{}", "*")
	require.Equal(t, wire.CodeServerError, err.Code)
	require.NotContains(t, err.Message, "secret")

	f.handlers[wire.MethodHealth] = func(context.Context, *Call, params) (any, error) {
		return nil, fmt.Errorf("x: %w", store.ErrUnavailable)
	}
	_, err = f.call("health", "{}", "*")
	require.Equal(t, wire.CodeStorageUnavailable, err.Code)
	require.Equal(t, true, err.Extra["retryable"])
}

func TestBusy(t *testing.T) {
	f := newFixture(t)
	for range cap(f.slots) {
		f.slots <- struct{}{}
	}
	_, err := f.call("health", "{}", "*")
	require.Equal(t, wire.CodeUnavailable, err.Code)
	require.Equal(t, true, err.Extra["retryable"])
}

func TestRunStates(t *testing.T) {
	f := newFixture(t)
	for status, state := range map[string]string{wire.RunFinished: "succeeded", wire.RunContinued: "succeeded", wire.RunFailed: "failed",
		wire.RunCancelled: "cancelled", wire.RunPaused: "paused", wire.RunRunning: "running"} {
		f.insert(t, store.Run{RunID: status, Status: status, CreatedAtMs: 1, ContinuedTo: "next"})
		b, err := f.call("getRun", `{"runId":"`+status+`"}`, "run:read")
		require.Nil(t, err)
		var run struct {
			Summary  map[string]int
			RunState wire.RunState
		}
		require.NoError(t, json.Unmarshal([]byte(b), &run))
		require.Equal(t, state, run.RunState.State)
		require.Contains(t, b, `"summary":{}`)
	}
	// Q30: continued runs are not running.
	b, err := f.call("listRuns", `{"filter":{"status":"running"}}`, "run:read")
	require.Nil(t, err)
	require.Contains(t, b, `"runId":"running"`)
	require.NotContains(t, b, "continued")
}

func TestWaitingRunStates(t *testing.T) {
	f := newFixture(t)
	f.insert(t, store.Run{RunID: "t", Status: wire.RunWaitingTimer})
	f.insert(t, store.Run{RunID: "e", Status: wire.RunWaitingEvent})
	node := func(run string, n store.Node) {
		n.ArgsHash, n.Kind = "x", string(program.KindTimer)
		require.NoError(t, f.store.Update(t.Context(), func(tx *store.Tx) error { return tx.UpsertNode(run, &n) }))
	}
	node("t", store.Node{NodeID: "later", State: wire.NodeWaitingTimer, WakeAtMs: 5_000, Ordinal: 1})
	node("t", store.Node{NodeID: "soon", State: wire.NodeWaitingTimer, WakeAtMs: 4_000, Ordinal: 2})
	b, err := f.call("getRun", `{"runId":"t"}`, "run:read")
	require.Nil(t, err)
	require.Contains(t, b, `"blocked":{"kind":"timer","nodeId":"soon","wakeAt":"1970-01-01T00:00:04.000Z"}`)
	require.Contains(t, b, `"unhealthy":{"kind":"timer-overdue","wakeAt":"1970-01-01T00:00:04.000Z","overdueMs":`)
	b, err = f.call("getRun", `{"runId":"e"}`, "run:read")
	require.Nil(t, err)
	require.Contains(t, b, `"blocked":{"kind":"external-trigger"}`)
	node("e", store.Node{NodeID: "p", State: wire.NodePending})
	b, err = f.call("getRun", `{"runId":"e"}`, "run:read")
	require.Nil(t, err)
	require.Contains(t, b, `"blocked":{"kind":"approval-decided-resume-required","nodeId":"p"}`)
}

func TestSnapshotOfARunThatIsGone(t *testing.T) {
	f := newFixture(t)
	b, err := f.Snapshot(t.Context(), "nope")
	require.NoError(t, err)
	require.Equal(t, "null", string(b))
}

func TestScrub(t *testing.T) {
	var s scrubber
	for in, want := range map[string]string{
		"boom":                                   "boom",
		"cannot open /home/me/app/data.json: no": "cannot open data.json: no",
		"at file:///workspace/src/gateway.mjs:3": "at gateway.mjs:3",
		"GET /v1/users/5 failed":                 "GET /v1/users/5 failed",
		"https://example.com/tmp/x":              "https://example.com/tmp/x",
		`C:\Users\me\x.txt`:                      "x.txt",
		"(/root/.ssh/id_rsa)":                    "(id_rsa)",
	} {
		require.Equal(t, want, s.text(in))
	}
	deep := &program.Failure{Message: "top", Stack: "at /x", Details: map[string]any{"stack": "s", "p": []any{"/tmp/a/b"}, "n": 1.0}}
	deep.Cause = deep
	text := s.failureText(mustJSON(t, &program.Failure{Message: "m", Stack: "secret", Cause: &program.Failure{Message: "/tmp/a/b", Stack: "secret"}}))
	require.JSONEq(t, `{"name":"Error","message":"m","cause":{"name":"Error","message":"b"}}`, *text)
	w := s.failure(deep, 0)
	require.Equal(t, map[string]any{"p": []any{"b"}, "n": 1.0}, w.Details)
	require.Nil(t, s.failureText(nil))
	require.Nil(t, s.failureText(json.RawMessage("null")))
	require.Contains(t, *s.failureText(json.RawMessage("{")), "unreadable")
}

func mustJSON(t *testing.T, v any) json.RawMessage {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

func TestParams(t *testing.T) {
	p := parseParams(json.RawMessage(`{"s":"x","n":5,"t":true,"o":{"a":1},"e":"","z":null,"neg":-3}`))
	require.Equal(t, "x", p.str("s"))
	for _, wrong := range []string{"n", "t", "o", "z", "absent"} {
		require.Empty(t, p.str(wrong), wrong)
	}
	for _, wrong := range []string{"s", "n", "z", "absent"} {
		_, ok := p.boolean(wrong)
		require.False(t, ok, wrong)
		require.Nil(t, p.object(wrong))
	}
	f, ok := p.number("neg")
	require.True(t, ok)
	require.Equal(t, -3.0, f)
	_, ok = p.number("s")
	require.False(t, ok)
	require.NotNil(t, p.object("o"))
	for _, raw := range []string{"", "null", "[]", "5", `"x"`, "{"} {
		require.Empty(t, parseParams(json.RawMessage(raw)))
		require.NotPanics(t, func() { parseParams(json.RawMessage(raw)).object("a").str("b") })
	}
	require.Equal(t, []string{"b", "a"}, memberOrder(json.RawMessage(`{"b":{"x":[1]},"a":2}`)))
}

func TestDeclaredSchema(t *testing.T) {
	fields := declaredFields(json.RawMessage(`{"type":"object","required":["a"],"properties":{
		"a":{"type":"integer","description":"how many"},"b":{"type":["string","null"],"enum":["x",null]},"c":{},"d":{"type":"null"},"e":true}}`))
	require.Equal(t, []wire.OutputField{
		{Name: "a", Type: "number", Description: "how many"},
		{Name: "b", Type: "string", Optional: true, Nullable: true, Enum: json.RawMessage(`["x",null]`)},
		{Name: "c", Type: "unknown", Optional: true},
		{Name: "d", Type: "null", Optional: true, Nullable: true},
		{Name: "e", Type: "unknown", Optional: true},
	}, fields)
	require.Nil(t, declaredFields(json.RawMessage(`{"type":"string"}`)))
}

func FuzzDispatch(f *testing.F) {
	for _, m := range wire.Methods() {
		f.Add(m.Name, `{"runId":"x","nodeId":"n","iteration":0}`)
	}
	f.Add("listRuns", `{"filter":{"limit":"1e999","offset":1e300}}`)
	f.Add("launchRun", `{"workflow":"w","options":{"startedBy":{"prompt":"`+strings.Repeat("é", 9000)+`"}}}`)
	st, err := store.Open(context.Background(), store.Options{Path: filepath.Join(f.TempDir(), "db")})
	require.NoError(f, err)
	fr := frames.NewService(frames.Deps{Store: st}, frames.Options{})
	r := New(Deps{Engine: engine.New(engine.Options{Store: st}), Store: st, Frames: fr})
	f.Cleanup(func() { r.Close(); fr.Close(); st.Close() })
	f.Fuzz(func(t *testing.T, method, params string) {
		payload, werr := r.Dispatch(t.Context(), &Call{Principal: &auth.Principal{Scopes: []string{"*"}}, Method: method, Params: json.RawMessage(params)})
		if werr == nil && !json.Valid(payload) {
			t.Fatalf("%s answered %q", method, payload)
		}
		if werr != nil && werr.Extra["incident"] != nil {
			t.Fatalf("%s %s: %v", method, params, werr)
		}
	})
}
