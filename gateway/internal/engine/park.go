package engine

import (
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// waitingStatus is the status of a run that has nothing in flight; "" while it has.
// hard means that it waits for the outside world and says so at once; otherwise it
// waits for a retry or a child run, which may be over in a moment, and says so only
// when it leaves memory.
func (r *run) waitingStatus() (status string, hard bool) {
	if r.live > 0 || len(r.settleQ) > 0 || r.machine == nil || r.holding() {
		return "", false
	}
	now := r.now()
	for _, n := range r.openNodes() {
		switch {
		case n.row.State == wire.NodeWaitingApproval:
			return wire.RunWaitingApproval, true
		case n.row.State == wire.NodeWaitingEvent:
			status, hard = wire.RunWaitingEvent, true
		case n.row.State == wire.NodeWaitingTimer && !(hard && status == wire.RunWaitingEvent):
			status, hard = wire.RunWaitingTimer, true
		case n.row.State == wire.NodeInProgress && n.kind() == program.KindRun && !hard:
			status = wire.RunWaitingEvent
		case n.row.State == wire.NodePending && n.row.WakeAtMs > now && status == "":
			status = wire.RunWaitingTimer
		case n.kind() == program.KindEffect, n.row.State == wire.NodePending && n.row.WakeAtMs <= now:
			return "", false
		}
	}
	return status, hard
}

// stageWaiting adds the waiting status to the unit that is being put together, if
// that leaves nothing in flight.
func (r *run) stageWaiting() {
	if status, hard := r.waitingStatus(); hard {
		r.stageStatus(status)
	}
}

func (r *run) stageStatus(status string) {
	if r.status == status && len(r.staged) == 0 {
		return
	}
	known := r.moves + r.ahead
	now := r.now()
	pause := false
	r.stage(step{do: func(u *unit) error {
		if pause = u.row.PauseRequestedMs != 0; pause {
			return nil // it must not leave memory before it hears of that
		}
		// Something that this unit, or one before it, found sets the run to work again.
		if u.moves != known || u.row.Status == status || u.row.Status == wire.RunPaused {
			return nil
		}
		u.row.Status, u.row.Owner, u.row.HeartbeatAtMs = status, "", 0
		u.dirty = true
		return u.append(statusEvent(status, now))
	}, after: func() {
		if pause {
			r.pause()
		}
	}, events: 1})
}

// rest decides what a run does that has no work left for the moment.
func (r *run) rest() {
	if r.over || !r.out.idle() || !r.box.empty() || len(r.staged) > 0 {
		r.stir()
		return
	}
	switch {
	case r.ending:
		return
	case r.stopping:
		r.over = true
		return
	case r.halting:
		r.over = r.live == 0
		return
	case r.pausing:
		if r.live == 0 {
			r.stagePaused(nil)
			r.commit()
		}
		return
	case r.live > 0, len(r.settleQ) > 0, r.machine == nil:
		r.stir()
		return
	}
	status, _ := r.waitingStatus()
	if status == "" {
		if len(r.openNodes()) == 0 {
			r.fail(&program.Failure{Name: "Error", Code: program.CodeStalled,
				Message: "the workflow function waits for something that is no node of the run, so nothing can ever wake it"})
			r.commit()
		}
		return
	}
	for _, n := range r.openNodes() {
		r.wakeAt(n.due())
	}
	if r.e.slots.rests(r) && !r.parkDue {
		if r.parkAt == nil {
			r.parkAt = r.after(r.e.opts.Idle, r.parkNow)
		}
		return
	}
	r.park(status)
}

// stir is the opposite of resting.
func (r *run) stir() {
	r.parkDue = false
	if r.parkAt != nil {
		r.parkAt.Stop()
		r.parkAt = nil
	}
	r.e.slots.works(r)
}

// parkNow makes the next rest leave memory.
func (r *run) parkNow() {
	r.parkAt = nil
	r.parkDue = true
}

// park leaves memory, after the status says what the run waits for.
func (r *run) park(status string) {
	if r.status != status {
		r.stageStatus(status)
		r.commit()
		return
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if !r.box.close(true) {
		return // there is something to do after all
	}
	if r.e.runs[r.id] == r {
		delete(r.e.runs, r.id)
	}
	r.over = true
}

// drain ends the run's stay in memory for the engine's stop.
func (r *run) drain() {
	if r.stopping {
		return
	}
	r.stopping = true
	if r.ending {
		return
	}
	if r.nodes == nil {
		r.over = true
		return
	}
	now := r.now()
	f := &program.Failure{Name: "Error", Code: program.CodeTaskInterrupted, Message: "the gateway is shutting down"}
	for _, n := range r.openNodes() {
		if !n.live {
			continue
		}
		if n.ending != nil {
			r.endUnrecorded(n, f)
			continue
		}
		r.abort(n, f)
		if n.live {
			r.attemptOver(n)
			r.cut(n, now)
		}
	}
	r.stage(step{do: func(u *unit) error {
		if u.row.Owner == "" {
			return nil
		}
		u.row.Owner, u.row.HeartbeatAtMs = "", 0
		u.dirty = true
		return nil
	}})
}
