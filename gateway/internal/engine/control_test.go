package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

var bg = context.Background()

func requireCode(t testing.TB, err error, code, message string) {
	t.Helper()
	var w *wire.Error
	require.True(t, errors.As(err, &w), "%v", err)
	require.Equal(t, code, w.Code, w.Message)
	if message != "" {
		require.Equal(t, message, w.Message)
	}
}

// blocker is a task body that runs until it is released.
type blocker struct {
	started chan struct{}
	release chan struct{}
}

func newBlocker() *blocker {
	return &blocker{started: make(chan struct{}, 16), release: make(chan struct{})}
}

func (b *blocker) run(t workflow.Task) (any, error) {
	b.started <- struct{}{}
	select {
	case <-b.release:
		return "released", nil
	case <-t.Done():
		return nil, context.Cause(t)
	}
}

func slow(b *blocker) workflow.Func {
	return func(ctx wf) (any, error) {
		if err := ctx.Task("one", b.run, nil); err != nil {
			return nil, err
		}
		return nil, task(ctx, "two")
	}
}

func TestLaunchChecks(t *testing.T) {
	h := newHouse(t, define("one", one)).open()
	launch := func(l Launch) error { _, err := h.e.Launch(bg, l); return err }
	negative := int64(-1)
	requireCode(t, launch(Launch{}), wire.CodeInvalidRequest, "workflow is required")
	requireCode(t, launch(Launch{Workflow: "x"}), wire.CodeNotFound, "Unknown workflow: x")
	for _, id := range []string{"UPPER", "a b", ".x", strings.Repeat("a", 65), "r:child:n:0"} {
		requireCode(t, launch(Launch{Workflow: "one", RunID: id}), wire.CodeInvalidRunID, "runId must match /^[a-z0-9_-][a-z0-9_.-]{0,63}$/.")
	}
	requireCode(t, launch(Launch{Workflow: "one", Config: LaunchConfig{MaxConcurrency: &negative}}), wire.CodeInvalidRequest, "")
	requireCode(t, launch(Launch{Workflow: "one", Input: []byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`)}), wire.CodeInvalidInput, "Gateway RPC input exceeds 1048576 bytes.")
	requireCode(t, launch(Launch{Workflow: "one", Input: []byte(`{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`)}),
		wire.CodeInvalidInput, "Gateway RPC input exceeds the maximum nesting depth of 32.")
	require.NoError(t, launch(Launch{Workflow: "one", Input: []byte(`{"a":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`)}))
	require.NoError(t, launch(Launch{Workflow: "one", RunID: "same", Input: []byte(`{"a":1,"b":2}`)}))
	require.NoError(t, launch(Launch{Workflow: "one", RunID: "same", Input: []byte(`{"b":2, "a":1}`)}), "identical: Q22")
	h.finished("same")
	requireCode(t, launch(Launch{Workflow: "one", RunID: "same"}), wire.CodeConflict, "")
	first, err := h.e.Launch(bg, Launch{Workflow: "one", IdempotencyKey: "k"})
	require.NoError(t, err)
	second, err := h.e.Launch(bg, Launch{Workflow: "one", IdempotencyKey: "k"})
	require.NoError(t, err)
	require.Equal(t, first.RunID, second.RunID, "Q24")
	require.True(t, second.Existing)
	_, err = h.e.Launch(bg, Launch{Workflow: "one", IdempotencyKey: "k", Input: []byte(`{"other":1}`)})
	requireCode(t, err, wire.CodeConflict, "")
	row := h.run("same")
	require.JSONEq(t, `{"gatewaySystem":false,"gatewayWorkflowKey":"one","gatewayTriggeredBy":"gateway","maxConcurrency":4,"rootDir":".",
		"allowNetwork":false,"maxOutputBytes":200000,"toolTimeoutMs":60000,
		"auth":{"triggeredBy":"gateway","scopes":[],"role":"","tokenId":null,"createdAt":"2026-11-18T11:06:40.000Z"},
		"__smithersDurability":{"version":2,"entryWorkflowHash":null}}`, string(row.Config))
}

func TestCancelRunning(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		return nil, ctx.Parallel(0, func(ctx wf) error { return ctx.Task("one", b.run, nil) },
			func(ctx wf) error { return ctx.Child("sub", "child", nil, nil) })
	}), define("child", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	<-b.started
	got, err := h.e.Cancel(bg, "r", Actor{UserID: "u"})
	require.NoError(t, err)
	require.Equal(t, CancelResult{Won: true, Status: "cancelled", TerminalStatus: "cancelled", Repaired: true}, got)
	require.Equal(t, wire.RunCancelled, h.run("r").Status)
	require.Equal(t, wire.RunCancelled, h.run("r:child:sub:0").Status, "cancel cascades")
	h.golden("cancel-running", h.run("r"))
	got, err = h.e.Cancel(bg, "r", Actor{})
	require.NoError(t, err)
	require.Equal(t, CancelResult{Status: "already-terminal", TerminalStatus: "cancelled"}, got)
	h.idle()
}

// idle waits until nothing of the engine is in memory.
func (h *house) idle() {
	h.t.Helper()
	h.until("memory is empty", func(*store.View) bool {
		h.clock.advance(time.Second)
		s := h.e.Stats()
		// A unit that was on its way when its run left gives its slots back a little later.
		return s.Live == 0 && s.Queued == 0 && s.Slots == 0
	})
}

func TestCancelParked(t *testing.T) {
	h := newHouse(t, define("main", gate(workflow.Approval{FailOnDeny: true})["main"])).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingApproval)
	h.idle()
	_, err := h.e.Cancel(bg, "r", Actor{})
	require.NoError(t, err)
	h.golden("cancel-parked", h.run("r"))
	err = h.e.Decide(bg, Decision{RunID: "r", NodeID: "gate", Approved: true})
	requireCode(t, err, wire.CodeAlreadyDecided, "Approval for gate has already been decided")
	_, err = h.e.Cancel(bg, "nope", Actor{})
	requireCode(t, err, wire.CodeRunNotFound, "Run not found")
}

func TestCancelChildFailsParent(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", func(ctx wf) (any, error) { return nil, ctx.Child("sub", "child", nil, nil) }), define("child", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	_, err := h.e.Cancel(bg, "r:child:sub:0", Actor{})
	require.NoError(t, err)
	row := h.status("r", wire.RunFailed)
	require.Contains(t, string(row.Error), "child run was cancelled")
	_, err = h.e.Cancel(bg, "r", Actor{})
	requireCode(t, err, wire.CodeRunNotActive, "Run is not currently active")
}

func TestPauseResume(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	status, err := h.e.Pause(bg, "r", Actor{})
	require.NoError(t, err)
	require.Equal(t, "pausing", status)
	require.Equal(t, wire.RunRunning, h.run("r").Status, "the attempt in flight goes on")
	close(b.release)
	h.status("r", wire.RunPaused)
	_, err = h.e.Pause(bg, "r", Actor{})
	requireCode(t, err, wire.CodeRunNotActive, "Run is not currently executing")
	h.idle()
	status, err = h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	require.Equal(t, "resume_requested", status)
	h.status("r", wire.RunFinished)
	h.golden("pause-resume", h.run("r"))
	status, err = h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	require.Equal(t, "already_terminal", status)
	_, err = h.e.Resume(bg, "nope", Actor{})
	requireCode(t, err, wire.CodeNotFound, "Run not found: nope")
}

func TestPauseWithdrawn(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	_, err := h.e.Pause(bg, "r", Actor{})
	require.NoError(t, err)
	_, err = h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	close(b.release)
	h.finished("r")
}

func TestDecideChecks(t *testing.T) {
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		_, err := ctx.Approval("gate", workflow.Approval{Mode: "select", Options: []workflow.Option{{Key: "a"}},
			AllowedUsers: []string{"alice"}, AllowedScopes: []string{"deploy"}})
		return nil, err
	})).open()
	alice := Actor{UserID: "alice", Scopes: []string{"deploy"}}
	decide := func(d Decision) error { return h.e.Decide(bg, d) }
	requireCode(t, decide(Decision{RunID: "r", NodeID: "gate"}), wire.CodeNotFound, "Run not found: r")
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingApproval)
	requireCode(t, decide(Decision{RunID: "r", NodeID: "nope"}), wire.CodeInvalidInput, "Node nope is not waiting for approval.")
	requireCode(t, decide(Decision{RunID: "r", NodeID: "gate", By: Actor{UserID: "bob"}}), wire.CodeForbidden, "User is not allowed to decide this approval")
	requireCode(t, decide(Decision{RunID: "r", NodeID: "gate", By: Actor{UserID: "alice"}}), wire.CodeForbidden, "Connection is missing required approval scope")
	requireCode(t, decide(Decision{RunID: "r", NodeID: "gate", Approved: true, By: alice}), wire.CodeInvalidRequest, "select approvals require decision.selected")
	requireCode(t, decide(Decision{RunID: "r", NodeID: "gate", Approved: true, By: alice, Value: []byte(`{"selected":"z"}`)}), wire.CodeInvalidRequest, "Unknown selection: z")
	require.NoError(t, decide(Decision{RunID: "r", NodeID: "gate", Approved: true, By: alice, Value: []byte(`{"selected":"a"}`), Note: "n"}))
	err := decide(Decision{RunID: "r", NodeID: "gate", Approved: true, By: alice, Value: []byte(`{"selected":"a"}`)})
	requireCode(t, err, wire.CodeAlreadyDecided, "Approval for gate has already been decided")
	var w *wire.Error
	require.True(t, errors.As(err, &w))
	require.Equal(t, map[string]any{"runId": "r", "nodeId": "gate", "iteration": 0, "status": "approved"}, w.Extra)
	h.finished("r")
}

func TestSignalResult(t *testing.T) {
	h := newHouse(t, define("one", one)).open()
	_, err := h.e.Signal(bg, Signal{RunID: "r", Name: "s"})
	requireCode(t, err, wire.CodeNotFound, "Run not found: r")
	_, err = h.e.Signal(bg, Signal{RunID: "r"})
	requireCode(t, err, wire.CodeInvalidRequest, "runId and signalName are required")
	h.launch("one", "r", nil)
	h.finished("r")
	got, err := h.e.Signal(bg, Signal{RunID: "r", CorrelationKey: " k "})
	require.NoError(t, err, "signals to ended runs are stored (Q18)")
	require.Equal(t, SignalResult{Seq: 0, Name: "k", CorrelationID: "k", ReceivedAtMs: h.clock.Now().UnixMilli()}, got)
}

func TestParkedRunsLeaveMemory(t *testing.T) {
	h := newHouse(t, define("main", waitForSignal(""))).open()
	for i := range 50 {
		h.launch("main", fmt.Sprint("r", i), nil)
	}
	h.status("r49", wire.RunWaitingEvent)
	h.idle()
	for i := range 50 {
		_, err := h.e.Signal(bg, Signal{RunID: fmt.Sprint("r", i), Name: "deploy", Payload: json.RawMessage(fmt.Sprint(i))})
		require.NoError(t, err)
	}
	for i := range 50 {
		require.Equal(t, fmt.Sprint(i), h.finished(fmt.Sprint("r", i)))
	}
}

func TestRestartFindsWhatHappened(t *testing.T) {
	// Timers, deadlines, decisions and signals fire for runs that were parked when the
	// process ended, without anybody touching the run.
	h := newHouse(t, define("timer", func(ctx wf) (any, error) { return nil, ctx.Sleep("t", time.Hour) }),
		define("deadline", waitForSignal("", workflow.SignalTimeout(time.Hour))),
		define("gate", gate(workflow.Approval{FailOnDeny: true})["main"])).open()
	for _, key := range []string{"timer", "deadline", "gate"} {
		h.launch(key, key, nil)
	}
	h.status("timer", wire.RunWaitingTimer)
	h.status("deadline", wire.RunWaitingEvent)
	h.status("gate", wire.RunWaitingApproval)
	h.close()
	h.clock.advance(time.Hour)
	h.open()
	h.status("timer", wire.RunFinished)
	h.status("deadline", wire.RunFailed)
	require.Equal(t, wire.RunWaitingApproval, h.run("gate").Status)
}

func TestManyChildren(t *testing.T) {
	n := 300
	if testing.Short() || raceEnabled {
		n = 60
	}
	h := newHouse(t, vmDefinition("main", func(ctx wf) (any, error) {
		if err := task(ctx, "before"); err != nil {
			return nil, err
		}
		return nil, ctx.Child("sub", "child", nil, nil)
	}), vmDefinition("child", one))
	h.opts.MaxVMs = 4
	h.open()
	most := 0
	for i := range n {
		h.launch("main", fmt.Sprint("r", i), nil)
		most = max(most, h.e.Stats().Slots)
	}
	h.until("all are finished", func(v *store.View) bool {
		most = max(most, h.e.Stats().Slots)
		counts, err := v.CountRuns()
		require.NoError(t, err)
		require.Zero(t, counts[wire.RunFailed])
		return counts[wire.RunFinished] == 2*n
	})
	require.LessOrEqual(t, most, 4*weightVM)
	h.idle()
}

func TestInterruptedThreeTimes(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", slow(b)))
	for cut := range 3 {
		h.open()
		h.launch("main", "r", nil)
		<-b.started
		if cut == 1 {
			h.close() // a drain
		} else {
			h.crash()
		}
	}
	h.open()
	row := h.status("r", wire.RunFailed)
	require.Contains(t, string(row.Error), program.CodeTaskInterrupted)
	h.golden("interrupted", row)
}

func TestCutDoesNotCountAgainstRetries(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	h.crash()
	close(b.release)
	h.open()
	h.finished("r")
}

func TestContradictionPauses(t *testing.T) {
	original := func(ctx wf) (any, error) {
		if err := task(ctx, "a"); err != nil {
			return nil, err
		}
		_, err := ctx.Approval("gate", workflow.Approval{})
		return nil, err
	}
	for name, changed := range map[string]struct {
		fn      workflow.Func
		message string
	}{
		"kind": {func(ctx wf) (any, error) { return nil, ctx.Signal("a", nil) },
			`replay differs at position 0: the journal has task "a"`},
		"instead": {func(ctx wf) (any, error) { return nil, task(ctx, "b") },
			`replay differs at position 1: the journal has task "a"`},
		"arguments": {func(ctx wf) (any, error) {
			if err := task(ctx, "a"); err != nil {
				return nil, err
			}
			_, err := ctx.Approval("gate", workflow.Approval{Mode: "rank"})
			return nil, err
		}, `replay differs at position 1: the journal has approval "gate"`},
		"missing": {func(ctx wf) (any, error) { return nil, task(ctx, "a") },
			`replay differs at position 1: the journal has approval "gate"`},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, define("main", original)).open()
			h.launch("main", "r", nil)
			h.status("r", wire.RunWaitingApproval)
			h.close()
			h.defs = []Definition{define("main", changed.fn)}
			h.open()
			require.NoError(t, h.e.Decide(bg, Decision{RunID: "r", NodeID: "gate", Approved: true}))
			row := h.status("r", wire.RunPaused)
			f := decodeFailure(row.Error)
			require.Equal(t, program.CodeNonDeterministic, f.Code)
			require.Contains(t, f.Message, changed.message)
			h.idle()
			h.close()
			// The fix brings it back.
			h.defs = []Definition{define("main", original)}
			h.open()
			_, err := h.e.Resume(bg, "r", Actor{})
			require.NoError(t, err)
			require.Empty(t, h.status("r", wire.RunFinished).Error)
		})
	}
}

func TestMissingVersionPauses(t *testing.T) {
	h := newHouse(t, define("main", waitForSignal("")))
	h.defs[0].Version = "v1"
	h.open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingEvent)
	h.close()
	old := h.defs[0]
	h.defs = []Definition{define("main", one)} // a newer version
	h.defs[0].Version = "v2"
	have := false
	h.opts.Load = func(_ context.Context, version string) ([]Definition, error) {
		if !have {
			return nil, fmt.Errorf("no bundle %s", version)
		}
		return []Definition{old}, nil
	}
	h.open()
	_, err := h.e.Signal(bg, Signal{RunID: "r", Name: "deploy"})
	require.NoError(t, err)
	row := h.status("r", wire.RunPaused)
	require.Contains(t, string(row.Error), codeVersionMissing)
	have = true
	h.idle()
	_, err = h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	require.JSONEq(t, "{}", h.finished("r"), "it ended on its own version")
}

func TestStorageOutage(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	h.fault.SetAway(true)
	close(b.release)
	_, err := h.e.Launch(bg, Launch{Workflow: "main"})
	requireCode(t, err, wire.CodeStorageUnavailable, "")
	_, err = h.e.Cancel(bg, "r", Actor{})
	requireCode(t, err, wire.CodeStorageUnavailable, "")
	h.clock.advance(time.Second)
	require.Equal(t, wire.RunRunning, h.run("r").Status)
	h.fault.SetAway(false)
	h.tickUntil(100*time.Millisecond, wire.RunFinished)
	h.golden("outage", h.run("r"))
}

func TestStopDuringOutage(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	h.fault.SetAway(true)
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.e.Stop(ctx), context.DeadlineExceeded)
	require.NoError(t, h.st.Close())
	close(b.release)
	h.open()
	h.finished("r")
}

func TestBackPressureAndTruncation(t *testing.T) {
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		return nil, ctx.Task("t", func(t workflow.Task) (any, error) {
			for i := range 3000 {
				t.Log(fmt.Sprint(i))
			}
			t.Log(strings.Repeat("\u2028x", 4000))
			return nil, nil
		}, nil)
	}))
	h.opts.MaxEventBytes = 2000
	h.open()
	h.launch("main", "r", nil)
	h.finished("r")
	lines := h.log("r")
	require.Len(t, lines, 3000+1+5)
	for _, l := range lines {
		require.LessOrEqual(t, len(l), 2100)
	}
	require.Contains(t, lines[3003], `"truncated":true`)
	require.Contains(t, lines[3002], `"output":"2999"`)
}

func TestNotStarted(t *testing.T) {
	e := New(Options{})
	e.SetWorkflows([]Definition{define("b", one), define("a", one)})
	require.Equal(t, "a", e.Workflows()[0].Key)
	_, err := e.Launch(bg, Launch{Workflow: "a"})
	requireCode(t, err, wire.CodeUnavailable, "")
}

func TestPanicOfAMachinePausesItsRun(t *testing.T) {
	h := newHouse(t, define("one", one), Definition{Key: "main", Program: &script{start: requests(taskRequest(1, "a")), attempt: endsAtOnce,
		settle: func(program.Settlement) (program.Turn, error) { panic("defect") }}}).open()
	h.launch("main", "r", nil)
	row := h.status("r", wire.RunPaused)
	require.Contains(t, string(row.Error), "internal error: defect")
	h.finished(h.launch("one", "", nil))
	h.idle()
}

func TestFarTimersLiveOnDisk(t *testing.T) {
	h := newHouse(t, define("main", func(ctx wf) (any, error) { return nil, ctx.Sleep("t", 24*time.Hour) })).open()
	for i := range 20 {
		h.launch("main", fmt.Sprint("r", i), nil)
	}
	h.status("r19", wire.RunWaitingTimer)
	h.idle()
	require.Zero(t, h.e.Stats().Wakes)
	h.clock.advance(24 * time.Hour)
	for i := range 20 {
		h.status(fmt.Sprint("r", i), wire.RunFinished)
	}
}

// What a task or a run returns is bounded: at the bound it is kept, beyond it is refused
// without another try.
func TestResultsAreBounded(t *testing.T) {
	const quotes = 2
	sized := func(n int) string { return strings.Repeat("x", n-quotes) }
	h := newHouse(t, define("task", func(ctx wf) (any, error) {
		return nil, ctx.Task("t", func(workflow.Task) (any, error) { return sized(maxValueBytes + 1), nil }, nil, workflow.Retries(3, 0))
	}), define("run", func(wf) (any, error) { return sized(maxValueBytes + 1), nil }), define("fits", func(ctx wf) (any, error) {
		return nil, ctx.Task("t", func(workflow.Task) (any, error) { return sized(maxValueBytes), nil }, nil)
	})).open()
	for workflow, what := range map[string]string{"task": "result of the task", "run": "result of the run"} {
		h.launch(workflow, workflow, nil)
		failed := string(h.status(workflow, wire.RunFailed).Error)
		require.Contains(t, failed, codeTooLarge)
		require.Contains(t, failed, fmt.Sprintf("the %s has %d bytes; at most %d are kept", what, maxValueBytes+1, maxValueBytes))
	}
	require.NoError(t, h.st.View(bg, func(v *store.View) error {
		attempts, err := v.Attempts("task", "t", 0)
		require.Len(t, attempts, 1, "another try would return as much")
		return err
	}))
	h.launch("fits", "fits", nil)
	h.finished("fits")
}
