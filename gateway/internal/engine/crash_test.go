package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// counter counts executions of task bodies by node.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func newCounter() *counter { return &counter{n: make(map[string]int)} }

func (c *counter) hit(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name]++
}

func (c *counter) snapshot() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := make(map[string]int, len(c.n))
	for k, v := range c.n {
		m[k] = v
	}
	return m
}

// everything uses every primitive and returns the order in which its nodes were
// settled, as the workflow function saw it.
func everything(c *counter) workflow.Func {
	return func(ctx wf) (any, error) {
		var trace []string
		shared := 0
		note := func(name string) { shared++; trace = append(trace, fmt.Sprintf("%s/%d", name, shared)) }
		do := func(ctx wf, id string, options ...workflow.TaskOption) error {
			err := ctx.Task(id, func(t workflow.Task) (any, error) {
				c.hit(id)
				t.Log(id)
				return id, nil
			}, nil, options...)
			note(id)
			return err
		}
		if err := do(ctx, "first"); err != nil {
			return nil, err
		}
		if err := ctx.Task("flaky", func(t workflow.Task) (any, error) {
			c.hit("flaky")
			if t.Attempt() == 1 {
				return nil, errBoom
			}
			return nil, nil
		}, nil, workflow.Retries(4, 100*time.Millisecond)); err != nil {
			return nil, err
		}
		note("flaky")
		err := ctx.Parallel(0,
			func(ctx wf) error {
				return ctx.Loop("la", 3, func(ctx wf, i int) (bool, error) { return true, do(ctx, "a") })
			},
			func(ctx wf) error {
				return ctx.Loop("lb", 2, func(ctx wf, i int) (bool, error) { return true, do(ctx, "b") })
			},
			func(ctx wf) error {
				if err := ctx.Sleep("nap", 2*time.Second); err != nil {
					return err
				}
				note("nap")
				return nil
			},
			func(ctx wf) error {
				if err := ctx.Child("sub", "child", map[string]int{"n": 1}, nil); err != nil {
					return err
				}
				note("sub")
				return nil
			})
		if err != nil {
			return nil, err
		}
		// A race: the first failure wins and cancels the other.
		race := ctx.Parallel(0,
			func(ctx wf) error {
				err := do(ctx, "fast")
				if err == nil {
					err = errBoom
				}
				return err
			},
			func(ctx wf) error { return ctx.Signal("never", nil) })
		if race == nil {
			return nil, fmt.Errorf("nobody won the race")
		}
		d, err := ctx.Approval("gate", workflow.Approval{})
		if err != nil {
			return nil, err
		}
		note("gate")
		if err := ctx.Signal("go", nil, workflow.CorrelationID("x")); err != nil {
			return nil, err
		}
		note("go")
		m := ctx.Memory("")
		var facts int
		if _, err := m.Get("n", &facts); err != nil {
			return nil, err
		}
		if err := m.Set("n", facts+1); err != nil {
			return nil, err
		}
		if err := do(ctx, "guarded", workflow.NeedsApproval(workflow.Approval{})); err != nil {
			return nil, err
		}
		return map[string]any{"trace": trace, "by": d.DecidedBy, "facts": facts, "rand": ctx.Rand().IntN(1000)}, nil
	}
}

func childOf(c *counter) workflow.Func {
	return func(ctx wf) (any, error) {
		return nil, ctx.Task("inner", func(workflow.Task) (any, error) { c.hit("inner"); return nil, nil }, nil)
	}
}

// nudge plays the world: decides, signals and lets time pass. Safe to repeat.
func (h *house) nudge(ids ...string) {
	if len(ids) == 0 {
		ids = []string{"r"}
	}
	for _, id := range ids {
		var approvals []*store.Approval
		var waits []*store.Wait
		var signals []*store.Signal
		err := h.st.View(context.Background(), func(v *store.View) (err error) {
			if approvals, err = v.Approvals(store.ApprovalFilter{RunID: id}); err != nil {
				return err
			}
			if waits, err = v.WaitsOf(id); err != nil {
				return err
			}
			signals, err = v.UnconsumedSignals(id)
			return err
		})
		if err != nil {
			continue
		}
		ctx := h.fault.Life()
		for _, a := range approvals {
			_ = h.e.Decide(ctx, Decision{RunID: id, NodeID: a.NodeID, Iteration: a.Iteration, Approved: true, By: Actor{UserID: "alice"}})
		}
		for _, w := range waits {
			if w.Name != "never" && len(signals) == 0 {
				_, _ = h.e.Signal(ctx, Signal{RunID: id, Name: w.Name, CorrelationID: w.CorrelationID})
			}
		}
	}
	h.clock.advance(100 * time.Millisecond)
}

// drive nudges until the run is over or the store was killed.
func (h *house) drive(id string) bool {
	deadline := time.Now().Add(5 * time.Minute)
	for !h.fault.Dead() {
		var row *store.Run
		_ = h.st.View(context.Background(), func(v *store.View) (err error) { row, err = v.Run(id); return err })
		if row != nil && (wire.RunTerminal(row.Status) || row.Status == wire.RunPaused) {
			return true
		}
		h.nudge(id)
		select {
		case <-h.notify:
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("stuck: %s", strings.Join(h.log(id), "\n"))
		}
	}
	return false
}

type outcomeOfAll struct {
	Trace []string `json:"trace"`
	By    string   `json:"by"`
	Facts int      `json:"facts"`
}

// settledNow lists what the journal has settled, in order: "node".
func (h *house) settledNow(id string) (names []string, finishedTasks map[string]bool) {
	h.t.Helper()
	st, err := store.Open(context.Background(), store.Options{Path: h.path, Now: h.clock.Now})
	require.NoError(h.t, err)
	finishedTasks = make(map[string]bool)
	require.NoError(h.t, st.View(context.Background(), func(v *store.View) error {
		nodes, err := v.Nodes(id)
		if err != nil {
			return nil //nolint:nilerr // killed before the launch was committed
		}
		byPos := make(map[int64]string)
		for _, n := range nodes {
			if n.Position > 0 && n.Kind != "effect" && n.NodeID != "never" {
				byPos[n.Position] = n.NodeID
			}
			if n.Kind == "task" && n.State == wire.NodeFinished {
				finishedTasks[n.NodeID] = true
			}
		}
		for p := int64(1); p <= 1000; p++ {
			if name, ok := byPos[p]; ok {
				names = append(names, name)
			}
		}
		return nil
	}))
	require.NoError(h.t, st.Close())
	return names, finishedTasks
}

// TestCrashAtEveryCommit kills the process after each commit of a run that uses
// everything and lets another one finish it.
func TestCrashAtEveryCommit(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 5
	}
	for limit := 1; ; limit += step {
		c := newCounter()
		h := newHouse(t, define("main", everything(c)), define("child", childOf(c)))
		h.open()
		h.fault.DieAfter(limit)
		_, err := h.e.Launch(h.fault.Life(), Launch{Workflow: "main", RunID: "r"})
		over := h.drive("r")
		if err != nil {
			require.True(t, h.fault.Dead())
		}
		if over && !h.fault.Dead() {
			t.Logf("%d commits", limit-1)
			h.close()
			return
		}
		h.crash()
		settled, done := h.settledNow("r")
		before := c.snapshot()

		h.open()
		h.launch("main", "r", nil) // an identical launch is answered with the run
		require.True(t, h.drive("r"))
		row := h.run("r")
		require.Equal(t, wire.RunFinished, row.Status, "killed after commit %d: %s", limit, row.Error)
		var out outcomeOfAll
		require.NoError(t, json.Unmarshal(row.Output, &out))
		require.Equal(t, "alice", out.By)
		require.LessOrEqual(t, out.Facts, 0)
		require.Len(t, out.Trace, 13)
		for i, name := range settled {
			require.True(t, strings.HasPrefix(out.Trace[i], name+"/"), "commit %d, position %d: %v, journal %v", limit, i, out.Trace, settled)
		}
		for name, n := range c.snapshot() {
			if done[name] && name != "a" && name != "b" { // those are several nodes
				require.Equal(t, before[name], n, "finished task %s ran again after commit %d", name, limit)
			}
		}
		h.oneRunCompleted("r")
		h.close()
	}
}

// oneRunCompleted checks that every seq exists once, without gaps, and that the end
// was told once.
func (h *house) oneRunCompleted(id string) {
	h.t.Helper()
	require.NoError(h.t, enginetest.CheckNumbers(h.st, id))
	require.NoError(h.t, enginetest.CheckFrames(h.st, id))
}
