package engine

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/gomachine"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is an engine over a real store in a temporary folder, on a fake clock.
type house struct {
	t     testing.TB
	path  string
	clock *fakeClock
	opts  Options
	defs  []Definition
	st    *store.Store
	fault *enginetest.Store
	e     *Engine

	mu     sync.Mutex
	events []*store.Event
	notify chan struct{}
}

func newHouse(t testing.TB, defs ...Definition) *house {
	h := &house{t: t, path: filepath.Join(t.TempDir(), "s.db"), clock: newFakeClock(), defs: defs, notify: make(chan struct{}, 1)}
	h.opts = Options{Owner: "pid:1:test"}
	if _, ok := t.(*testing.T); ok && os.Getenv("ENGINE_LOG") != "" {
		h.opts.Logger = zaptest.NewLogger(t)
	}
	t.Cleanup(h.close)
	return h
}

// open starts store and engine.
func (h *house) open() *house {
	h.t.Helper()
	st, err := store.Open(context.Background(), store.Options{Path: h.path, Durability: store.DurabilityNormal, Now: h.clock.Now, Owner: "test"})
	require.NoError(h.t, err)
	st.OnCommit(func(events []*store.Event) {
		h.mu.Lock()
		h.events = append(h.events, events...)
		h.mu.Unlock()
	})
	h.st = st
	h.fault = enginetest.NewStore(st, h.notify)
	o := h.opts
	o.Store, o.Clock = h.fault, h.clock
	h.e = New(o)
	h.e.SetWorkflows(h.defs)
	require.NoError(h.t, h.e.Start(context.Background()))
	return h
}

// close stops everything in order.
func (h *house) close() {
	if h.e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.e.Stop(ctx); err != nil && !h.fault.Dead() {
		h.t.Errorf("stop: %v", err)
	}
	require.NoError(h.t, h.st.Close())
	h.e = nil
}

// crash drops the engine without letting it write and closes the store.
func (h *house) crash() {
	h.fault.Kill()
	h.e.abandon()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = h.e.Stop(ctx)
	require.NoError(h.t, h.st.Close())
	h.e = nil
}

func (h *house) launch(workflow, id string, input any) string {
	h.t.Helper()
	raw, err := json.Marshal(input)
	require.NoError(h.t, err)
	l, err := h.e.Launch(context.Background(), Launch{Workflow: workflow, RunID: id, Input: raw})
	require.NoError(h.t, err)
	return l.RunID
}

// until polls the database after every commit until cond holds.
func (h *house) until(what string, cond func(v *store.View) bool) {
	h.t.Helper()
	deadline := time.After(5 * time.Minute)
	for {
		ok := false
		require.NoError(h.t, h.st.View(context.Background(), func(v *store.View) error {
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
	require.NoError(h.t, h.st.View(context.Background(), func(v *store.View) (err error) {
		row, err = v.Run(id)
		return err
	}))
	return row
}

// status waits for a run's status and returns the row.
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
	require.NoError(h.t, enginetest.CheckFrames(h.st, id))
	return row
}

func (h *house) finished(id string) string {
	h.t.Helper()
	return string(h.status(id, wire.RunFinished).Output)
}

// log returns the durable log of a run as text, one event a line.
func (h *house) log(id string) []string {
	h.t.Helper()
	lines, err := enginetest.Lines(h.st, id)
	require.NoError(h.t, err)
	return lines
}

func define(key string, fn workflow.Func) Definition {
	return Definition{Key: key, Program: gomachine.New(fn)}
}

// vmDefinition pretends to need a VM.
func vmDefinition(key string, fn workflow.Func) Definition {
	return Definition{Key: key, Program: heavy{gomachine.New(fn)}}
}

type heavy struct{ program.Program }

func (heavy) UsesVM() bool { return true }

func one(ctx workflow.Context) (any, error) {
	var out string
	err := ctx.Task("t", func(workflow.Task) (any, error) { return "done", nil }, &out)
	return map[string]string{"r": out}, err
}

func TestOneTask(t *testing.T) {
	h := newHouse(t, define("one", one)).open()
	id := h.launch("one", "", nil)
	require.JSONEq(t, `{"r":"done"}`, h.finished(id))
	require.Len(t, h.log(id), 5)
}
