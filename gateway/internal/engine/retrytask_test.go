package engine

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// chain is a workflow of every kind of node in a row. Each task returns how often it
// has run, and the chain what its tasks returned.
func chain(c *counter) workflow.Func {
	count := func(name string) workflow.TaskFunc {
		return func(workflow.Task) (any, error) {
			c.hit(name)
			return c.snapshot()[name], nil
		}
	}
	return func(ctx wf) (any, error) {
		got := map[string]int{}
		do := func(id string) error {
			var n int
			err := ctx.Task(id, count(id), &n)
			got[id] = n
			return err
		}
		if err := do("first"); err != nil {
			return nil, err
		}
		if err := do("second"); err != nil {
			return nil, err
		}
		if err := ctx.Memory("m").Set("k", got["second"]); err != nil {
			return nil, err
		}
		if _, err := ctx.Approval("gate", workflow.Approval{}); err != nil {
			return nil, err
		}
		if err := ctx.Signal("go", nil); err != nil {
			return nil, err
		}
		if err := ctx.Child("sub", "child", nil, nil); err != nil {
			return nil, err
		}
		return got, do("last")
	}
}

func chainHouse(t *testing.T) (*house, *counter) {
	c := newCounter()
	h := newHouse(t, define("main", chain(c)), define("child", one)).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingApproval)
	h.decide("gate", true, "")
	h.signal(Signal{RunID: "r", Name: "go"})
	require.JSONEq(t, `{"first":1,"second":1,"last":1}`, h.finished("r"))
	return h, c
}

func (h *house) attempts(node string) (numbers []int) {
	h.t.Helper()
	require.NoError(h.t, h.st.View(bg, func(v *store.View) error {
		rows, err := v.Attempts("r", node, 0)
		for _, a := range rows {
			numbers = append(numbers, a.Attempt)
		}
		return err
	}))
	return numbers
}

func TestRetryRunsWhatCameAfterAgain(t *testing.T) {
	h, c := chainHouse(t)
	before := h.log("r")
	reset, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "second", By: Actor{UserID: "u"}})
	require.NoError(t, err)
	require.Equal(t, []string{"second", "gate", "go", "sub", "last"}, reset)
	h.status("r", wire.RunWaitingApproval) // decided anew
	h.decide("gate", true, "")
	// The signal of before is there to be consumed again; nobody sends another.
	require.JSONEq(t, `{"first":1,"second":2,"last":2}`, h.finished("r"))
	require.Equal(t, map[string]int{"first": 1, "second": 2, "last": 2}, c.snapshot())
	require.Equal(t, []int{1, 2}, h.attempts("second"), "earlier attempts stay (Q48)")
	require.EqualValues(t, 1, h.run("r").Generation)
	require.Equal(t, wire.RunFinished, h.run("r:child:sub@1:0").Status, "a child of its own")
	require.Equal(t, before, h.log("r")[:len(before)], "the log only grows")
	var audited []*store.AuditEntry
	require.NoError(t, h.st.View(bg, func(v *store.View) (err error) {
		audited, err = v.Audit(store.AuditFilter{Action: "retry"})
		return err
	}))
	require.Len(t, audited, 1)
	require.Equal(t, "u", audited[0].Actor)
	seqs := map[int64]bool{}
	events, err := h.st.EventsAfterSeq(bg, "r", 0, 1000)
	require.NoError(t, err)
	for i := range events.Len() {
		require.False(t, seqs[events.Seq(i)])
		seqs[events.Seq(i)] = true
	}
}

func TestRetryKeepsDependents(t *testing.T) {
	h, c := chainHouse(t)
	reset, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "first", KeepDependents: true})
	require.NoError(t, err)
	require.Equal(t, []string{"first"}, reset)
	require.JSONEq(t, `{"first":2,"second":1,"last":1}`, h.finished("r"))
	require.Equal(t, map[string]int{"first": 2, "second": 1, "last": 1}, c.snapshot())
	// And once more, from the end, with the gate and the child kept.
	_, err = h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "last"})
	require.NoError(t, err)
	require.JSONEq(t, `{"first":2,"second":1,"last":2}`, h.finished("r"))
}

func TestRetryOfWhatWasKeptForOtherArguments(t *testing.T) {
	n := 0
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		var id int
		if err := ctx.Task("pick", func(workflow.Task) (any, error) { n++; return n, nil }, &id); err != nil {
			return nil, err
		}
		ask := workflow.Approval{}
		if id > 1 {
			ask = workflow.Approval{Mode: "select", Options: []workflow.Option{{Key: "a", Label: "A"}}}
		}
		d, err := ctx.Approval("gate", ask)
		return d.Approved, err
	})).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunWaitingApproval)
	h.decide("gate", true, "")
	h.finished("r")
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "pick", KeepDependents: true})
	require.NoError(t, err)
	h.status("r", wire.RunWaitingApproval) // it is another question now
	h.decide("gate", false, "")
	require.JSONEq(t, `{"r":false}`, `{"r":`+h.finished("r")+`}`)
}

func TestRetryOfAFailedRunHasAllItsRetriesAgain(t *testing.T) {
	fails := 4 // the first run uses up two, the retry two more
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		return "ok", ctx.Task("flaky", func(workflow.Task) (any, error) {
			if fails > 0 {
				fails--
				return nil, errors.New("not yet")
			}
			return nil, nil
		}, nil, workflow.Retries(2, 0))
	})).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunFailed)
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "flaky"})
	require.NoError(t, err)
	h.until("finished", func(v *store.View) bool { row, err := v.Run("r"); return err == nil && row.Status == wire.RunFinished })
	require.NoError(t, enginetest.CheckFrames(h.st, "r"))
	require.Equal(t, []int{1, 2, 3, 4, 5}, h.attempts("flaky"))
	require.Nil(t, h.run("r").Error)
}

func TestRetryOfACancelledRun(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", slow(b))).open()
	h.launch("main", "r", nil)
	<-b.started
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "one"})
	requireCode(t, err, wire.CodeRunActive, "Run is currently executing — cancel or pause it before retrying a task")
	_, err = h.e.Cancel(bg, "r", Actor{})
	require.NoError(t, err)
	reset, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "one"})
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, reset)
	<-b.started
	close(b.release)
	h.until("finished", func(v *store.View) bool { row, err := v.Run("r"); return err == nil && row.Status == wire.RunFinished })
	require.NoError(t, enginetest.CheckFrames(h.st, "r"))
	require.Equal(t, []int{1, 2}, h.attempts("one"))
}

func TestRetrySurvivesARestart(t *testing.T) {
	h, c := chainHouse(t)
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "second"})
	require.NoError(t, err)
	h.crash()
	h.open()
	h.status("r", wire.RunWaitingApproval)
	h.close()
	h.open()
	h.clock.advance(time.Minute)
	h.decide("gate", true, "")
	h.finished("r")
	require.Equal(t, 1, c.snapshot()["first"])
	require.Equal(t, 2, c.snapshot()["last"])
}

func TestRetryOfANodeThatTheNewGenerationLacks(t *testing.T) {
	n := 0
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		if err := ctx.Task("pick", func(workflow.Task) (any, error) { n++; return n, nil }, &n); err != nil {
			return nil, err
		}
		if n == 1 {
			return n, task(ctx, "only-once")
		}
		return n, nil
	})).open()
	h.launch("main", "r", nil)
	h.finished("r")
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "pick"})
	require.NoError(t, err)
	require.Equal(t, "2", h.finished("r"))
	h.nodeState("only-once", 0, wire.NodeCancelled)
}

func TestRetryRefusals(t *testing.T) {
	h, _ := chainHouse(t)
	_, err := h.e.RetryTask(bg, RetryTask{RunID: "nope", NodeID: "x"})
	requireCode(t, err, wire.CodeNotFound, "Run not found: nope")
	_, err = h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "zz"})
	requireCode(t, err, wire.CodeNotFound, "Node not found: r/zz/0")
	_, err = h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "first", Iteration: 7})
	requireCode(t, err, wire.CodeNotFound, "Node not found: r/first/7")
	h.e.SetWorkflows(nil)
	_, err = h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "first"})
	requireCode(t, err, wire.CodeInvalidRequest, "")
	require.EqualValues(t, 0, h.run("r").Generation)
	require.NotEqual(t, json.RawMessage(nil), h.run("r").Output)
}
