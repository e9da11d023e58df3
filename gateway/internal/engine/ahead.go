package engine

import (
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// A run that holds its slots is executed while its launch is still being committed, so
// that what the workflow function asks for first can be in the same commit. Until then
// nobody can find the run: it is not in Engine.runs, its lines are kept back, it has no
// span, and no task of it has begun. If the launch is refused it is as if it had never
// been.

// startAhead executes a run before it is stored; nil when it must not be. Its outbox
// waits: the launch is its first unit.
func (e *Engine) startAhead(row *store.Run, part share) *run {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, halted := e.halted[row.RunID]; halted || e.stopping || e.runs[row.RunID] != nil {
		return nil
	}
	r := e.makeRun(row.RunID, part)
	r.fresh, r.unstored = row, true
	r.begun, r.granted = true, true
	r.out.inFlight = true
	e.ahead[r] = struct{}{}
	e.wg.Add(1)
	e.live.Add(1)
	go r.main()
	return r
}

// stored lets a run be found whose launch is committed with u.
func (e *Engine) stored(r *run, u *unit) {
	e.mu.Lock()
	delete(e.ahead, r)
	_, halted := e.halted[r.id]
	mayStay := !halted && e.runs[r.id] == nil
	if mayStay {
		e.runs[r.id] = r
	}
	e.mu.Unlock()
	switch {
	case !mayStay: // somebody has already looked for a run of this id
		r.giveUp(u, true)
	case r.out.done(u, nil):
		return
	default: // it has broken down meanwhile
		e.forget(r)
	}
	e.wake(r.id, r.share, nil)
}

// refuse ends a run whose launch was not stored.
func (e *Engine) refuse(r *run, u *unit) {
	e.mu.Lock()
	delete(e.ahead, r)
	e.mu.Unlock()
	r.giveUp(u, false)
}

// giveUp ends a run that was started ahead, before any task of it begins.
func (r *run) giveUp(u *unit, stored bool) {
	r.out.close()
	for i := range u.steps {
		u.steps[i].end(stored)
	}
	r.box.post(func() { r.over = true })
}

// isStored follows the first commit of a run that was started ahead.
func (r *run) isStored() {
	r.unstored = false
	r.beginTrace()
	for _, line := range r.early {
		r.logLine(line)
	}
	r.early = nil
}

// sayLine logs a line, once the run is stored.
func (r *run) sayLine(line program.LogLine) {
	if !r.unstored {
		r.logLine(line)
	} else if len(r.early) < maxLogBurst {
		line.Text = cutLine(line.Text)
		r.early = append(r.early, line)
	}
}
