package scripttest

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var bg = context.Background()

// patience bounds every wait of a test.
const patience = 5 * time.Minute

// clock is the shared fake clock as the engine takes it.
type clock struct{ *enginetest.Clock }

func (c clock) AfterFunc(d time.Duration, f func()) engine.Timer { return c.Clock.AfterFunc(d, f) }

// house is an engine with script workflows over a real store, on a fake clock. Runs
// are called "r" unless a test says otherwise.
type house struct {
	t      testing.TB
	path   string
	clock  clock
	defs   []engine.Definition
	st     *store.Store
	fault  *enginetest.Store
	e      *engine.Engine
	notify chan struct{}
}

func newHouse(t testing.TB, defs []engine.Definition) *house {
	h := &house{t: t, path: filepath.Join(t.TempDir(), "s.db"), clock: clock{enginetest.NewClock()}, defs: defs, notify: make(chan struct{}, 1)}
	outside.reset()
	t.Cleanup(h.close)
	return h
}

func (h *house) open() *house {
	h.t.Helper()
	st, err := store.Open(bg, store.Options{Path: h.path, Durability: store.DurabilityNormal, Now: h.clock.Now, Owner: "test"})
	require.NoError(h.t, err)
	h.st, h.fault = st, enginetest.NewStore(st, h.notify)
	h.e = engine.New(engine.Options{Store: h.fault, Clock: h.clock, Owner: "pid:1:test"})
	h.e.SetWorkflows(h.defs)
	require.NoError(h.t, h.e.Start(bg))
	return h
}

// close stops everything in order.
func (h *house) close() {
	if h.e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(bg, patience)
	defer cancel()
	if err := h.e.Stop(ctx); err != nil && !h.fault.Dead() {
		h.t.Errorf("stop: %v", err)
	}
	require.NoError(h.t, h.st.Close())
	h.e = nil
}

// crash drops engine and store without letting either write.
func (h *house) crash() {
	h.fault.Kill()
	dropped, cancel := context.WithCancel(bg)
	cancel()
	_ = h.e.Stop(dropped)
	require.NoError(h.t, h.st.Close())
	h.e = nil
}

func (h *house) launch(workflow, input string) {
	h.t.Helper()
	_, err := h.e.Launch(bg, engine.Launch{Workflow: workflow, RunID: "r", Input: json.RawMessage(input)})
	require.NoError(h.t, err)
}

// until asks the database after every commit until cond holds.
func (h *house) until(what string, cond func(v *store.View) bool) {
	h.t.Helper()
	deadline := time.After(patience)
	for {
		ok := false
		require.NoError(h.t, h.st.View(bg, func(v *store.View) error {
			ok = cond(v)
			return nil
		}))
		if ok {
			return
		}
		select {
		case <-h.notify:
		case <-time.After(2 * time.Millisecond):
		case <-deadline:
			h.t.Fatalf("never: %s", what)
		}
	}
}

func (h *house) run(id string) *store.Run {
	h.t.Helper()
	var row *store.Run
	require.NoError(h.t, h.st.View(bg, func(v *store.View) (err error) {
		row, err = v.Run(id)
		return err
	}))
	return row
}

// ended reports whether a run is over.
func ended(id string) func(v *store.View) bool {
	return func(v *store.View) bool {
		row, err := v.Run(id)
		return err == nil && wire.RunTerminal(row.Status)
	}
}

// status waits for the run's status and returns its row.
func (h *house) status(id, status string) *store.Run {
	h.t.Helper()
	var row *store.Run
	h.until(id+" is "+status, func(v *store.View) bool {
		r, err := v.Run(id)
		if err != nil {
			return false
		}
		row = r
		if wire.RunTerminal(r.Status) && r.Status != status {
			h.t.Fatalf("%s is %s, not %s: %s", id, r.Status, status, r.Error)
		}
		return r.Status == status
	})
	return row
}

// tickUntil moves the clock in steps until the run has a status.
func (h *house) tickUntil(step time.Duration, status string) {
	h.t.Helper()
	h.until("r is "+status, func(v *store.View) bool {
		row, err := v.Run("r")
		if err == nil && row.Status != status {
			h.clock.Advance(step)
		}
		return err == nil && row.Status == status
	})
}

// node waits for a condition on a node of iteration 0.
func (h *house) node(id string, cond func(n *store.Node) bool) {
	h.t.Helper()
	h.until("node "+id, func(v *store.View) bool {
		n, err := v.Node("r", id, 0)
		return err == nil && cond(n)
	})
}

// decide waits for a gate and decides it as alice.
func (h *house) decide(node string, approved bool, value string) {
	h.t.Helper()
	h.node(node, func(n *store.Node) bool { return n.State == wire.NodeWaitingApproval })
	d := engine.Decision{RunID: "r", NodeID: node, Approved: approved, By: engine.Actor{UserID: "alice", Scopes: []string{"*"}}}
	if value != "" {
		d.Value = json.RawMessage(value)
	}
	require.NoError(h.t, h.e.Decide(bg, d))
}

func (h *house) signal(s engine.Signal) {
	h.t.Helper()
	s.RunID = "r"
	_, err := h.e.Signal(bg, s)
	require.NoError(h.t, err)
}

// family returns the ids of a run and of all that came from it: children and
// successors, each after what it came from.
func (h *house) family(id string) (ids []string) {
	h.t.Helper()
	require.NoError(h.t, h.st.View(bg, func(v *store.View) error {
		ids = []string{id}
		for i := 0; i < len(ids); i++ {
			row, err := v.Run(ids[i])
			if err != nil {
				return err
			}
			if row.ContinuedTo != "" {
				ids = append(ids, row.ContinuedTo)
			}
			children, err := v.Children(ids[i], 100)
			if err != nil {
				return err
			}
			for _, c := range children {
				if c.RunID != row.ContinuedTo {
					ids = append(ids, c.RunID)
				}
			}
		}
		return nil
	}))
	return ids
}
