package engine

import (
	"context"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// haltPatience is how long a rewind waits for the attempts that it has aborted.
const haltPatience = 10 * time.Second

// halt makes a run leave memory, and keeps it out until release is called, which takes
// it up again. Attempts in flight are told to stop and awaited; what they come to is
// recorded as cut. The error says that one did not stop, or that ctx ended.
func (e *Engine) halt(ctx context.Context, runID string, part share) (release func(), err error) {
	e.mu.Lock()
	e.halted[runID] = struct{}{}
	r := e.runs[runID]
	working := r != nil && r.begun
	e.mu.Unlock()
	release = func() {
		e.mu.Lock()
		delete(e.halted, runID)
		r := e.runs[runID]
		e.mu.Unlock()
		if r != nil {
			r.box.post(r.unhalt)
		}
		e.wake(runID, part, nil)
	}
	if !working || !r.box.post(r.halt) { // it has no goroutine and gets none, or is about to end
		if working {
			<-r.gone
		}
		return release, nil
	}
	late := make(chan struct{})
	timer := e.clock.AfterFunc(haltPatience, func() { close(late) })
	defer timer.Stop()
	select {
	case <-r.gone:
		return release, nil
	case <-ctx.Done():
		return release, ctx.Err()
	case <-late:
	}
	// A VM takes its task bodies with it when it is closed; compiled ones cannot be ended.
	refused := make(chan bool, 1)
	if r.box.post(func() {
		stays := r.machine != nil && !r.def.Program.UsesVM()
		r.over = r.over || !stays
		refused <- stays
	}) {
		select {
		case stays := <-refused:
			if stays {
				return release, wire.Errorf(wire.CodeRewindFailed, "Run %s did not stop within %v of abort; refusing to rewind a live task.", runID, haltPatience)
			}
		case <-r.gone:
		case <-ctx.Done():
			return release, ctx.Err()
		}
	}
	select {
	case <-r.gone:
		return release, nil
	case <-ctx.Done():
		return release, ctx.Err()
	}
}

// halt stops the run from moving on and its attempts from working.
func (r *run) halt() {
	if r.halting || r.ending || r.stopping {
		return
	}
	r.halting = true
	f := &program.Failure{Name: "Error", Code: program.CodeTaskInterrupted, Message: "the run is about to be rewound"}
	for _, n := range append([]*node(nil), r.openNodes()...) {
		switch {
		case !n.live:
		case n.ending != nil:
			r.endUnrecorded(n, f)
		case r.machine != nil:
			n.aborted = true
			turn, err := r.machine.Abort(n.ref, n.row.Attempt, f)
			r.take(turn, err)
		}
	}
}

// unhalt carries on with a run that was not rewound after all.
func (r *run) unhalt() {
	if r.halting {
		r.halting = false
		r.look(nil)
	}
}
