package engine

import (
	"errors"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// begin brings a loaded run to where its journal ends.
func (r *run) begin() {
	r.unbegun = r.pausing
	if r.pausing {
		r.cutAttempts()
		r.work()
		return
	}
	def, err := r.e.registry.resolve(r.e.ctx, r.row.WorkflowKey, r.row.Version)
	if err != nil {
		if r.e.ctx.Err() != nil { // stopping: not the version's fault
			r.over = true
			return
		}
		r.log.Warn("the run's workflow is missing", zap.Error(err))
		if errors.Is(err, errNoVersion) {
			r.pauseWith(&program.Failure{Name: "Error", Code: codeVersionMissing, Message: err.Error()})
			r.commit()
		}
		return
	}
	r.def = def
	if r.row.StartedAtMs == 0 {
		r.startQueued()
		return
	}
	r.cutAttempts()
	r.commit()
	r.execute()
}

// startQueued commits the start of a run that was only stored until now. The time
// of the start is the workflow's first clock, so it must be durable before.
func (r *run) startQueued() {
	started := r.now()
	r.stage(step{
		do: func(u *unit) error {
			u.row.StartedAtMs, u.row.Queued = started, false
			u.row.Owner, u.row.HeartbeatAtMs = r.e.opts.Owner, started
			u.dirty = true
			return u.append(event{typ: wire.TypeRunStarted, at: started})
		},
		after: func() {
			r.row.StartedAtMs = started
			r.execute()
			r.work()
		},
		events: 1,
	})
	r.commit()
}

// execute makes the machine, replays the journal and does the first work.
func (r *run) execute() {
	if r.stopping || r.over || r.machine != nil {
		return
	}
	m, err := r.def.Program.New(r.e.ctx, r.env())
	if err != nil {
		if r.e.ctx.Err() != nil { // stopping: the run goes on with the next process
			r.over = true
			return
		}
		r.broken(err)
		r.commit()
		return
	}
	r.machine = m
	r.replay()
	r.work()
}

// cutAttempts records attempts that were in flight when the run was last in
// memory, and that the run is being taken over.
func (r *run) cutAttempts() {
	var cut []*node
	for _, n := range r.openNodes() {
		if n.row.State == wire.NodeInProgress && n.kind() == program.KindTask {
			cut = append(cut, n)
		}
	}
	if r.fresh != nil || r.row.Status != wire.RunRunning {
		return
	}
	now := r.now()
	r.stage(step{do: func(u *unit) error {
		u.row.Owner, u.row.HeartbeatAtMs = r.e.opts.Owner, now
		u.dirty = true
		return u.append(event{typ: wire.TypeRunStarted, at: now})
	}, events: 1})
	for _, n := range cut {
		r.cut(n, now)
	}
}
