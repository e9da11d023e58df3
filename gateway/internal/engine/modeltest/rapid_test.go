package modeltest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxCuts is how many crashes in the middle of work a case has at most: after three
// cut attempts a task is given up, which the model does not know.
const maxCuts = 2

// actions plays the world against engine and model.
type actions struct {
	h     *house
	m     *model
	n     int // launches
	cuts  int
	least map[string]int // task: body calls when the model first said it is over
}

// TestEngineAgreesWithTheModel tries random plans under random decisions, signals,
// cancellations, pauses, crashes and stops. -rapid.checks sets how many.
func TestEngineAgreesWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHouse(t).open()
		defer h.close()
		a := &actions{h: h, m: &model{now: enginetest.Epoch}, least: map[string]int{}}
		t.Repeat(map[string]func(*rapid.T){
			"":        a.check,
			"launch":  a.launch,
			"decide":  a.decide,
			"signal":  a.signal,
			"advance": a.advance,
			"cancel":  a.cancel,
			"pause":   a.pause,
			"resume":  a.resume,
			"retry":   a.retry,
			"crash":   func(*rapid.T) { h.crash(); h.open() },
			"stop":    func(*rapid.T) { h.stop(); h.open() },
		})
		for _, r := range a.m.runs {
			if r.status != "" {
				h.must(enginetest.CheckNumbers(h.st, r.id))
				h.must(enginetest.CheckFrames(h.st, r.id))
			}
		}
	})
}

// check: all runs agree, and no task that is over has run again.
func (a *actions) check(t *rapid.T) {
	a.h.t = t
	a.h.agree(a.m)
	for _, r := range a.m.runs {
		for i, s := range r.plan {
			if s.Kind != stepTask || i >= r.at && r.status == "" {
				continue
			}
			calls := a.h.calls(r.id, node(i))
			key := r.id + "/" + node(i)
			if before, ok := a.least[key]; ok && calls != before {
				t.Fatalf("%s is over, yet its body ran again (%d calls, then %d)", key, before, calls)
			}
			a.least[key] = calls
		}
	}
}

// insist does something, sometimes with a crash in its middle, until it is
// acknowledged. Everything that is insisted on may be asked twice.
func (a *actions) insist(t *rapid.T, do func(ctx context.Context) error) error {
	if a.cuts < maxCuts && rapid.IntRange(0, 5).Draw(t, "crash in the middle") == 0 {
		a.cuts++
		a.h.fault.DieAfter(rapid.IntRange(1, 4).Draw(t, "commits until the crash"))
		_ = do(a.h.fault.Life()) // it may have happened or not
		a.h.crash()
		a.h.open()
	}
	return do(context.Background())
}

var plans = rapid.Custom(func(t *rapid.T) []step { return plan(t, 2) })

func plan(t *rapid.T, depth int) []step {
	kinds := []stepKind{stepTask, stepTask, stepGate, stepSignal, stepSleep}
	if depth > 0 {
		kinds = append(kinds, stepChild)
	}
	steps := make([]step, rapid.IntRange(1, 4).Draw(t, "steps"))
	for i := range steps {
		s := step{Kind: rapid.SampledFrom(kinds).Draw(t, "kind")}
		switch s.Kind {
		case stepTask:
			s.Retries = rapid.IntRange(0, 2).Draw(t, "retries")
			s.Fails = rapid.IntRange(0, s.Retries).Draw(t, "fails")
			if rapid.IntRange(0, 7).Draw(t, "hopeless") == 0 {
				s.Fails = -1
			}
			s.Backoff = rapid.SampledFrom([]int64{0, 0, 50, 3000}).Draw(t, "backoff")
		case stepSleep:
			s.Ms = rapid.SampledFrom([]int64{0, 1, 100, 5000, 3_600_000}).Draw(t, "ms")
		case stepChild:
			s.Sub = plan(t, depth-1)
		}
		steps[i] = s
	}
	return steps
}

func (a *actions) launch(t *rapid.T) {
	if a.n++; a.n > 6 {
		t.Skip("enough runs")
	}
	id, p := fmt.Sprintf("r%d", a.n), plans.Draw(t, "plan")
	a.h.must(a.insist(t, func(ctx context.Context) error { return a.h.launch(ctx, id, p) }))
	a.m.launch(id, p, nil)
}

// pick draws a run that meets a condition.
func (a *actions) pick(t *rapid.T, ok func(*modelRun) bool) *modelRun {
	var some []*modelRun
	for _, r := range a.m.runs {
		if ok(r) {
			some = append(some, r)
		}
	}
	if len(some) == 0 {
		t.Skip("no such run")
	}
	return rapid.SampledFrom(some).Draw(t, "run")
}

func at(kind stepKind) func(*modelRun) bool {
	return func(r *modelRun) bool { return r.status == "" && r.plan[r.at].Kind == kind }
}

func isCode(err error, code string) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Code == code
}

func (a *actions) decide(t *rapid.T) {
	r := a.pick(t, at(stepGate))
	name, approved := node(r.at), rapid.Bool().Draw(t, "approved")
	err := a.insist(t, func(ctx context.Context) error {
		return a.h.e.Decide(ctx, engine.Decision{RunID: r.id, NodeID: name, Approved: approved})
	})
	if err != nil && !isCode(err, wire.CodeAlreadyDecided) {
		a.h.must(err)
	}
	r.decided[name] = approved
	a.m.settle(r)
	if err := a.h.e.Decide(context.Background(), engine.Decision{RunID: r.id, NodeID: name, Approved: !approved}); !isCode(err, wire.CodeAlreadyDecided) {
		t.Fatalf("a second decision: %v", err)
	}
}

// signal also sends signals that nobody waits for yet.
func (a *actions) signal(t *rapid.T) {
	r := a.pick(t, func(r *modelRun) bool {
		for i := r.at; r.status == "" && i < len(r.plan); i++ {
			if r.plan[i].Kind == stepSignal && !r.signals[node(i)] {
				return true
			}
		}
		return false
	})
	for i := r.at; i < len(r.plan); i++ {
		if name := node(i); r.plan[i].Kind == stepSignal && !r.signals[name] {
			a.h.must(a.insist(t, func(ctx context.Context) error {
				_, err := a.h.e.Signal(ctx, engine.Signal{RunID: r.id, Name: name})
				return err
			}))
			r.signals[name] = true
			break
		}
	}
	a.m.settle(r)
}

// advance moves the clock, at most to the next moment at which something happens, so
// that both sides see what follows at the same time.
func (a *actions) advance(t *rapid.T) {
	ms := rapid.SampledFrom([]int64{1, 50, 1500, 10_000}).Draw(t, "ms")
	if next := a.m.nextDeadline(); next != 0 && (next-a.m.now < ms || rapid.Bool().Draw(t, "to the deadline")) {
		ms = next - a.m.now
	}
	a.h.moves.Advance(time.Duration(ms) * time.Millisecond)
	a.m.advance(ms)
}

func (a *actions) cancel(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "really") != 0 {
		t.Skip("or all runs would end so")
	}
	r := a.pick(t, func(r *modelRun) bool { return r.status == "" })
	err := a.insist(t, func(ctx context.Context) error {
		_, err := a.h.e.Cancel(ctx, r.id, engine.Actor{})
		return err
	})
	a.h.must(err)
	a.m.cancel(r)
}

func (a *actions) pause(t *rapid.T) {
	r := a.pick(t, func(r *modelRun) bool { return r.status == "" && !r.paused })
	_, err := a.h.e.Pause(context.Background(), r.id, engine.Actor{})
	switch kind := r.plan[r.at].Kind; {
	case err == nil && (kind == stepTask || kind == stepChild):
		r.paused = true
	case err == nil:
		t.Fatalf("%s waits for a %s, yet could be paused", r.id, kind)
	case !isCode(err, wire.CodeRunNotActive):
		a.h.must(err)
	}
}

func (a *actions) resume(t *rapid.T) {
	r := a.pick(t, func(r *modelRun) bool { return r.paused && r.status == "" })
	_, err := a.h.e.Resume(context.Background(), r.id, engine.Actor{})
	a.h.must(err)
	r.paused = false
	a.m.settle(r)
}

// retry asks for the task that has failed its run to be done again.
func (a *actions) retry(t *rapid.T) {
	r := a.pick(t, func(r *modelRun) bool { return r.status == wire.RunFailed && r.plan[r.at].Kind == stepTask })
	name := node(r.at)
	err := a.insist(t, func(ctx context.Context) error {
		_, err := a.h.e.RetryTask(ctx, engine.RetryTask{RunID: r.id, NodeID: name})
		return err
	})
	if !isCode(err, wire.CodeRunActive) { // asked again after a crash, while it works
		a.h.must(err)
	}
	delete(a.least, r.id+"/"+name)
	a.m.retry(r)
}
