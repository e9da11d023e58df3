package engine

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Pause asks a working run to stop after the attempts in flight. The request is
// durable when it returns; the status is "pausing".
func (e *Engine) Pause(ctx context.Context, runID string, by Actor) (string, error) {
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		row, err := ownRun(&tx.View, runID)
		if errors.Is(err, store.ErrNotFound) {
			return wire.Errorf(wire.CodeRunNotFound, "Run not found")
		} else if err != nil {
			return err
		}
		if row.Status != wire.RunRunning {
			return wire.Errorf(wire.CodeRunNotActive, "Run is not currently executing")
		}
		now := e.nowMs()
		row.PauseRequestedMs = now
		if row.StartedAtMs == 0 { // queued: nothing is in flight
			row.Status, row.PauseRequestedMs = wire.RunPaused, 0
			if err := appendEvent(tx, row, e.opts.MaxEventBytes, statusEvent(wire.RunPaused, now)); err != nil {
				return err
			}
		}
		if err := tx.UpdateRun(row); err != nil {
			return err
		}
		return by.audit(tx, now, "pause", runID, nil)
	})
	if err != nil {
		return "", apiError(err)
	}
	e.mu.Lock()
	r := e.runs[runID]
	e.mu.Unlock()
	if r != nil {
		r.box.post(r.pause)
	}
	return "pausing", nil
}

func statusEvent(status string, at int64) event {
	return event{typ: wire.TypeRunStatusChanged, at: at, fields: []field{text("status", status)}}
}

// Resume sets a paused run to work again and makes a waiting one look again at
// what it waits for. The status is "resume_requested", or "already_terminal".
func (e *Engine) Resume(ctx context.Context, runID string, by Actor) (string, error) {
	status, part := "resume_requested", share{}
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		row, err := ownRun(&tx.View, runID)
		if errors.Is(err, store.ErrNotFound) {
			return errRunNotFound(runID)
		} else if err != nil {
			return err
		}
		part = e.registry.shareOf(row)
		switch row.Status {
		case wire.RunFinished, wire.RunFailed, wire.RunCancelled, wire.RunContinued: // nothing will happen (Q20)
			status = "already_terminal"
			return nil
		}
		now := e.nowMs()
		if err := e.resume(tx, row, now); err != nil {
			return err
		}
		return by.audit(tx, now, "resume", runID, nil)
	})
	if err != nil {
		return "", apiError(err)
	}
	if part.weight > 0 && status != "already_terminal" {
		e.unpause(runID, part)
	}
	return status, nil
}

func (e *Engine) resume(tx *store.Tx, row *store.Run, now int64) error {
	if row.Status != wire.RunPaused && row.PauseRequestedMs == 0 {
		return nil
	}
	paused := row.Status == wire.RunPaused
	row.PauseRequestedMs, row.Error = 0, nil
	if paused {
		row.Status = wire.RunRunning
		if row.StartedAtMs != 0 { // otherwise it is still to be started
			row.HeartbeatAtMs = now // RunStarted is written by whoever takes it up
		}
	}
	return tx.UpdateRun(row)
}

// unpause wakes a run that was paused or about to be.
func (e *Engine) unpause(runID string, part share) {
	e.mu.Lock()
	r := e.runs[runID]
	e.mu.Unlock()
	if r != nil {
		r.box.post(func() {
			if r.pausing && !r.ending {
				r.unpaused()
			}
		})
	}
	e.wake(runID, part, nil)
}

// unpaused carries on after a pause that was wanted no longer before it came about.
func (r *run) unpaused() {
	r.pausing = false
	if r.unbegun { // loaded while the pause was wanted
		r.begin()
		return
	}
	r.look(nil) // for what came meanwhile
}

// pause stops the run from moving on.
func (r *run) pause() {
	if !r.ending {
		r.pausing = true
	}
}

// pauseWith parks the run with an error that a person has to look at. It can be
// resumed once the cause is gone.
func (r *run) pauseWith(f *program.Failure) {
	r.log.Error("the run is paused", zap.String("code", f.Code), zap.String("error", f.Message))
	drop(r.staged)
	r.staged = nil // nothing that the failed replay came up with
	r.stagePaused(f)
}

// stagePaused stages the status paused as the last unit of this stay in memory.
func (r *run) stagePaused(f *program.Failure) {
	if r.ending || r.over {
		return
	}
	now := r.now()
	resumed := false
	r.stageLast(step{
		do: func(u *unit) error {
			resumed = f == nil && u.row.PauseRequestedMs == 0
			if resumed { // withdrawn meanwhile
				return nil
			}
			u.row.Status, u.row.PauseRequestedMs = wire.RunPaused, 0
			u.row.Owner, u.row.HeartbeatAtMs = "", 0
			if f != nil {
				u.row.Error = encodeFailure(f)
			}
			u.dirty = true
			return u.append(statusEvent(wire.RunPaused, now))
		},
		after: func() {
			if resumed {
				r.ending = false
				r.unpaused()
				return
			}
			r.over = true
		},
		events: 1,
	})
}

// pauseBroken is the last resort when the storage refuses a unit for good, or after
// a panic.
func (r *run) pauseBroken(cause error) {
	f := &program.Failure{Name: "Error", Code: codeEngineError, Message: "the gateway could not carry on with the run: " + cause.Error()}
	r.e.store.Submit(func(tx *store.Tx) error {
		row, err := tx.Run(r.id)
		if err != nil || wire.RunTerminal(row.Status) {
			return err
		}
		row.Status, row.PauseRequestedMs, row.Owner, row.HeartbeatAtMs, row.Error = wire.RunPaused, 0, "", 0, encodeFailure(f)
		if err := tx.UpdateRun(row); err != nil {
			return err
		}
		return appendEvent(tx, row, r.e.opts.MaxEventBytes, statusEvent(wire.RunPaused, r.e.nowMs()))
	}, func(err error) {
		if err != nil {
			r.log.Error("the run could not be paused", zap.Error(err))
		}
	})
}
