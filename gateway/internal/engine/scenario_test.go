package engine

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

var update = flag.Bool("update", false, "write the golden files")

type wf = workflow.Context

func ok(workflow.Task) (any, error) { return "ok", nil }

func task(ctx wf, id string, options ...workflow.TaskOption) error {
	return ctx.Task(id, ok, nil, options...)
}

var errBoom = errors.New("kaboom")

func boom(workflow.Task) (any, error) { return nil, errBoom }

// never waits for its context: the body of tasks that are cut off.
func never(t workflow.Task) (any, error) {
	<-t.Done()
	return nil, context.Cause(t)
}

type scenario struct {
	name  string
	runs  map[string]workflow.Func // by key; "main" is launched as run "r"
	drive func(h *house)           // nil: nothing to do
	end   string                   // status of the run; "": finished
	out   string                   // JSON of the output, "" not checked
}

func (h *house) decide(node string, approved bool, value string) {
	h.t.Helper()
	h.until(node+" waits", func(v *store.View) bool {
		n, err := v.Node("r", node, 0)
		return err == nil && n.State == wire.NodeWaitingApproval
	})
	d := Decision{RunID: "r", NodeID: node, Approved: approved, By: Actor{UserID: "alice", Scopes: []string{"*"}}}
	if value != "" {
		d.Value = json.RawMessage(value)
	}
	require.NoError(h.t, h.e.Decide(context.Background(), d))
}

func (h *house) signal(s Signal) {
	h.t.Helper()
	s.RunID = "r"
	_, err := h.e.Signal(context.Background(), s)
	require.NoError(h.t, err)
}

// tickUntil moves the clock in steps until the run has a status.
func (h *house) tickUntil(stepBy time.Duration, status string) {
	h.t.Helper()
	h.until("r is "+status, func(v *store.View) bool {
		row, err := v.Run("r")
		if err == nil && row.Status != status {
			h.clock.advance(stepBy)
		}
		return err == nil && row.Status == status
	})
}

func (h *house) nodeState(node string, iteration int, state string) {
	h.t.Helper()
	h.until(node+" is "+state, func(v *store.View) bool {
		n, err := v.Node("r", node, iteration)
		return err == nil && n.State == state
	})
}

func gate(a workflow.Approval) map[string]workflow.Func {
	return map[string]workflow.Func{"main": func(ctx wf) (any, error) {
		if err := task(ctx, "build"); err != nil {
			return nil, err
		}
		d, err := ctx.Approval("gate", a)
		if err != nil {
			return nil, err
		}
		d.DecidedAt = ""
		return d, task(ctx, "after")
	}}
}

func single(fn workflow.Func) map[string]workflow.Func { return map[string]workflow.Func{"main": fn} }

func scenarios() []scenario {
	options := []workflow.Option{{Key: "a", Label: "A", Summary: "first"}, {Key: "b", Label: "B"}}
	return []scenario{
		{name: "task", runs: single(func(ctx wf) (any, error) {
			var v string
			err := ctx.Task("ship", ok, &v)
			return v, err
		}), out: `"ok"`},
		{name: "retries", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("boom", boom, nil, workflow.Retries(2, 0))
		})},
		{name: "flaky", runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("maybe", func(t workflow.Task) (any, error) {
				if t.Attempt() == 1 {
					return nil, errBoom
				}
				return t.IdempotencyKey(), nil
			}, nil, workflow.Retries(3, 500*time.Millisecond))
		}), drive: func(h *house) {
			h.nodeState("maybe", 0, wire.NodePending)
			h.until("backoff", func(v *store.View) bool { n, _ := v.Node("r", "maybe", 0); return n.WakeAtMs != 0 })
			h.clock.advance(500 * time.Millisecond)
		}},
		{name: "permanent", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("boom", func(workflow.Task) (any, error) { return nil, workflow.Permanent(errBoom) }, nil, workflow.Retries(2, 0))
		})},
		{name: "tolerated", runs: single(func(ctx wf) (any, error) {
			if err := ctx.Task("bad", boom, nil, workflow.ContinueOnFail()); err != nil {
				return nil, err
			}
			return nil, task(ctx, "good")
		})},
		{name: "skip", runs: single(func(ctx wf) (any, error) {
			if err := task(ctx, "skipped", workflow.Skip(true)); err != nil {
				return nil, err
			}
			return nil, task(ctx, "end")
		})},
		{name: "panic", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("p", func(workflow.Task) (any, error) { panic("oh no") }, nil)
		})},
		{name: "timeout", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("t", never, nil, workflow.Timeout(300*time.Millisecond))
		}), drive: func(h *house) { h.tickUntil(50*time.Millisecond, wire.RunFailed) }},
		{name: "heartbeat-timeout", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("t", never, nil, workflow.HeartbeatTimeout(time.Second))
		}), drive: func(h *house) { h.tickUntil(100*time.Millisecond, wire.RunFailed) }},
		{name: "bad-output", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("t", ok, nil, workflow.OutputSchema(`{"type":"object"}`))
		})},
		{name: "good-output", runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("t", ok, nil, workflow.OutputSchema(`{"type":"string"}`))
		})},
		{name: "output", runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("t", func(t workflow.Task) (any, error) {
				t.Log("one")
				t.Heartbeat(map[string]int{"at": 1})
				t.Heartbeat(nil)
				t.Usage(workflow.Usage{Model: "m", Agent: "a", InputTokens: 10, OutputTokens: 5})
				t.Log("two")
				return nil, nil
			}, nil)
		})},
		{name: "approve", runs: gate(workflow.Approval{Title: "Ship it?", Summary: "please look"}),
			drive: func(h *house) { h.decide("gate", true, "") }, out: `{"approved":true,"decidedBy":"alice"}`},
		{name: "deny", runs: gate(workflow.Approval{Title: "Ship it?"}),
			drive: func(h *house) { h.decide("gate", false, "") }, out: `{"approved":false,"decidedBy":"alice"}`},
		{name: "deny-fail", end: wire.RunFailed, runs: gate(workflow.Approval{FailOnDeny: true}),
			drive: func(h *house) { h.decide("gate", false, "") }},
		{name: "select", runs: gate(workflow.Approval{Mode: "select", Options: options}),
			drive: func(h *house) { h.decide("gate", true, `{"selected":"b","notes":null}`) }, out: `{"approved":true,"decidedBy":"alice","selected":"b"}`},
		{name: "rank", runs: gate(workflow.Approval{Mode: "rank", Options: options}),
			drive: func(h *house) { h.decide("gate", true, `{"ranked":["b","a"]}`) }, out: `{"approved":true,"decidedBy":"alice","ranked":["b","a"]}`},
		{name: "auto-approve", runs: gate(workflow.Approval{AutoApprove: true}), out: `{"approved":true,"decidedBy":"auto"}`},
		{name: "approval-timeout", end: wire.RunFailed, runs: gate(workflow.Approval{Timeout: time.Minute}), drive: func(h *house) {
			h.status("r", wire.RunWaitingApproval)
			h.clock.advance(time.Minute)
		}},
		{name: "needs-approval", runs: single(func(ctx wf) (any, error) {
			return nil, task(ctx, "guarded", workflow.NeedsApproval(workflow.Approval{Title: "Run it?"}))
		}), drive: func(h *house) { h.decide("guarded", true, "") }},
		{name: "needs-approval-denied", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			return nil, task(ctx, "guarded", workflow.NeedsApproval(workflow.Approval{}))
		}), drive: func(h *house) { h.decide("guarded", false, "") }},
		{name: "signal", out: `{"body":"hello"}`, runs: single(waitForSignal("dep-1")), drive: func(h *house) {
			h.status("r", wire.RunWaitingEvent)
			h.signal(Signal{Name: "deploy", CorrelationID: "dep-2"})
			h.signal(Signal{Name: "deploy", CorrelationID: "dep-1", Payload: json.RawMessage(`{"body":"hello"}`)})
		}},
		{name: "signal-by-key", out: `{"n":1}`, runs: single(waitForSignal("dep-1")), drive: func(h *house) {
			h.status("r", wire.RunWaitingEvent)
			h.signal(Signal{CorrelationKey: "dep-1", Payload: json.RawMessage(`{"n":1}`)})
		}},
		{name: "signal-before-wait", out: `1`, runs: single(func(ctx wf) (any, error) {
			if _, err := ctx.Approval("first", workflow.Approval{}); err != nil {
				return nil, err
			}
			return waitForSignal("")(ctx)
		}), drive: func(h *house) {
			h.status("r", wire.RunWaitingApproval)
			h.signal(Signal{Name: "deploy", Payload: json.RawMessage("1")})
			h.signal(Signal{Name: "deploy", Payload: json.RawMessage("2")})
			h.decide("first", true, "")
		}},
		{name: "signal-timeout", end: wire.RunFailed, runs: single(waitForSignal("", workflow.SignalTimeout(time.Hour))), drive: func(h *house) {
			h.status("r", wire.RunWaitingEvent)
			h.clock.advance(time.Hour)
		}},
		{name: "signal-schema", end: wire.RunFailed, runs: single(waitForSignal("", workflow.SignalSchema(`{"type":"object"}`))), drive: func(h *house) {
			h.status("r", wire.RunWaitingEvent)
			h.signal(Signal{Name: "deploy", Payload: json.RawMessage("1")})
		}},
		{name: "timer", out: `3000`, runs: single(func(ctx wf) (any, error) {
			start := ctx.Now()
			if err := ctx.Sleep("cool", 3*time.Second); err != nil {
				return nil, err
			}
			passed := ctx.Now().Sub(start).Milliseconds()
			return passed, task(ctx, "after")
		}), drive: func(h *house) {
			h.status("r", wire.RunWaitingTimer)
			h.clock.advance(3 * time.Second)
		}},
		{name: "parallel", out: `["0","1","2"]`, runs: single(func(ctx wf) (any, error) {
			got := make([]string, 3)
			err := ctx.Parallel(1, arm(got, 0), arm(got, 1), arm(got, 2))
			return got, err
		})},
		{name: "parallel-failure", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Parallel(0,
				func(ctx wf) error { return ctx.Sleep("sleepy", time.Hour) },
				func(ctx wf) error { return ctx.Signal("nothing", nil) },
				func(ctx wf) error { _, err := ctx.Approval("nobody", workflow.Approval{}); return err },
				func(ctx wf) error { return ctx.Task("boom", boom, nil) },
			)
		})},
		{name: "loop", out: `3`, runs: single(func(ctx wf) (any, error) {
			n := 0
			err := ctx.Loop("lp", 10, func(ctx wf, i int) (bool, error) {
				n++
				return n < 3, task(ctx, "step")
			})
			return n, err
		})},
		{name: "child", out: `{"text":"hi"}`, runs: map[string]workflow.Func{
			"main": func(ctx wf) (any, error) {
				var out any
				if err := ctx.Child("sub", "child", map[string]string{"text": "hi"}, &out); err != nil {
					return nil, err
				}
				return out, task(ctx, "after")
			},
			"child": func(ctx wf) (any, error) {
				if err := task(ctx, "inner"); err != nil {
					return nil, err
				}
				return ctx.Info().Input, nil
			},
		}},
		{name: "child-failure", end: wire.RunFailed, runs: map[string]workflow.Func{
			"main":  func(ctx wf) (any, error) { return nil, ctx.Child("sub", "child", nil, nil) },
			"child": func(ctx wf) (any, error) { return nil, ctx.Task("boom", boom, nil) },
		}},
		{name: "child-unknown", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) { return nil, ctx.Child("sub", "nope", nil, nil) })},
		{name: "continue", end: wire.RunContinued, runs: single(func(ctx wf) (any, error) {
			var in struct{ N int }
			if err := ctx.Bind(&in); err != nil {
				return nil, err
			}
			if err := task(ctx, "batch"); err != nil || in.N > 0 {
				return in.N, err
			}
			return nil, workflow.ContinueAsNew(map[string]int{"N": 1})
		})},
		{name: "memory", out: `{"first":false,"second":42}`, runs: single(func(ctx wf) (any, error) {
			m := ctx.Memory("facts")
			var v int
			first, err := m.Get("k", &v)
			if err == nil {
				err = m.Set("k", 42)
			}
			if err == nil {
				_, err = m.Get("k", &v)
			}
			if err == nil {
				err = m.Delete("k")
			}
			if err == nil {
				err = ctx.Score(workflow.Score{Scorer: "s", Node: "t", Score: 0.5, Reason: "so"})
			}
			return map[string]any{"first": first, "second": v}, err
		})},
		{name: "leftovers", runs: single(func(ctx wf) (any, error) {
			// The first failure ends the function while two nodes are unfinished.
			_ = ctx.Parallel(0,
				func(ctx wf) error { return ctx.Sleep("sleepy", time.Hour) },
				func(ctx wf) error { return ctx.Task("boom", boom, nil) })
			return "survived", nil
		}), out: `"survived"`},
		{name: "duplicate", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			if err := task(ctx, "a"); err != nil {
				return nil, err
			}
			return nil, task(ctx, "a")
		})},
		{name: "workflow-panic", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) { panic("no way") })},
		{name: "wrong-goroutine", end: wire.RunFailed, runs: single(func(ctx wf) (any, error) {
			return nil, ctx.Task("t", func(workflow.Task) (any, error) { return nil, task(ctx, "inside") }, nil)
		})},
	}
}

func arm(got []string, i int) func(ctx wf) error {
	return func(ctx wf) error {
		id := string(rune('0' + i))
		return ctx.Task("p"+id, func(workflow.Task) (any, error) { return id, nil }, &got[i])
	}
}

func waitForSignal(correlation string, options ...workflow.SignalOption) workflow.Func {
	return func(ctx wf) (any, error) {
		var payload json.RawMessage
		if correlation != "" {
			options = append(options, workflow.CorrelationID(correlation))
		}
		if err := ctx.Signal("deploy", &payload, append(options, workflow.SignalID("wait"))...); err != nil {
			return nil, err
		}
		return payload, task(ctx, "after")
	}
}

func TestScenarios(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			h := newHouse(t)
			for key, fn := range s.runs {
				h.defs = append(h.defs, define(key, fn))
			}
			h.open()
			h.launch("main", "r", map[string]any{})
			if s.drive != nil {
				s.drive(h)
			}
			if s.end == "" {
				s.end = wire.RunFinished
			}
			row := h.status("r", s.end)
			if s.out != "" {
				require.JSONEq(t, s.out, string(row.Output))
			}
			h.golden(s.name, row)
		})
	}
}

// golden compares the log of the run, and of its children, with a file.
func (h *house) golden(name string, row *store.Run) {
	h.t.Helper()
	ids := []string{"r"}
	require.NoError(h.t, h.st.View(context.Background(), func(v *store.View) error {
		children, err := v.Children("r", 100)
		for _, c := range children {
			ids = append(ids, c.RunID)
		}
		return err
	}))
	var b strings.Builder
	for _, id := range ids {
		if id != "r" {
			h.until(id+" ends", func(v *store.View) bool { r, err := v.Run(id); return err == nil && wire.RunTerminal(r.Status) })
		}
		require.NoError(h.t, enginetest.CheckFrames(h.st, id))
		b.WriteString("# " + id + "\n" + strings.Join(h.log(id), "\n") + "\n")
	}
	text := b.String()
	if row.ContinuedTo != "" {
		text = strings.ReplaceAll(text, row.ContinuedTo, "<successor>")
	}
	require.NotContains(h.t, text, `"stack"`, "stacks never go on the wire (Q33)")
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		require.NoError(h.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(h.t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(h.t, err)
	require.Equal(h.t, string(want), text)
}
