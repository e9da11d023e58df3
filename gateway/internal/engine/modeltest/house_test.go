package modeltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/gomachine"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for something that comes in moments, unless the machine is
// very busy.
const patience = time.Minute

// fatal is the part of rapid.T and testing.T that a house needs.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// clock adapts the fake clock to the engine.
type clock struct{ *enginetest.Clock }

func (c clock) AfterFunc(d time.Duration, f func()) engine.Timer { return c.Clock.AfterFunc(d, f) }

// house is an engine over a real store, on a clock that moves when told.
type house struct {
	t     fatal
	dir   string
	clock engine.Clock
	moves *enginetest.Clock // nil: another clock
	st    *store.Store
	fault *enginetest.Store
	e     *engine.Engine

	mu     sync.Mutex
	bodies map[string]int // run/node: body calls
}

func newHouse(t fatal) *house {
	dir, err := os.MkdirTemp("", "modeltest-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	c := enginetest.NewClock()
	return &house{t: t, dir: dir, clock: clock{c}, moves: c, bodies: map[string]int{}}
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%v", err)
	}
}

func (h *house) open() *house {
	h.t.Helper()
	st, err := store.Open(context.Background(), store.Options{
		Path: filepath.Join(h.dir, "s.db"), Durability: store.DurabilityNormal, Now: h.clock.Now, Owner: "test",
	})
	h.must(err)
	h.st, h.fault = st, enginetest.NewStore(st, nil)
	h.e = engine.New(engine.Options{Store: h.fault, Clock: h.clock, Owner: "test"})
	process := &process{h: h, st: st, fault: h.fault}
	h.e.SetWorkflows([]engine.Definition{{Key: "plan", Program: gomachine.New(workflow.Func(process.perform))}})
	h.must(h.e.Start(context.Background()))
	return h
}

// stop ends the engine in order; crash as a kill does.
func (h *house) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h.must(h.e.Stop(ctx))
	h.must(h.st.Close())
}

func (h *house) crash() {
	h.mu.Lock() // not between what a body reads and what it counts
	h.fault.Kill()
	h.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // Stop drops everything at once
	if err := h.e.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		h.t.Fatalf("%v", err)
	}
	h.must(h.st.Close())
}

func (h *house) close() {
	h.stop()
	h.must(os.RemoveAll(h.dir))
}

func (h *house) calls(run, node string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bodies[run+"/"+node]
}

func (h *house) launch(ctx context.Context, id string, plan []step) error {
	input, err := json.Marshal(map[string]any{"Plan": plan})
	if err != nil {
		return err
	}
	_, err = h.e.Launch(ctx, engine.Launch{Workflow: "plan", RunID: id, Input: input})
	return err
}

// differ compares one run with the model; "" means that they agree.
func (h *house) differ(r *modelRun) string {
	var row *store.Run
	var pending []*store.Approval
	var at *store.Node
	err := h.st.View(context.Background(), func(v *store.View) (err error) {
		if row, err = v.Run(r.id); err != nil {
			return err
		}
		if r.status == "" && r.until > 0 {
			if at, err = v.Node(r.id, node(r.at), 0); err != nil {
				return err
			}
		}
		if r.waits() {
			// The status alone may still be that of the wait before.
			if _, err = v.Node(r.id, node(r.at), 0); err != nil {
				return err
			}
		}
		pending, err = v.Approvals(store.ApprovalFilter{RunID: r.id})
		return err
	})
	if err != nil {
		return fmt.Sprintf("%s: %v", r.id, err)
	}
	ok := false
	for _, s := range r.statuses() {
		ok = ok || s == row.Status
	}
	if !ok {
		return fmt.Sprintf("%s is %s, the model says %v (step %d of %d); error %s", r.id, row.Status, r.statuses(), r.at, len(r.plan), row.Error)
	}
	if at != nil && at.WakeAtMs != r.until {
		return fmt.Sprintf("%s: %s goes on at %d, the model says %d", r.id, at.NodeID, at.WakeAtMs, r.until)
	}
	want := 0
	if r.status == "" && r.plan[r.at].Kind == stepGate {
		want = 1
	}
	if len(pending) != want {
		return fmt.Sprintf("%s has %d pending approvals, the model %d", r.id, len(pending), want)
	}
	if r.output != "" && string(row.Output) != fmt.Sprintf("%q", r.output) {
		return fmt.Sprintf("%s returned %s, the model %q", r.id, row.Output, r.output)
	}
	for name, least := range r.bodies {
		if got := h.calls(r.id, name); got < least {
			return fmt.Sprintf("%s: the body of %s was called %d times, the model says %d", r.id, name, got, least)
		}
	}
	return ""
}

// agree waits until all runs are as the model says.
func (h *house) agree(m *model) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for _, r := range m.runs {
		for {
			difference := h.differ(r)
			if difference == "" {
				break
			}
			if time.Now().After(deadline) {
				lines, _ := enginetest.Lines(h.st, r.id)
				for _, l := range lines {
					difference += "\n" + l
				}
				h.t.Fatalf("%s", difference)
			}
			time.Sleep(200 * time.Microsecond)
		}
	}
}

var _ fatal = (*rapid.T)(nil)
