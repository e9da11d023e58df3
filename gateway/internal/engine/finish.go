package engine

import (
	"encoding/json"
	"sort"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// finish ends the run as its function did.
func (r *run) finish(o *program.Outcome) {
	switch {
	case o.Continue != nil:
		r.continueAsNew(o.Continue)
	case o.Err != nil:
		r.fail(runFailure(o.Err))
	case checkSize(len(o.Value), "result of the run") != nil:
		r.fail(checkSize(len(o.Value), "result of the run"))
	default:
		failed := r.toleratedFailures()
		r.conclude(wire.RunFinished, func(u *unit, now int64) error {
			u.row.Output = o.Value
			ev := event{typ: wire.TypeRunFinished, name: wire.EventRunCompleted, at: now, fields: []field{text("status", wire.RunFinished)}}
			if len(failed) > 0 {
				u.row.FailedChildren = mustJSON(failed)
				ev.fields = append(ev.fields, number("failedChildren", int64(len(failed))), raw("failedChildKeys", u.row.FailedChildren))
			}
			return u.append(ev)
		}, nil)
	}
}

// toleratedFailures names the failed tasks that the run survived, in order of
// request.
func (r *run) toleratedFailures() []string {
	var failed []*node
	for _, n := range r.nodes {
		if n.row.State == wire.NodeFailed && n.opt.Task != nil && n.opt.Task.ContinueOnFail {
			failed = append(failed, n)
		}
	}
	sort.Slice(failed, func(i, j int) bool { return failed[i].row.Ordinal < failed[j].row.Ordinal })
	names := make([]string, len(failed))
	for i, n := range failed {
		names[i] = n.name()
	}
	return names
}

// fail ends the run with an error.
func (r *run) fail(f *program.Failure) {
	if f.Stack != "" {
		r.log.Warn("the run failed", zap.String("error", f.Message), zap.String("stack", f.Stack))
	}
	r.trace.fail = f
	r.conclude(wire.RunFailed, func(u *unit, now int64) error {
		u.row.Error = encodeFailure(f)
		return u.append(event{typ: wire.TypeRunFailed, name: wire.EventRunCompleted, at: now,
			fields: []field{text("status", wire.RunFailed), errorField(f)}})
	}, nil)
}

// broken ends the run because its machine cannot go on.
func (r *run) broken(err error) { r.fail(asFailure(err)) }

// conclude stages the last unit of the run: whatever is unfinished is cancelled,
// the row becomes terminal, the parent is told.
func (r *run) conclude(status string, last func(u *unit, now int64) error, done func(stored bool)) {
	if r.ending || r.over {
		if done != nil {
			done(false)
		}
		return
	}
	now := r.now()
	unfinished := len(r.openNodes()) > 0 || len(r.resets) > 0
	var fenced []string
	var parent *parentRef
	r.stageLast(step{
		do: func(u *unit) (err error) {
			fenced, parent = nil, nil
			if unfinished {
				if fenced, err = closeNodes(u.tx, u.row, now, true, r.e.opts.MaxEventBytes); err != nil {
					return err
				}
			}
			u.row.Status, u.row.FinishedAtMs, u.row.Owner, u.row.HeartbeatAtMs = status, now, "", 0
			u.row.PauseRequestedMs, u.row.Queued = 0, false
			u.dirty = true
			if err := last(u, now); err != nil {
				return err
			}
			if status != wire.RunContinued {
				parent, err = tellParent(u.tx, u.row, now)
			}
			return err
		},
		after: func() {
			r.over = true
			r.e.fence(fenced)
			r.e.wakeParent(parent)
		},
		done:   done,
		events: 1,
	})
}

// continueAsNew ends the run and launches its successor in the same unit.
func (r *run) continueAsNew(given json.RawMessage) {
	input, problem := checkInput(given)
	if problem != nil {
		r.fail(&program.Failure{Name: "Error", Code: wire.CodeInvalidInput, Message: "continueAsNew: " + problem.Message})
		return
	}
	def, ok := r.e.registry.get(r.row.WorkflowKey)
	if !ok {
		def = r.def // gone from the registry: the chain carries on with what it has
	}
	next := r.successor(def, input)
	part := share{weight: weight(def), user: r.share.user}
	held := r.e.slots.try(part)
	if held {
		next.StartedAtMs, next.Owner, next.HeartbeatAtMs, next.Queued = next.CreatedAtMs, r.e.opts.Owner, next.CreatedAtMs, false
	}
	iteration := int64(1)
	if c := continuationOf(r.row.Config); c != nil {
		iteration = int64(c.Iteration) + 1
	}
	r.conclude(wire.RunContinued, func(u *unit, now int64) error {
		fresh := *next
		if err := u.tx.InsertRun(&fresh); err != nil {
			return err
		}
		if held {
			if err := appendEvent(u.tx, &fresh, r.e.opts.MaxEventBytes, event{typ: wire.TypeRunStarted, at: now}); err != nil {
				return err
			}
		}
		u.row.ContinuedTo = next.RunID
		return u.append(event{typ: wire.TypeRunContinuedAsNew, name: wire.EventRunCompleted, at: now,
			fields: []field{text("status", wire.RunFinished), text("newRunId", next.RunID)},
			detail: []field{number("iteration", iteration), number("carriedStateSize", int64(len(input))), number("ancestryDepth", iteration)}})
	}, func(stored bool) { r.e.begun(next, part, held, stored) })
}

func (r *run) successor(def Definition, input json.RawMessage) *store.Run {
	now := r.now()
	link := continuation{FromRunID: r.id, Iteration: 1, Parent: r.parent}
	if c := continuationOf(r.row.Config); c != nil {
		link.Iteration = c.Iteration + 1
	}
	return &store.Run{
		RunID: newRunID(), ParentRunID: r.id, Depth: r.row.Depth, WorkflowKey: def.Key, WorkflowName: nameOf(def),
		Version: def.Version, Status: wire.RunRunning, Queued: true, System: r.row.System, Input: input,
		Config: withMember(r.row.Config, "continuation", link), CreatedBy: r.row.CreatedBy, Source: sourceContinue,
		LaunchHash: launchHash(def.Key, input), Seed: newSeed(), CreatedAtMs: now,
	}
}
