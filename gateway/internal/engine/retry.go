package engine

import (
	"fmt"
	"math"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

const (
	maxCuts       = 3                   // attempts that a crash or a drain may cut
	longestPause  = 24 * 60 * 60 * 1000 // ms, unless the task says otherwise
	backoffFactor = 2
)

// failAttempt records a failed attempt and either plans the next or ends the node.
func (r *run) failAttempt(n *node, f *program.Failure) {
	now := r.now()
	n.traced(wire.NodeFailed, f)
	r.attemptOver(n)
	errJSON := encodeFailure(f)
	attempt := r.attemptRow(n, now, wire.NodeFailed, errJSON)
	failed := event{typ: wire.TypeNodeFailed, name: wire.EventNodeFailed, at: now, node: &n.key, state: wire.NodeFailed,
		attempt: n.row.Attempt, fields: []field{errorField(f)}}
	tried := n.row.Attempt - n.opt.Before - n.row.Cuts
	if f.NoRetry || tried > n.opt.Task.Retries {
		n.row.State, n.row.Error = wire.NodeFailed, errJSON
		r.end(n, attempt, failed)
		return
	}
	n.row.State, n.row.UpdatedAtMs, n.row.WakeAtMs = wire.NodePending, now, 0
	if pause := backoff(n.opt.Task, tried); pause > 0 {
		n.row.WakeAtMs = now + pause
	}
	r.putAttempt(n, attempt, failed, retrying(n, now))
}

func retrying(n *node, now int64) event {
	return event{typ: wire.TypeNodeRetrying, name: wire.EventNodeRetrying, at: now, node: &n.key,
		state: wire.NodeInProgress, attempt: n.row.Attempt + 1}
}

// putAttempt stages a node's row with the row of its attempt.
func (r *run) putAttempt(n *node, attempt *store.Attempt, events ...event) {
	r.stage(step{do: func(u *unit) error { return u.tx.UpsertAttempt(u.r.id, attempt) }, more: true, plain: true})
	due := n.row.WakeAtMs
	r.put(n, func() { r.wakeAt(due) }, events...)
}

// backoff is the pause in ms before the attempt that follows the tried-th.
func backoff(o *program.TaskOptions, tried int) int64 {
	if o.BackoffMs <= 0 {
		return 0
	}
	factor := o.BackoffFactor
	if factor <= 0 {
		factor = backoffFactor
	}
	longest := float64(longestPause)
	if o.MaxBackoffMs > 0 {
		longest = float64(o.MaxBackoffMs)
	}
	return int64(math.Min(float64(o.BackoffMs)*math.Pow(factor, float64(tried-1)), longest))
}

// cut records an attempt that a crash or a drain ended. It does not count against
// the retries, but a task that takes the process down with it must end some time.
func (r *run) cut(n *node, now int64) {
	f := &program.Failure{Name: "Error", Code: program.CodeTaskInterrupted, Message: "the attempt was cut by the end of the process"}
	attempt := r.attemptRow(n, now, wire.NodeCancelled, encodeFailure(f))
	n.row.Cuts++
	n.row.UpdatedAtMs, n.row.State = now, wire.NodePending
	if n.row.Cuts >= maxCuts { // startReady ends it, without a retry that anybody should hear of
		r.putAttempt(n, attempt, event{typ: wire.TypeNodePending, at: now, node: &n.key, state: wire.NodePending})
		return
	}
	r.putAttempt(n, attempt, retrying(n, now))
}

// interrupted ends a task that was cut too often.
func (r *run) interrupted(n *node, now int64) {
	f := &program.Failure{Name: "Error", Code: program.CodeTaskInterrupted,
		Message: fmt.Sprintf("the task was cut by the end of the process %d times", n.row.Cuts)}
	n.row.State, n.row.Error = wire.NodeFailed, encodeFailure(f)
	r.end(n, nil, event{typ: wire.TypeNodeFailed, name: wire.EventNodeFailed, at: now, node: &n.key,
		state: wire.NodeFailed, attempt: n.row.Attempt, fields: []field{errorField(f)}})
}
