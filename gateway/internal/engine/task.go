package engine

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func (r *run) requestTask(n *node, now int64) {
	switch {
	case n.opt.Task.Skip:
		n.row.State = wire.NodeSkipped
		n.save() // encodes the options
		r.end(n, nil, event{typ: wire.TypeNodeSkipped, name: wire.EventNodeSkipped, at: now, node: &n.key, state: wire.NodeSkipped,
			detail: []field{n.described()}})
	case n.opt.Task.NeedsApproval != nil:
		r.openGate(n, now)
	default:
		r.put(n, nil, event{typ: wire.TypeNodePending, name: wire.EventNodePending, at: now, node: &n.key, state: wire.NodePending,
			detail: []field{n.described()}})
	}
}

// startReady begins the attempts that are due, as far as the run's concurrency
// allows.
func (r *run) startReady() {
	if r.machine == nil || r.holding() {
		return
	}
	now := r.now()
	for _, n := range r.openNodes() {
		if r.live >= r.limit {
			return
		}
		if n.kind() != program.KindTask || n.row.State != wire.NodePending || !n.asked || n.checking {
			continue
		}
		if n.row.WakeAtMs > now {
			continue
		}
		if n.row.Cuts >= maxCuts {
			r.interrupted(n, now)
			continue
		}
		r.startAttempt(n, now)
	}
}

func (r *run) startAttempt(n *node, now int64) {
	n.row.Attempt++
	n.row.State, n.row.WakeAtMs, n.row.UpdatedAtMs = wire.NodeInProgress, 0, now
	n.live, n.lastBeat, n.sentBeat, n.beat, n.deadline, n.grace, n.ending, n.aborted = true, now, 0, nil, 0, 0, nil, false
	r.live++
	r.e.busy.Add(1)
	number := n.row.Attempt
	key := n.key
	started := r.encode([]event{{typ: wire.TypeNodeStarted, name: wire.EventNodeStarted, at: now, node: &key,
		state: wire.NodeInProgress, attempt: number}})
	r.stage(step{node: n.save(), do: func(u *unit) error {
		if err := u.running(); err != nil {
			return err
		}
		if err := u.tx.UpsertAttempt(u.r.id, &store.Attempt{NodeID: key.NodeID, Iteration: key.Iteration, Attempt: number,
			State: wire.NodeInProgress, StartedAtMs: now}); err != nil {
			return err
		}
		return u.appendAll(started)
	}, after: func() { r.attempt(n, number) }, events: 1, plain: true})
}

// attempt hands a committed attempt to the machine.
func (r *run) attempt(n *node, number int) {
	if !n.live || n.row.Attempt != number || r.stopping || r.ending {
		return // cancelled before it began
	}
	if r.halting {
		r.attemptOver(n)
		r.cut(n, r.now())
		return
	}
	now := r.now()
	n.lastBeat = now
	if t := n.opt.Task.TimeoutMs; t > 0 {
		n.deadline = now + t
	}
	r.tickAt(n.attemptDue(), true)
	r.traceAttempt(n)
	turn, err := r.machine.Attempt(program.Attempt{Ref: n.ref, Number: number, IdempotencyKey: r.idempotencyKey(n), Traceparent: n.span.Traceparent()})
	r.take(turn, err)
}

func (r *run) idempotencyKey(n *node) string {
	b := append([]byte(r.id), '/')
	b = append(append(b, n.key.NodeID...), '/')
	return string(append(b, number("", int64(n.key.Iteration)).value...))
}

// attemptDue is when the live attempt of n is to be cut off; 0 never.
func (n *node) attemptDue() int64 {
	if n.ending != nil {
		return 0
	}
	at := n.deadline
	if h := n.opt.Task.HeartbeatTimeoutMs; h > 0 && (at == 0 || n.lastBeat+h < at) {
		at = n.lastBeat + h
	}
	if at > 0 {
		at += n.grace
	}
	return at
}

// attemptEnd handles what an attempt has come to. One that was cut off or
// cancelled meanwhile is not heard.
func (r *run) attemptEnd(op program.AttemptEnd) {
	n := r.attemptNode(op.Ref, op.Number)
	switch {
	case n == nil || n.ending != nil:
	case n.aborted && op.Err != nil:
		r.attemptOver(n)
		r.cut(n, r.now())
	case r.recordAfter(n, op):
	default:
		r.attemptEnded(n, op)
	}
}

func (r *run) attemptEnded(n *node, op program.AttemptEnd) {
	if op.Err == nil {
		op.Err = checkSize(len(op.Value), "result of the task")
	}
	if op.Err == nil {
		if f := checkSchema(n.opt.Task.Output, op.Value, program.CodeInvalidOutput, "result of the task"); f != nil {
			op.Err = f
		}
	}
	if op.Err != nil {
		r.failAttempt(n, op.Err)
		return
	}
	n.traced(wire.NodeFinished, nil)
	r.attemptOver(n)
	now := r.now()
	n.row.State, n.row.Output, n.row.Error = wire.NodeFinished, op.Value, nil
	r.end(n, r.attemptRow(n, now, wire.NodeFinished, nil), event{typ: wire.TypeNodeFinished, name: wire.EventNodeFinished,
		at: now, node: &n.key, state: wire.NodeFinished, attempt: n.row.Attempt})
}

func (r *run) attemptOver(n *node) {
	n.live, n.ending = false, nil
	n.traced(wire.NodeCancelled, nil) // unless the outcome was told before
	r.trees.take(attemptID{n.ref, n.row.Attempt})
	r.live--
	r.e.busy.Add(-1)
}

// attemptRow is the row of an attempt that ends now.
func (r *run) attemptRow(n *node, now int64, state string, errJSON json.RawMessage) *store.Attempt {
	return &store.Attempt{NodeID: n.key.NodeID, Iteration: n.key.Iteration, Attempt: n.row.Attempt, State: state,
		StartedAtMs: n.row.UpdatedAtMs, FinishedAtMs: now, HeartbeatAtMs: n.sentBeat, Heartbeat: n.beat, Error: errJSON}
}

// checkAttempt cuts off a live attempt that has taken too long or fallen silent.
func (r *run) checkAttempt(n *node, now int64) {
	due := n.attemptDue()
	if due == 0 {
		return
	}
	if now < due {
		r.tickAt(due, true)
		return
	}
	f := &program.Failure{Name: "Error", Code: program.CodeTaskTimeout, Message: "the attempt took longer than its timeout"}
	if n.deadline == 0 || now < n.deadline+n.grace {
		f = &program.Failure{Name: "Error", Code: program.CodeHeartbeatTimeout, Message: "the attempt has shown no sign of life within its heartbeat timeout"}
	}
	r.abort(n, f)
	if n.live {
		r.failAttempt(n, f)
	}
}

// abort tells the machine to stop a live attempt.
func (r *run) abort(n *node, reason *program.Failure) {
	if r.machine == nil || !n.live || n.ending != nil {
		return
	}
	number := n.row.Attempt
	turn, err := r.machine.Abort(n.ref, number, reason)
	if err != nil {
		r.broken(err)
		return
	}
	// The attempt's end may be in the turn; it is overruled by the reason.
	kept := turn.Ops[:0]
	for _, op := range turn.Ops {
		if end, ok := op.(program.AttemptEnd); ok && end.Ref == n.ref && end.Number == number {
			continue
		}
		kept = append(kept, op)
	}
	turn.Ops = kept
	r.take(turn, nil)
}
