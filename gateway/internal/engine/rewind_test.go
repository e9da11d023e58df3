package engine

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// cut reads a frame of run r.
func (h *house) cut(n int64) *frames.Cut {
	h.t.Helper()
	var c *frames.Cut
	require.NoError(h.t, h.st.View(bg, func(v *store.View) (err error) {
		c, err = frames.CutAt(v, "r", n)
		return err
	}))
	return c
}

func (h *house) latest() (n int64) {
	h.t.Helper()
	require.NoError(h.t, h.st.View(bg, func(v *store.View) (err error) {
		n, err = frames.Latest(v, "r")
		return err
	}))
	return n
}

func (h *house) rewind(frame int64) *wire.Rewound {
	h.t.Helper()
	res, err := h.e.Rewind(bg, Rewind{RunID: "r", FrameNo: frame, By: Actor{UserID: "u"}})
	require.NoError(h.t, err)
	return res
}

// sameFrame holds that a frame is what it was, whatever frames there are beyond.
func (h *house) sameFrame(was *frames.Cut) {
	h.t.Helper()
	now := h.cut(was.FrameNo)
	now.Latest = was.Latest
	require.Equal(h.t, was, now)
}

func (h *house) rewinds() (entries []rewindDetail) {
	h.t.Helper()
	require.NoError(h.t, h.st.View(bg, func(v *store.View) error {
		rows, err := v.Audit(store.AuditFilter{Action: auditRewind})
		for _, row := range slices.Backward(rows) {
			var d rewindDetail
			require.NoError(h.t, json.Unmarshal(row.Detail, &d))
			require.Equal(h.t, "r", row.RunID)
			entries = append(entries, d)
		}
		return err
	}))
	return entries
}

// A finished run goes on from each of its frames and comes to the same.
func TestRewindToEveryFrame(t *testing.T) {
	h, c := chainHouse(t)
	last := h.latest()
	require.Greater(t, last, int64(10))
	for n := last; n > 0; n-- {
		before, was := h.log("r"), h.cut(n)
		latest := h.latest()
		h.clock.advance(rewindWindow) // for the quota
		res := h.rewind(n)
		require.Equal(t, []int64{n, latest - n}, []int64{res.NewFrameNo, res.DeletedFrames})
		require.True(t, h.drive("r"))
		require.Equal(t, wire.RunFinished, h.run("r").Status, "frame %d: %s", n, h.run("r").Error)
		require.Equal(t, before, h.log("r")[:len(before)], "the log only grows")
		h.sameFrame(was)
		h.numbersAreWhole()
	}
	counts := c.snapshot()
	require.Equal(t, []int{counts["first"], counts["second"], counts["last"]}, h.outputOf("first", "second", "last"),
		"the outputs are those of the newest executions")
	require.EqualValues(t, last, h.run("r").Generation)
}

func (h *house) outputOf(names ...string) (values []int) {
	h.t.Helper()
	var out map[string]int
	require.NoError(h.t, json.Unmarshal(h.run("r").Output, &out))
	for _, name := range names {
		values = append(values, out[name])
	}
	return values
}

// numbersAreWhole holds that the log has every number once.
func (h *house) numbersAreWhole() {
	h.t.Helper()
	require.NoError(h.t, h.st.View(bg, func(v *store.View) error {
		events, err := v.EventsLog("r", -1, 100_000)
		seq := int64(0)
		for i, ev := range events {
			require.EqualValues(h.t, i, ev.LogSeq)
			if ev.Seq != 0 {
				seq++
				require.Equal(h.t, seq, ev.Seq)
			}
		}
		return err
	}))
}

// A frame between two tries of a task is the same however often the run goes back to it:
// the second time, what followed is no longer of the present, and a result of the task is
// in the archive.
func TestRewindTwiceBetweenTwoTries(t *testing.T) {
	tries := 0
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		return nil, ctx.Task("t", func(workflow.Task) (any, error) {
			if tries++; tries == 1 {
				return nil, errors.New("once")
			}
			return tries, nil
		}, nil, workflow.Retries(2, 0))
	})).open()
	h.launch("main", "r", nil)
	require.True(t, h.drive("r"))
	failed := int64(1)
	for h.cut(failed).Nodes == nil || h.cut(failed).Nodes[0].State != wire.NodeFailed {
		failed++
	}
	for n := range 3 {
		h.rewind(failed)
		require.True(t, h.drive("r"))
		require.Equal(t, wire.RunFinished, h.run("r").Status)
		require.Equal(t, 3+n, tries, "the task is tried again")
		require.NoError(t, enginetest.CheckFrames(h.st, "r"))
	}
}

// The frame that a task had settled at keeps its result, and what a later rewind left
// behind can be gone back to, as long as it is in the present.
func TestRewindRestoresWhatARetryReset(t *testing.T) {
	h, c := chainHouse(t)
	before := h.latest()
	was := h.cut(before)
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "second"})
	require.NoError(t, err)
	h.status("r", wire.RunWaitingApproval)
	h.decide("gate", true, "")
	require.JSONEq(t, `{"first":1,"second":2,"last":2}`, h.finished("r"))
	h.rewind(before)
	require.JSONEq(t, `{"first":1,"second":1,"last":1}`, h.finished("r"), "what the retry had reset is back")
	h.sameFrame(was)
	require.Equal(t, map[string]int{"first": 1, "second": 2, "last": 2}, c.snapshot(), "nothing ran again")
	require.Equal(t, []int{1, 2}, h.attempts("second"))
	_, err = h.e.Signal(bg, Signal{RunID: "r", Name: "go"})
	require.NoError(t, err)
	_, err = h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "last"})
	require.NoError(t, err)
	require.JSONEq(t, `{"first":1,"second":1,"last":3}`, h.finished("r"))
	require.Equal(t, []int{1, 2, 3}, h.attempts("last"), "attempts go on counting")
}

func TestRewindKeepsWhatARetryKept(t *testing.T) {
	h, c := chainHouse(t)
	retried := h.latest() + 1
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "first", KeepDependents: true})
	require.NoError(t, err)
	require.JSONEq(t, `{"first":2,"second":1,"last":1}`, h.finished("r"))
	for n := h.latest(); n > retried && h.cut(n).Nodes[0].State == wire.NodeFinished; n-- {
		h.rewind(n)
		require.JSONEq(t, `{"first":2,"second":1,"last":1}`, h.finished("r"))
	}
	require.Equal(t, map[string]int{"first": 2, "second": 1, "last": 1}, c.snapshot())
}

func TestRewindOfParkedRun(t *testing.T) {
	c := newCounter()
	h := newHouse(t, define("main", chain(c)), define("child", one)).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingApproval)
	h.rewind(1)
	h.until("the gate asks again", func(v *store.View) bool {
		open, err := v.Approvals(store.ApprovalFilter{RunID: "r"})
		return err == nil && len(open) == 1 && c.snapshot()["second"] == 2
	})
	h.decide("gate", true, "")
	h.status("r", wire.RunWaitingEvent)
	n := h.latest()
	h.signal(Signal{RunID: "r", Name: "go"})
	require.JSONEq(t, `{"first":2,"second":2,"last":1}`, h.finished("r"))
	h.rewind(n)
	require.JSONEq(t, `{"first":2,"second":2,"last":2}`, h.finished("r"), "the signal is consumed again")
}

// Attempts in flight are stopped and awaited first.
func TestRewindOfWorkingRun(t *testing.T) {
	begun, stopped := make(chan int, 10), make(chan struct{})
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		if err := ctx.Task("first", func(workflow.Task) (any, error) { return 1, nil }, nil); err != nil {
			return nil, err
		}
		return nil, ctx.Task("slow", func(t workflow.Task) (any, error) {
			begun <- t.Attempt()
			if t.Attempt() == 1 {
				<-t.Done()
				close(stopped)
				return nil, t.Err()
			}
			return "done", nil
		}, nil)
	})).open()
	h.launch("main", "r", nil)
	require.Equal(t, 1, <-begun)
	res := h.rewind(3)
	<-stopped
	require.Equal(t, 2, <-begun)
	h.finished("r")
	require.EqualValues(t, 3, res.NewFrameNo)
	require.EqualValues(t, 1, res.DeletedAttempts)
}

// What does not stop is not rewound, and goes on.
func TestRewindRefusesALiveTask(t *testing.T) {
	begun, leave := make(chan struct{}, 10), make(chan struct{})
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		return nil, ctx.Task("deaf", func(workflow.Task) (any, error) {
			begun <- struct{}{}
			<-leave
			return nil, nil
		}, nil)
	})).open()
	h.launch("main", "r", nil)
	<-begun
	refused := make(chan error)
	go func() {
		_, err := h.e.Rewind(bg, Rewind{RunID: "r", FrameNo: 1})
		refused <- err
	}()
	var err error
	require.Eventually(t, func() bool {
		h.clock.advance(time.Second)
		select {
		case err = <-refused:
			return true
		default:
			return false
		}
	}, time.Minute, time.Millisecond)
	require.EqualError(t, err, "RewindFailed: Run r did not stop within 10s of abort; refusing to rewind a live task.")
	close(leave)
	h.finished("r")
	require.Empty(t, begun, "its result counts")
	require.Equal(t, []rewindDetail{{FrameNo: 1, Outcome: "RewindFailed", Counted: true}}, h.rewinds())
}

func TestRewindRefusals(t *testing.T) {
	h, _ := chainHouse(t)
	n := h.latest()
	refuse := func(w Rewind, want string) {
		t.Helper()
		if w.RunID == "" {
			w.RunID = "r"
		}
		_, err := h.e.Rewind(bg, w)
		require.ErrorContains(t, err, want)
	}
	refuse(Rewind{FrameNo: n + 1}, "FrameOutOfRange: frameNo must be between 0 and ")
	refuse(Rewind{FrameNo: 0}, "FrameOutOfRange: Frame 0 does not exist for run r.")
	require.Len(t, h.rewinds(), 2)
	for range wire.MaxRewinds {
		h.rewind(n)
		h.finished("r")
	}
	refuse(Rewind{FrameNo: n, By: Actor{UserID: "u"}}, "RateLimited: Rewind quota exceeded for r; max 10 per 60m.")
	require.Len(t, h.rewinds(), 13)
	_, err := h.e.Rewind(bg, Rewind{RunID: "r", FrameNo: n, By: Actor{UserID: "another"}})
	require.NoError(t, err, "others have quotas of their own")
	h.finished("r")
	h.clock.advance(rewindWindow)
	h.rewind(n)
	h.finished("r")

	require.True(t, h.e.enterRewind("r"))
	refuse(Rewind{FrameNo: n}, "Busy: Another jumpToFrame is already running for r.")
	h.e.leaveRewind("r")
}

func TestRewindOfAQueuedRun(t *testing.T) {
	c := newCounter()
	h := newHouse(t, define("main", chain(c)), define("child", one))
	h.open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingApproval)
	h.idle()
	h.e.mu.Lock()
	h.e.halted["r"] = struct{}{} // as if another had
	h.e.mu.Unlock()
	h.e.wake("r", share{weight: 1}, nil)
	h.e.mu.Lock()
	require.Empty(t, h.e.runs)
	delete(h.e.halted, "r")
	h.e.mu.Unlock()
	h.rewind(2)
	h.status("r", wire.RunWaitingApproval)
}

func effects(idempotent bool) Definition {
	return define("main", func(ctx wf) (any, error) {
		if err := ctx.Task("first", func(workflow.Task) (any, error) { return nil, nil }, nil); err != nil {
			return nil, err
		}
		if err := ctx.Task("pay", func(workflow.Task) (any, error) { return nil, nil }, nil,
			workflow.SideEffect(workflow.Effect{Name: "invoice", Idempotent: idempotent})); err != nil {
			return nil, err
		}
		return nil, ctx.Child("sub", "child", nil, nil)
	})
}

func TestSideEffectsBlockRewinds(t *testing.T) {
	child := define("child", func(ctx wf) (any, error) {
		return nil, ctx.Task("mail", func(workflow.Task) (any, error) { return nil, nil }, nil, workflow.SideEffect(workflow.Effect{}))
	})
	h := newHouse(t, effects(false), child).open()
	h.launch("main", "r", nil)
	h.finished("r")
	_, err := h.e.Rewind(bg, Rewind{RunID: "r", FrameNo: 3})
	require.EqualError(t, err, "TIME_TRAVEL_SIDE_EFFECT_BLOCKED: Rewinding run r to frame 3 would repeat the side effects of pay, mail; pass force: true to do so.")
	var we *wire.Error
	require.ErrorAs(t, err, &we)
	report := we.Extra["details"].(*wire.EffectBoundary)
	require.Equal(t, []wire.CrossedEffect{
		{Kind: "task", ToolName: "invoice", NodeID: "pay", Attempt: 1, Seq: report.Blocking[0].Seq, EffectStatus: "succeeded",
			StartedAtMs: report.Blocking[0].StartedAtMs, Reason: "the task would be done again"},
		{Kind: "task", RunID: "r:child:sub:0", ToolName: "mail", NodeID: "mail", Attempt: 1, EffectStatus: "succeeded",
			StartedAtMs: report.Blocking[1].StartedAtMs, Reason: "the task would be done again"},
	}, report.Blocking)
	require.Equal(t, wire.RunFinished, h.run("r").Status)

	// From behind both of them nothing is repeated.
	h.rewind(h.latest())
	h.finished("r")
	require.NotContains(t, h.log("r")[len(h.log("r"))-4:], "SideEffectBoundaryCrossed")

	res, err := h.e.Rewind(bg, Rewind{RunID: "r", FrameNo: 3, Force: true})
	require.NoError(t, err)
	require.Len(t, res.EffectBoundary.Blocking, 2)
	h.finished("r")
	crossed := slices.IndexFunc(h.log("r"), func(line string) bool {
		return len(line) > 25 && line[:25] == "SideEffectBoundaryCrossed"
	})
	require.Positive(t, crossed)
	require.Contains(t, h.log("r")[crossed], `"operation":"rewind","report":{"blocking":[{"kind":"task","toolName":"invoice"`)
	require.Contains(t, h.log("r")[crossed+1], `TimeTravelJumped run.time_travel_jumped {"runId":"r","fromFrameNo":`)
}

func TestIdempotentSideEffectsWarn(t *testing.T) {
	h := newHouse(t, effects(true), define("child", one)).open()
	h.launch("main", "r", nil)
	h.finished("r")
	res := h.rewind(1)
	require.Empty(t, res.EffectBoundary.Blocking)
	require.Len(t, res.EffectBoundary.Warnings, 1)
	require.True(t, res.EffectBoundary.Warnings[0].Idempotent)
	h.finished("r")
}

// However much there is to warn of, what blocks does.
func TestWarningsDoNotHideWhatBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand tasks")
	}
	none := func(workflow.Task) (any, error) { return nil, nil }
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		err := ctx.Loop("l", maxCrossed+1, func(ctx wf, i int) (bool, error) {
			return i < maxCrossed, ctx.Task("note", none, nil, workflow.SideEffect(workflow.Effect{Idempotent: true}))
		})
		if err != nil {
			return nil, err
		}
		return nil, ctx.Task("pay", none, nil, workflow.SideEffect(workflow.Effect{}))
	})).open()
	h.launch("main", "r", nil)
	h.finished("r")
	_, err := h.e.Rewind(bg, Rewind{RunID: "r", FrameNo: 1})
	require.ErrorContains(t, err, "would repeat the side effects of pay;")
}

// A child run that a retry has launched counts as well as the one before it.
func TestSideEffectsOfEveryChildRunBlock(t *testing.T) {
	c := newCounter()
	child := define("child", func(ctx wf) (any, error) {
		if err := ctx.Task("check", func(workflow.Task) (any, error) {
			if c.hit("check"); c.snapshot()["check"] == 1 {
				return nil, errors.New("not yet")
			}
			return nil, nil
		}, nil); err != nil {
			return nil, err
		}
		return nil, ctx.Task("mail", func(workflow.Task) (any, error) { return nil, nil }, nil, workflow.SideEffect(workflow.Effect{}))
	})
	h := newHouse(t, effects(true), child).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunFailed)
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "sub"})
	require.NoError(t, err)
	h.finished("r")
	_, err = h.e.Rewind(bg, Rewind{RunID: "r", FrameNo: 1})
	require.ErrorContains(t, err, "would repeat the side effects of mail;")
}

// A rewind is there as a whole or not at all, wherever the process ends.
func TestCrashAtEveryCommitOfARewind(t *testing.T) {
	for limit := 1; ; limit++ {
		h, _ := chainHouse(t)
		n := int64(5)
		was, latest := h.cut(n), h.latest()
		h.fault.DieAfter(limit)
		_, err := h.e.Rewind(h.fault.Life(), Rewind{RunID: "r", FrameNo: n, By: Actor{UserID: "u"}})
		over := h.drive("r")
		if over && !h.fault.Dead() {
			require.NoError(t, err)
			t.Logf("%d commits", limit-1)
			require.Greater(t, limit, 5)
			return
		}
		h.crash()
		if limit == 1 { // the rewind alone is there: reading gives its frame
			st, err := store.Open(bg, store.Options{Path: h.path, Now: h.clock.Now})
			require.NoError(t, err)
			h.st = st
			require.Equal(t, n, h.latest())
			now := h.cut(n)
			now.Latest = was.Latest
			require.Equal(t, was, now)
			require.NoError(t, st.Close())
		}
		h.open()
		require.True(t, h.drive("r"))
		require.Equal(t, wire.RunFinished, h.run("r").Status, "killed after commit %d: %s", limit, h.run("r").Error)
		h.sameFrame(was)
		require.GreaterOrEqual(t, h.latest(), latest)
		h.numbersAreWhole()
		h.close()
	}
}
