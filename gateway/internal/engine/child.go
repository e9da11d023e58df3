package engine

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxDepth bounds runs within runs; a run launched from outside has depth 0.
const maxDepth = 32

// childMark stands in the id of a child run behind that of its parent.
const childMark = ":child:"

// parentRef is the node of another run that waits for this one.
type parentRef struct {
	RunID string      `json:"parentRunId"`
	Key   program.Key `json:"parentNode"`
}

// continuation is the member of configJson that links the runs of a chain of
// continueAsNew. Parent is set when the chain began as a child run.
type continuation struct {
	FromRunID string     `json:"fromRunId"`
	Iteration int        `json:"iteration"`
	Parent    *parentRef `json:"parent,omitempty"`
}

func continuationOf(config json.RawMessage) *continuation {
	var c struct {
		Continuation *continuation `json:"continuation"`
	}
	if json.Unmarshal(config, &c) != nil {
		return nil
	}
	return c.Continuation
}

// parentOf returns who waits for a run; nil for nobody.
func parentOf(row *store.Run) *parentRef {
	if row.Source == sourceContinue {
		if c := continuationOf(row.Config); c != nil {
			return c.Parent
		}
		return nil
	}
	if row.ParentRunID == "" || row.ParentNodeID == "" {
		return nil
	}
	return &parentRef{RunID: row.ParentRunID, Key: program.Key{NodeID: row.ParentNodeID, Iteration: row.ParentIteration}}
}

// requestChild launches a run of another workflow. Its row is part of the unit that
// starts the node, so neither is ever without the other.
func (r *run) requestChild(n *node, now int64) {
	o := n.opt.Run
	n.opt.ChildID = r.childRunID(n)
	pending := event{typ: wire.TypeNodePending, name: wire.EventNodePending, at: now, node: &n.key, state: wire.NodePending,
		detail: []field{n.described()}}
	def, ok := r.e.registry.get(o.Workflow)
	switch {
	case !ok:
		r.refuseChild(n, pending, wire.CodeNotFound, "Unknown workflow: "+o.Workflow)
		return
	case r.row.Depth+1 > maxDepth:
		r.refuseChild(n, pending, codeDepth, fmt.Sprintf("runs may be nested %d deep", maxDepth))
		return
	case len(n.opt.ChildID) > maxRunID:
		r.refuseChild(n, pending, wire.CodeInvalidRunID, fmt.Sprintf("the child run's id would be longer than %d characters", maxRunID))
		return
	}
	if r.e.slots.full(r.share.user, r.e.opts.MaxQueued) {
		r.refuseChild(n, pending, codeQueueFull, "so many runs wait for their turn that no more can be taken")
		return
	}
	input, err := checkInput(o.Input)
	if err != nil {
		r.refuseChild(n, pending, wire.CodeInvalidInput, err.Message)
		return
	}
	row := r.childRow(n, def, input, now)
	part := share{weight: weight(def), user: r.share.user}
	held := r.e.slots.try(part)
	if held {
		row.StartedAtMs, row.Owner, row.HeartbeatAtMs, row.Queued = now, r.e.opts.Owner, now, false
	}
	n.row.State, n.row.Attempt = wire.NodeInProgress, 1
	r.insertChild(n, row, part, held, pending, event{typ: wire.TypeNodeStarted, name: wire.EventNodeStarted, at: now, node: &n.key,
		state: wire.NodeInProgress, attempt: 1, detail: []field{text("childRunId", n.opt.ChildID)}})
}

// childRunID names the child run; that of a later generation must not meet the first.
func (r *run) childRunID(n *node) string {
	node := n.key.NodeID
	if n.opt.Before > 0 {
		node = fmt.Sprintf("%s@%d", node, r.generation)
	}
	return fmt.Sprintf("%s%s%s:%d", r.id, childMark, node, n.key.Iteration)
}

func (r *run) childRow(n *node, def Definition, input json.RawMessage, now int64) *store.Run {
	return &store.Run{
		RunID: n.opt.ChildID, ParentRunID: r.id, ParentNodeID: n.key.NodeID, ParentIteration: n.key.Iteration,
		Depth: r.row.Depth + 1, WorkflowKey: def.Key, WorkflowName: nameOf(def), Version: def.Version,
		Status: wire.RunRunning, Queued: true, System: def.System || r.row.System, Input: input,
		Config: childConfig(r.row.Config, def, r.row.System), CreatedBy: r.row.CreatedBy, Source: sourceChild,
		LaunchHash: launchHash(def.Key, input), Seed: newSeed(), CreatedAtMs: now,
	}
}

func (r *run) insertChild(n *node, row *store.Run, part share, held bool, events ...event) {
	node, encoded := n.save(), r.encode(events)
	attempt := &store.Attempt{NodeID: n.key.NodeID, Iteration: n.key.Iteration, Attempt: 1, State: wire.NodeInProgress, StartedAtMs: row.CreatedAtMs}
	var refused *program.Failure
	r.stage(step{
		do: func(u *unit) error {
			refused = nil
			fresh := *row
			full, err := r.e.families.grow(u.tx, row.RunID)
			if err != nil {
				return err
			}
			if full {
				refused = &program.Failure{Name: "Error", Code: codeFamily, Message: fmt.Sprintf("a run and its child runs may launch %d runs in all", maxFamily)}
			} else if err := u.tx.InsertRun(&fresh); errors.Is(err, store.ErrExists) {
				refused = &program.Failure{Name: "Error", Code: codeConflict, Message: "a run with the child's id exists already: " + n.opt.ChildID}
			} else if err != nil {
				return err
			}
			if refused == nil && held {
				if err := appendEvent(u.tx, &fresh, r.e.opts.MaxEventBytes, event{typ: wire.TypeRunStarted, at: row.CreatedAtMs}); err != nil {
					return err
				}
			}
			if err := u.tx.UpsertNode(u.r.id, node); err != nil {
				return err
			}
			if err := u.tx.UpsertAttempt(u.r.id, attempt); err != nil {
				return err
			}
			return u.appendAll(encoded)
		},
		after: func() {
			if refused != nil {
				r.childRefused(n, refused)
			}
		},
		done:   func(stored bool) { r.e.begun(row, part, held, stored && refused == nil) },
		events: len(events) + 1,
	})
}

// childRefused ends a node whose child could not be stored.
func (r *run) childRefused(n *node, f *program.Failure) {
	if n.ended() {
		return
	}
	now := r.now()
	n.row.State, n.row.Error = wire.NodeFailed, encodeFailure(f)
	r.end(n, r.attemptRow(n, now, wire.NodeFailed, n.row.Error), event{typ: wire.TypeNodeFailed, name: wire.EventNodeFailed, at: now,
		node: &n.key, state: wire.NodeFailed, attempt: 1, fields: []field{errorField(f)}})
}

// refuseChild ends a child-run node that cannot begin.
func (r *run) refuseChild(n *node, pending event, code, message string) {
	f := &program.Failure{Name: "Error", Code: code, Message: message}
	n.row.State, n.row.Error = wire.NodeFailed, encodeFailure(f)
	n.save()
	r.end(n, nil, pending, event{typ: wire.TypeNodeFailed, name: wire.EventNodeFailed, at: pending.at, node: &n.key,
		state: wire.NodeFailed, fields: []field{errorField(f)}})
}

// checkChild stages a look at whether the child run has ended, and its
// consequences if it has.
func (r *run) checkChild(n *node) {
	if n.opt.ChildID == "" {
		return
	}
	n.checking = true
	base := n.row
	var written *store.Node
	r.stage(step{
		do: func(u *unit) error {
			written = nil
			child, err := lastOfChain(&u.tx.View, n.opt.ChildID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			f := &program.Failure{Name: "Error", Code: program.CodeChildFailed, Message: "the child run is gone"}
			if err == nil {
				if !wire.RunTerminal(child.Status) {
					return nil
				}
				f = childFailure(child)
			}
			row := base
			row.State, row.Error = wire.NodeFailed, encodeFailure(f)
			if f == nil {
				row.State, row.Output = wire.NodeFinished, child.Output
			}
			written = &row
			return u.childEnded(&row, f)
		},
		after: func() {
			n.checking = false
			if written != nil {
				r.settled(n, written)
			}
		},
		events: 1,
	})
}

func (u *unit) childEnded(row *store.Node, f *program.Failure) error {
	if err := u.running(); err != nil {
		return err
	}
	key := program.Key{NodeID: row.NodeID, Iteration: row.Iteration}
	if err := u.tx.UpsertAttempt(u.r.id, &store.Attempt{NodeID: key.NodeID, Iteration: key.Iteration, Attempt: 1, State: row.State,
		StartedAtMs: row.CreatedAtMs, FinishedAtMs: u.now, Error: row.Error}); err != nil {
		return err
	}
	u.settleRow(row)
	if err := u.tx.UpsertNode(u.r.id, row); err != nil {
		return err
	}
	ev := event{typ: wire.TypeNodeFinished, name: wire.EventNodeFinished, at: u.now, node: &key, state: wire.NodeFinished, attempt: 1}
	if f != nil {
		ev.typ, ev.name, ev.state, ev.fields = wire.TypeNodeFailed, wire.EventNodeFailed, wire.NodeFailed, []field{errorField(f)}
	}
	return u.append(ev)
}

// lastOfChain follows a run that continued as new to the run that carries on.
func lastOfChain(v *store.View, runID string) (*store.Run, error) {
	for {
		row, err := v.Run(runID)
		if err != nil || row.Status != wire.RunContinued || row.ContinuedTo == "" {
			return row, err
		}
		runID = row.ContinuedTo
	}
}

// childFailure is what the parent hears of a child that did not finish.
func childFailure(child *store.Run) *program.Failure {
	switch child.Status {
	case wire.RunFinished:
		return nil
	case wire.RunFailed:
		cause := decodeFailure(child.Error)
		return &program.Failure{Name: "Error", Code: program.CodeChildFailed, Message: "child run failed: " + cause.Message,
			Details: map[string]any{"childRunId": child.RunID}, Cause: trimCauses(cause, maxCauses)}
	}
	return &program.Failure{Name: "Error", Code: program.CodeChildFailed, Message: "child run was " + child.Status,
		Details: map[string]any{"childRunId": child.RunID}}
}

// maxCauses bounds the chain of causes that a failure carries from run to run.
const maxCauses = 8

func trimCauses(f *program.Failure, depth int) *program.Failure {
	if f == nil || depth == 0 {
		return nil
	}
	trimmed := *f
	trimmed.Cause = trimCauses(f.Cause, depth-1)
	return &trimmed
}

// tellParent marks the node that waits for a run which has just ended. The result
// says whom to wake after the commit.
func tellParent(tx *store.Tx, row *store.Run, now int64) (*parentRef, error) {
	p := parentOf(row)
	if p == nil {
		return nil, nil
	}
	n, err := tx.Node(p.RunID, p.Key.NodeID, p.Key.Iteration)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if wire.NodeEnded(n.State) {
		return nil, nil
	}
	n.WakeAtMs = now
	return p, tx.UpsertNode(p.RunID, n)
}

// wakeParent follows tellParent.
func (e *Engine) wakeParent(p *parentRef) {
	if p == nil {
		return
	}
	e.mu.Lock()
	r, ok := e.runs[p.RunID]
	e.mu.Unlock()
	if ok && r.box.post(func() { r.look(&p.Key) }) {
		return
	}
	e.waker.add(p.RunID, e.nowMs(), true) // its weight is found where it is loaded
}
