package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func version(v string, fn workflow.Func) Definition {
	d := define("main", fn)
	d.Version = v
	return d
}

// newVersion registers a newer definition; the former ones can still be loaded.
func (h *house) newVersion(d Definition) {
	old := h.defs
	h.opts.Load = func(_ context.Context, version string) ([]Definition, error) { return old, nil }
	h.e.registry.mu.Lock()
	h.e.registry.load = h.opts.Load
	h.e.registry.mu.Unlock()
	h.defs = []Definition{d}
	h.e.SetWorkflows(h.defs)
}

func TestMoveParked(t *testing.T) {
	for name, settle := range map[string]func(h *house){
		"in memory":     func(*house) {},
		"out of memory": func(h *house) { h.idle() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, version("v1", waitForSignal(""))).open()
			h.launch("main", "r", nil)
			h.status("r", wire.RunWaitingEvent)
			settle(h)
			touched := false
			h.newVersion(version("v2", func(ctx wf) (any, error) {
				if _, err := waitForSignal("")(ctx); err != nil {
					return nil, err
				}
				return "newer", ctx.Task("more", func(workflow.Task) (any, error) { touched = true; return nil, nil }, nil)
			}))
			before := h.log("r")
			moved, err := h.e.Move(bg, "r", Actor{UserID: "ann", Remote: "127.0.0.1"})
			require.NoError(t, err)
			require.Equal(t, Moved{From: "v1", To: "v2", Status: wire.RunWaitingEvent}, moved)
			require.Equal(t, "v2", h.run("r").Version)
			require.False(t, touched)
			require.Equal(t, before, h.log("r"), "a move tells the run's log nothing")
			again, err := h.e.Move(bg, "r", Actor{})
			require.NoError(t, err)
			require.Equal(t, Moved{From: "v2", To: "v2", Status: wire.RunWaitingEvent}, again)
			require.NoError(t, h.st.View(bg, func(v *store.View) error {
				entries, err := v.Audit(store.AuditFilter{RunID: "r"})
				require.Equal(t, "move", entries[0].Action)
				require.Equal(t, "ann", entries[0].Actor)
				require.JSONEq(t, `{"workflow":"main","from":"v1","to":"v2"}`, string(entries[0].Detail))
				require.NotEqual(t, "move", entries[1].Action, "the second one did nothing")
				return err
			}))
			h.signal(Signal{Name: "deploy"})
			require.JSONEq(t, `"newer"`, h.finished("r"))
		})
	}
}

func TestMoveTakesUpWhatIsNew(t *testing.T) {
	// A node beyond the journal, beside the one that waits, is asked for at once.
	h := newHouse(t, version("v1", waitForSignal(""))).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingEvent)
	h.newVersion(version("v2", func(ctx wf) (any, error) {
		return nil, ctx.Parallel(0,
			func(ctx wf) error { return ctx.Signal("deploy", nil, workflow.SignalID("wait")) },
			func(ctx wf) error { return task(ctx, "beside") })
	}))
	_, err := h.e.Move(bg, "r", Actor{})
	require.NoError(t, err)
	h.nodeState("beside", 0, wire.NodeFinished)
	h.status("r", wire.RunWaitingEvent)
	h.signal(Signal{Name: "deploy"})
	h.finished("r")
}

func TestMovePaused(t *testing.T) {
	// The way out of a contradiction: a third version that fits the journal again.
	h := newHouse(t, version("v1", waitForSignal(""))).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingEvent)
	h.close()
	h.defs = []Definition{version("v1", func(ctx wf) (any, error) { return nil, task(ctx, "other") })}
	h.open()
	h.signal(Signal{Name: "deploy", Payload: []byte("1")})
	row := h.status("r", wire.RunPaused)
	require.Equal(t, program.CodeNonDeterministic, decodeFailure(row.Error).Code)
	h.newVersion(version("v3", waitForSignal("")))
	moved, err := h.e.Move(bg, "r", Actor{})
	require.NoError(t, err)
	require.Equal(t, Moved{From: "v1", To: "v3", Status: wire.RunPaused}, moved)
	h.idle()
	require.Equal(t, wire.RunPaused, h.run("r").Status, "a move does not resume")
	_, err = h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	require.Equal(t, "1", h.finished("r"))
}

func TestMoveQueued(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, version("v1", slow(b)))
	h.opts.MaxVMs = 1
	h.defs[0].Program = heavy{h.defs[0].Program}
	h.open()
	h.launch("main", "first", nil)
	<-b.started
	h.launch("main", "r", nil)
	_, err := h.e.Pause(bg, "r", Actor{})
	require.NoError(t, err)
	h.newVersion(version("v2", one))
	_, err = h.e.Move(bg, "r", Actor{})
	require.NoError(t, err)
	_, err = h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	close(b.release)
	require.JSONEq(t, `{"r":"done"}`, h.finished("r"))
	h.finished("first")
}

func TestMoveRefused(t *testing.T) {
	gated := func(ctx wf) (any, error) {
		if err := task(ctx, "a"); err != nil {
			return nil, err
		}
		_, err := ctx.Approval("gate", workflow.Approval{})
		return nil, err
	}
	aThen := func(next workflow.Func) workflow.Func {
		return func(ctx wf) (any, error) {
			if err := task(ctx, "a"); err != nil {
				return nil, err
			}
			return next(ctx)
		}
	}
	ref := func(kind any, id string) map[string]any {
		return map[string]any{"kind": kind, "nodeId": id, "iteration": 0}
	}
	for name, c := range map[string]struct {
		newest   workflow.Func
		message  string
		position any
		journal  any
		workflow any
	}{
		"kind": {func(ctx wf) (any, error) { return nil, ctx.Signal("a", nil) },
			`Run r cannot be moved: replay differs at position 0: the journal has task "a"`, int64(0), ref("task", "a"), ref(program.KindSignal, "a")},
		"another first": {func(ctx wf) (any, error) { return nil, task(ctx, "b") },
			`it asked for task "b" (iteration 0`, int64(1), ref("task", "a"), ref(program.KindTask, "b")},
		"another later": {aThen(func(ctx wf) (any, error) { return nil, task(ctx, "b") }),
			`the journal has approval "gate"`, int64(1), ref("approval", "gate"), ref(program.KindTask, "b")},
		"arguments": {aThen(func(ctx wf) (any, error) {
			_, err := ctx.Approval("gate", workflow.Approval{Mode: "rank"})
			return nil, err
		}), "the workflow asked for approval", int64(1), ref("approval", "gate"), ref(program.KindApproval, "gate")},
		"returns": {aThen(func(wf) (any, error) { return nil, nil }),
			"which the workflow has not asked for; it had returned", int64(1), ref("approval", "gate"), nil},
		"fails": {aThen(func(wf) (any, error) { return nil, errBoom }),
			"which the workflow has not asked for; it failed: kaboom", int64(1), ref("approval", "gate"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, version("v1", gated)).open()
			h.launch("main", "r", nil)
			h.status("r", wire.RunWaitingApproval)
			before := h.log("r")
			h.newVersion(version("v2", c.newest))
			_, err := h.e.Move(bg, "r", Actor{})
			requireCode(t, err, wire.CodeConflict, "")
			var w *wire.Error
			require.True(t, errors.As(err, &w))
			require.Contains(t, w.Message, c.message)
			require.Equal(t, c.position, w.Extra["position"])
			require.Equal(t, c.journal, w.Extra["journal"])
			require.Equal(t, c.workflow, w.Extra["workflow"])
			if c.position != nil {
				require.Equal(t, program.CodeNonDeterministic, w.Extra["reason"])
			}
			require.Equal(t, "v1", h.run("r").Version)
			require.Equal(t, before, h.log("r"))
			require.Empty(t, h.run("r").Error)
			require.NoError(t, h.e.Decide(bg, Decision{RunID: "r", NodeID: "gate", Approved: true}))
			h.finished("r") // on its own version
		})
	}
}

func TestMoveChecks(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, version("v1", slow(b))).open()
	move := func(id string) error { _, err := h.e.Move(bg, id, Actor{}); return err }
	requireCode(t, move("nope"), wire.CodeRunNotFound, "Run not found: nope")
	h.launch("main", "r", nil)
	<-b.started
	h.newVersion(version("v2", one))
	requireCode(t, move("r"), wire.CodeRunActive, "Run is currently executing — pause it before moving it")
	close(b.release)
	h.finished("r")
	requireCode(t, move("r"), wire.CodeRunNotActive, "")

	h.e.SetWorkflows([]Definition{version("v1", waitForSignal(""))})
	h.launch("main", "q", nil)
	h.status("q", wire.RunWaitingEvent)
	h.e.SetWorkflows(nil)
	requireCode(t, move("q"), wire.CodeNotFound, "Unknown workflow: main")

	h.e.SetWorkflows([]Definition{{Key: "main", Version: "v4", Program: &script{newErr: &program.Failure{Code: program.CodeMemoryLimit, Message: "too big"}}}})
	requireCode(t, move("q"), wire.CodeConflict, "Run q cannot be moved: WORKFLOW_MEMORY_LIMIT: too big")
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err := h.e.Move(ctx, "q", Actor{})
	requireCode(t, err, wire.CodeUnavailable, "")
	h.fault.SetAway(true)
	h.e.SetWorkflows([]Definition{version("v5", waitForSignal(""))})
	requireCode(t, move("q"), wire.CodeStorageUnavailable, "")
	h.fault.SetAway(false)
	h.close()
	e := New(Options{Store: h.fault})
	_, err = e.Move(bg, "q", Actor{})
	requireCode(t, err, wire.CodeUnavailable, "")
}

func TestMoveToWhatFails(t *testing.T) {
	h := newHouse(t, version("v1", waitForSignal(""))).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingEvent)
	h.newVersion(Definition{Key: "main", Version: "v2", Program: &script{start: program.Turn{
		Ops: []program.Op{program.Request{Ref: 1, Kind: program.KindSignal, Key: program.Key{NodeID: "wait"},
			Signal: &program.SignalOptions{Name: "deploy"}}},
		Done: &program.Outcome{Err: &program.Failure{Message: "kaboom"}},
	}}})
	_, err := h.e.Move(bg, "r", Actor{})
	requireCode(t, err, wire.CodeConflict, "Run r cannot be moved: it would fail at once: kaboom")
}

// Callers that go away leave no run behind that nobody takes up.
func TestMoveWithoutCaller(t *testing.T) {
	h := newHouse(t, version("v1", waitForSignal(""))).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingEvent)
	for i := range 20 {
		d := version(fmt.Sprint("w", i), waitForSignal(""))
		h.newVersion(d)
		ctx, cancel := context.WithCancel(bg)
		go cancel()
		_, _ = h.e.Move(ctx, "r", Actor{})
	}
	_, err := h.e.Move(bg, "r", Actor{})
	require.NoError(t, err)
	h.signal(Signal{Name: "deploy", Payload: []byte("2")})
	require.Equal(t, "2", h.finished("r"))
}

// A run that works between the dry replay and the unit is looked at again.
func TestMoveBesideASignal(t *testing.T) {
	h := newHouse(t, version("v1", func(ctx wf) (any, error) {
		for _, name := range []string{"one", "two"} {
			if err := ctx.Signal(name, nil); err != nil {
				return nil, err
			}
		}
		return nil, ctx.Signal("three", nil)
	})).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingEvent)
	replays := 0
	h.newVersion(Definition{Key: "main", Version: "v2", Program: counted{define("main", func(ctx wf) (any, error) {
		if err := ctx.Signal("one", nil); err != nil {
			return nil, err
		}
		return nil, ctx.Signal("never", nil) // contradicts a journal that has gone past "one"
	}).Program, func(context.Context) {
		if replays++; replays == 1 {
			h.signal(Signal{Name: "one"})
			h.until("it waits again", func(v *store.View) bool {
				n, err := v.Node("r", "two", 0)
				return err == nil && n.State == wire.NodeWaitingEvent
			})
			h.status("r", wire.RunWaitingEvent)
		}
	}}})
	_, err := h.e.Move(bg, "r", Actor{})
	requireCode(t, err, wire.CodeConflict, "")
	require.Equal(t, 2, replays)
	require.Equal(t, "v1", h.run("r").Version)
	h.signal(Signal{Name: "two"})
	h.nodeState("three", 0, wire.NodeWaitingEvent)
	h.signal(Signal{Name: "three"})
	h.finished("r")
}

// counted calls before each machine it makes.
type counted struct {
	program.Program
	before func(ctx context.Context)
}

func (c counted) New(ctx context.Context, env program.Env) (program.Machine, error) {
	c.before(ctx)
	return c.Program.New(ctx, env)
}

// Stop does not wait for a dry replay longer than its turn lasts.
func TestStopDuringMove(t *testing.T) {
	h := newHouse(t, version("v1", waitForSignal(""))).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingEvent)
	begun, stopped := make(chan struct{}), make(chan error, 1)
	h.newVersion(Definition{Key: "main", Version: "v2", Program: counted{define("main", waitForSignal("")).Program, func(ctx context.Context) {
		close(begun)
		<-ctx.Done()
	}}})
	go func() {
		<-begun
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		stopped <- h.e.Stop(ctx)
	}()
	_, err := h.e.Move(bg, "r", Actor{})
	requireCode(t, err, wire.CodeUnavailable, "")
	require.NoError(t, <-stopped)
	require.Equal(t, "v1", h.run("r").Version)
}
