package engine

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

var errBroken = &program.Failure{Name: "Error", Code: program.CodeTimeLimit, Message: "the machine broke"}

func timed(ref int64, id string, ms int64) program.Request {
	r := taskRequest(ref, id)
	r.Task.TimeoutMs = ms
	return r
}

// A machine that breaks when an attempt is cut off ends its run; the node's own end,
// which would set the run to work again, must not follow in the same unit.
func TestBreakingWhileAnAttemptIsCutEndsTheRun(t *testing.T) {
	for _, drained := range []bool{false, true} {
		t.Run(fmt.Sprint("drained ", drained), func(t *testing.T) {
			begun := make(chan struct{}, 2)
			h := newHouse(t, Definition{Key: "main", Program: &script{
				start:   requests(timed(1, "a", 1000), timed(2, "b", 1000), timed(3, "c", 1000)),
				attempt: func(program.Attempt) (program.Turn, error) { begun <- struct{}{}; return program.Turn{}, nil },
				abort: func(ref int64) (program.Turn, error) {
					if ref == 2 {
						return program.Turn{}, errBroken
					}
					return program.Turn{}, nil
				},
			}}).open()
			h.launch("main", "r", nil)
			for range 3 {
				<-begun
			}
			if drained {
				require.NoError(t, h.e.Stop(bg))
			} else {
				h.until("the deadlines pass", func(*store.View) bool {
					h.clock.advance(time.Second)
					return h.run("r").Status != wire.RunRunning
				})
				h.idle()
			}
			row := h.run("r")
			require.Equal(t, wire.RunFailed, row.Status, "%s", row.Error)
			require.Equal(t, program.CodeTimeLimit, decodeFailure(row.Error).Code)
		})
	}
}

// block makes the run's goroutine wait until the returned function is called.
func (h *house) block(id string) (release func()) {
	h.e.mu.Lock()
	r := h.e.runs[id]
	h.e.mu.Unlock()
	entered, gate := make(chan struct{}), make(chan struct{})
	require.True(h.t, r.box.post(func() { close(entered); <-gate }))
	<-entered
	return func() { close(gate) }
}

// A resume that is heard together with the end of the stay in memory must not be lost.
func TestResumeBesideTheEndOfThePause(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	_, err := h.e.Pause(bg, "r", Actor{})
	require.NoError(t, err)
	hold, held := make(chan struct{}), make(chan struct{})
	units := 0
	h.fault.SetHook(func(*store.Tx) error {
		if units++; units == 2 { // the first ends the attempt, the second says paused
			close(held)
			<-hold
		}
		return nil
	})
	close(b.release)
	<-held
	release := h.block("r")
	close(hold)
	h.status("r", wire.RunPaused)
	_, err = h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	release()
	h.finished("r")
}

// What came while a pause was on its way is looked at when the pause is withdrawn.
func TestDecisionBesideWithdrawnPause(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		return nil, ctx.Parallel(0, func(ctx wf) error { return ctx.Task("one", b.run, nil) },
			func(ctx wf) error { _, err := ctx.Approval("gate", workflow.Approval{}); return err })
	})).open()
	h.launch("main", "r", nil)
	<-b.started
	_, err := h.e.Pause(bg, "r", Actor{})
	require.NoError(t, err)
	units := 0
	failed := make(chan struct{})
	h.fault.SetHook(func(*store.Tx) error {
		if units++; units == 2 {
			close(failed)
			return store.ErrUnavailable
		}
		return nil
	})
	due := h.clock.Due(firstRetry)
	close(b.release)
	<-failed
	h.retries(due)
	h.decide("gate", true, "")
	_, err = h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	h.block("r")() // whatever was posted has been heard
	h.clock.advance(firstRetry)
	require.Eventually(t, func() bool { return h.run("r").Status == wire.RunFinished }, time.Minute, time.Millisecond, "without any time passing")
}

// A pause that finds the run stored but not begun wins, even if its start is on its way.
func TestPauseBesideTheStartOfAQueuedRun(t *testing.T) {
	b := newBlocker()
	ran := make(chan struct{}, 10)
	h := newHouse(t, vmDefinition("main", func(ctx wf) (any, error) { ran <- struct{}{}; return nil, task(ctx, "a") }), vmDefinition("slow", slow(b)))
	h.opts.MaxVMs = 1
	h.open()
	h.launch("slow", "first", nil)
	<-b.started
	h.launch("main", "r", nil)
	failed := make(chan struct{})
	start := failed
	h.fault.SetHook(func(tx *store.Tx) error {
		first, err := tx.Run("first")
		if err == nil && first.Status == wire.RunFinished && failed != nil { // the next unit is the other's start
			close(failed)
			failed, err = nil, store.ErrUnavailable
		}
		return err
	})
	due := h.clock.Due(firstRetry)
	close(b.release)
	<-start
	h.retries(due)
	_, err := h.e.Pause(bg, "r", Actor{})
	require.NoError(t, err)
	require.Equal(t, wire.RunPaused, h.run("r").Status)
	h.clock.advance(firstRetry)
	h.idle()
	require.Equal(t, wire.RunPaused, h.run("r").Status)
	require.Empty(t, ran, "nothing of it has run")
	_, err = h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	h.finished("r")
	require.Len(t, ran, 1)
}

// Attempts keep their deadlines while a pause waits for them, and after it.
func TestDeadlinesDuringPause(t *testing.T) {
	for _, withdrawn := range []bool{false, true} {
		t.Run(fmt.Sprint("withdrawn ", withdrawn), func(t *testing.T) {
			begun := make(chan struct{})
			h := newHouse(t, define("main", func(ctx wf) (any, error) {
				return nil, ctx.Task("a", func(t workflow.Task) (any, error) { close(begun); return never(t) }, nil, workflow.Timeout(10*time.Second))
			})).open()
			h.launch("main", "r", nil)
			<-begun
			h.block("r")()
			_, err := h.e.Pause(bg, "r", Actor{})
			require.NoError(t, err)
			h.block("r")()
			if withdrawn {
				h.clock.advance(9 * time.Second)
				_, err := h.e.Resume(bg, "r", Actor{})
				require.NoError(t, err)
				h.block("r")()
				h.clock.advance(time.Second)
				h.status("r", wire.RunFailed)
				return
			}
			h.clock.advance(10 * time.Second)
			h.status("r", wire.RunPaused)
			h.nodeState("a", 0, wire.NodeFailed)
		})
	}
}

// Slots taken for a run that is then not stored are given back.
func TestSlotsOfRunsThatWereNotStored(t *testing.T) {
	gate, reached := make(chan struct{}), make(chan struct{}, 1)
	fns := map[string]workflow.Func{
		"child":    func(ctx wf) (any, error) { return nil, ctx.Child("sub", "other", nil, nil) },
		"continue": func(wf) (any, error) { return nil, workflow.ContinueAsNew(nil) },
	}
	for name, fn := range fns {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, vmDefinition("main", func(ctx wf) (any, error) {
				reached <- struct{}{}
				<-gate
				return fn(ctx)
			}), vmDefinition("other", one)).open()
			h.launch("main", "r", nil)
			<-reached
			_, err := h.e.Cancel(bg, "r", Actor{})
			require.NoError(t, err)
			gate <- struct{}{}
			h.idle()
			require.Equal(t, wire.RunCancelled, h.run("r").Status)
		})
	}
}

// retries waits until a unit that failed is about to be tried again: until then, no
// advance of the clock would do it. due is what was due before it failed.
func (h *house) retries(due int) {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return h.clock.Due(firstRetry) > due }, time.Minute, time.Millisecond)
}

// A timer asked for just before the next page of timers is read, and stored just
// after it, is not forgotten until the page after that.
func TestTimerBetweenTwoPages(t *testing.T) {
	b := newBlocker()
	gate, reached := make(chan struct{}), make(chan struct{})
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		close(reached)
		<-gate
		return nil, ctx.Parallel(0, func(ctx wf) error { return ctx.Task("one", b.run, nil) },
			func(ctx wf) error { return ctx.Sleep("nap", 5*time.Second) })
	})).open()
	h.launch("main", "r", nil)
	<-reached
	h.clock.advance(wakeWindow*time.Millisecond - time.Millisecond)
	first := true
	failed := make(chan struct{})
	h.fault.SetHook(func(*store.Tx) error {
		if first {
			first = false
			close(failed)
			return store.ErrUnavailable
		}
		return nil
	})
	due := h.clock.Due(firstRetry)
	close(gate)
	<-failed
	h.retries(due)
	h.clock.advance(time.Millisecond) // the page is read
	h.clock.advance(firstRetry)       // the timer is stored
	<-b.started
	h.block("r")()
	h.clock.advance(5 * time.Second)
	h.nodeState("nap", 0, wire.NodeFinished)
	close(b.release)
	h.finished("r")
}

// A machine that cannot be made for want of memory must not hold up the stop.
func TestStopWhileAMachineIsMade(t *testing.T) {
	making := make(chan struct{}, 2)
	s := &script{start: program.Turn{Done: &program.Outcome{}}}
	s.wait = func(ctx context.Context) error {
		making <- struct{}{}
		<-ctx.Done()
		return fmt.Errorf("no memory: %w", ctx.Err())
	}
	h := newHouse(t, Definition{Key: "main", Program: s}).open()
	h.launch("main", "r", nil)
	<-making
	stopped := make(chan error, 1)
	go func() { stopped <- h.e.Stop(bg) }()
	select {
	case err := <-stopped:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("Stop waits for ever")
	}
	require.NoError(t, h.st.Close())
	s.wait = nil
	h.open()
	h.finished("r")
}

// A run that was paused behind its back, as after a defect, does not go on.
func TestPausedRowEndsTheStayInMemory(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	require.NoError(t, h.st.Update(bg, func(tx *store.Tx) error {
		row, err := tx.Run("r")
		if err != nil {
			return err
		}
		row.Status = wire.RunPaused
		return tx.UpdateRun(row)
	}))
	close(b.release)
	h.idle()
	require.Equal(t, wire.RunPaused, h.run("r").Status)
	_, err := h.e.Resume(bg, "r", Actor{})
	require.NoError(t, err)
	<-b.started
	h.finished("r")
}

// A turn that says much hands it over as it goes: it is stored in order, and the
// machine is held back while too much of it awaits commit.
func TestHandOver(t *testing.T) {
	const parts, lines = 50, 100
	var env program.Env
	most := 0
	s := &script{start: requests(taskRequest(1, "a"))}
	h := newHouse(t, Definition{Key: "main", Program: s}).open()
	s.made = func(e program.Env) { env = e }
	s.attempt = func(a program.Attempt) (program.Turn, error) {
		h.e.mu.Lock()
		r := h.e.runs["r"]
		h.e.mu.Unlock()
		for p := range parts {
			var ops []program.Op
			for l := range lines {
				ops = append(ops, program.Output{Ref: 1, Number: 1, Stream: "stdout", Text: fmt.Sprint(p*lines + l)})
			}
			done := make(chan struct{}) // as from a worker that the call waits for
			go func() { env.HandOver(bg, ops); close(done) }()
			<-done
			r.out.mu.Lock()
			most = max(most, r.out.waiting)
			r.out.mu.Unlock()
		}
		return endsAtOnce(a)
	}
	h.launch("main", "r", nil)
	h.finished("r")
	require.LessOrEqual(t, most, maxUncommitted)
	log := h.log("r")
	require.Len(t, log, parts*lines+5)
	for i := range parts * lines {
		require.Contains(t, log[3+i], fmt.Sprintf(`"output":"%d"`, i))
	}
}

// A retry of a run that is in memory but has not been loaded is taken up by that stay,
// once.
func TestRetryOfARunThatWaitsForASlot(t *testing.T) {
	b := newBlocker()
	made := make(chan struct{}, 10)
	s := &script{start: requests(taskRequest(1, "a")), attempt: endsAtOnce, made: func(program.Env) { made <- struct{}{} }}
	h := newHouse(t, Definition{Key: "main", Program: s}, vmDefinition("slow", slow(b)))
	h.opts.MaxVMs = 1
	h.open()
	h.launch("main", "r", nil)
	h.finished("r")
	h.idle()
	<-made
	h.launch("slow", "other", nil)
	<-b.started
	h.e.wake("r", share{weight: weightVM}, nil)
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "a"})
	require.NoError(t, err)
	close(b.release)
	h.finished("r")
	h.idle()
	require.Len(t, made, 1)
}

// A pause that is stored while the run is about to leave memory is not left lying.
func TestPauseRequestedBesideParking(t *testing.T) {
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		return nil, ctx.Task("a", func(workflow.Task) (any, error) { return nil, errBoom }, nil,
			workflow.Retries(1, 24*time.Hour))
	})).open()
	h.launch("main", "r", nil)
	h.until("the first attempt has failed", func(v *store.View) bool {
		n, err := v.Node("r", "a", 0)
		return err == nil && n.Attempt == 1 && n.State == wire.NodePending
	})
	require.NoError(t, h.st.Update(bg, func(tx *store.Tx) error { // what Pause stores, before it tells the run
		row, err := tx.Run("r")
		if err != nil {
			return err
		}
		row.PauseRequestedMs = 1
		return tx.UpdateRun(row)
	}))
	h.tickUntil(defaultIdle, wire.RunPaused)
}
