package engine

import (
	"context"
	"errors"

	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// CancelResult is what cancelRun answers.
type CancelResult struct {
	Won            bool
	Status         string
	TerminalStatus string
	Repaired       bool
}

// Cancel ends a run, working or parked, and its child runs. Attempts in flight are
// told to stop; what they come to is not heard.
func (e *Engine) Cancel(ctx context.Context, runID string, by Actor) (CancelResult, error) {
	var result CancelResult
	var fenced []string
	var parent *parentRef
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		row, err := ownRun(&tx.View, runID)
		if errors.Is(err, store.ErrNotFound) {
			return wire.Errorf(wire.CodeRunNotFound, "Run not found")
		} else if err != nil {
			return err
		}
		switch {
		case row.Status == wire.RunCancelled:
			result = CancelResult{Status: "already-terminal", TerminalStatus: row.Status}
			return nil
		case wire.RunTerminal(row.Status):
			return wire.Errorf(wire.CodeRunNotActive, "Run is not currently active")
		}
		result = CancelResult{Won: true, Status: wire.RunCancelled, TerminalStatus: wire.RunCancelled, Repaired: true}
		now := e.nowMs()
		if fenced, err = cancelRun(tx, row, now, e.opts.MaxEventBytes); err != nil {
			return err
		}
		if parent, err = tellParent(tx, row, now); err != nil {
			return err
		}
		return by.audit(tx, now, "cancel", runID, nil)
	})
	if err != nil {
		return CancelResult{}, apiError(err)
	}
	e.fence(fenced)
	e.wakeParent(parent)
	return result, nil
}

// cancelRun makes a run terminal and returns the ids of all runs it ended.
func cancelRun(tx *store.Tx, row *store.Run, now int64, limit int) ([]string, error) {
	fenced, err := closeNodes(tx, row, now, false, limit)
	if err != nil {
		return nil, err
	}
	row.Status, row.FinishedAtMs, row.CancelRequestedMs = wire.RunCancelled, now, now
	row.Owner, row.HeartbeatAtMs, row.PauseRequestedMs, row.Queued = "", 0, 0, false
	if err := tx.UpdateRun(row); err != nil {
		return nil, err
	}
	return append(fenced, row.RunID), appendEvent(tx, row, limit, event{typ: wire.TypeRunCancelled, name: wire.EventRunCompleted,
		at: now, fields: []field{text("status", wire.RunCancelled)}})
}

// closeNodes cancels the unfinished nodes of a run with their attempts, approvals,
// waits and child runs. Pending nodes are left as they are unless pendingToo.
func closeNodes(tx *store.Tx, row *store.Run, now int64, pendingToo bool, limit int) (fenced []string, err error) {
	nodes, err := tx.Nodes(row.RunID)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if wire.NodeEnded(n.State) || n.ArgsHash == store.GoneArgs || n.State == wire.NodePending && !pendingToo && n.WakeAtMs == 0 {
			continue
		}
		if n.State == wire.NodePending && !pendingToo {
			n.WakeAtMs = 0
			if err := tx.UpsertNode(row.RunID, n); err != nil {
				return nil, err
			}
			continue
		}
		ids, err := closeNode(tx, row, n, now, limit, frames.ReasonRunEnded)
		if err != nil {
			return nil, err
		}
		fenced = append(fenced, ids...)
	}
	return fenced, nil
}

// closeNode cancels one node in the database and tells the log.
func closeNode(tx *store.Tx, row *store.Run, n *store.Node, now int64, limit int, reason string) (fenced []string, err error) {
	key := program.Key{NodeID: n.NodeID, Iteration: n.Iteration}
	f := &program.Failure{Name: "Error", Code: program.CodeCancelled, Message: n.NodeID + " was cancelled"}
	switch n.State {
	case wire.NodeWaitingApproval:
		err = tx.DecideApproval(row.RunID, &store.Approval{NodeID: n.NodeID, Iteration: n.Iteration,
			Status: wire.ApprovalDenied, DecidedAtMs: now, Note: reason})
		if errors.Is(err, store.ErrDecided) {
			err = nil
		}
	case wire.NodeWaitingEvent:
		err = tx.DeleteWait(row.RunID, n.NodeID, n.Iteration)
	case wire.NodeInProgress:
		err = closeAttempt(tx, row.RunID, n, now, f)
		if err == nil && program.Kind(n.Kind) == program.KindRun {
			fenced, err = cancelChild(tx, row, n, now, limit)
		}
	}
	if err != nil {
		return nil, err
	}
	n.State, n.Error, n.UpdatedAtMs, n.WakeAtMs = wire.NodeCancelled, encodeFailure(f), now, 0
	if err := tx.UpsertNode(row.RunID, n); err != nil {
		return nil, err
	}
	if program.Kind(n.Kind) == program.KindEffect {
		return fenced, nil
	}
	return fenced, appendEvent(tx, row, limit, event{typ: wire.TypeNodeCancelled, name: wire.EventNodeCancelled, at: now, node: &key,
		state: wire.NodeCancelled, attempt: n.Attempt, detail: []field{text("reason", reason)}})
}

func closeAttempt(tx *store.Tx, runID string, n *store.Node, now int64, f *program.Failure) error {
	attempts, err := tx.Attempts(runID, n.NodeID, n.Iteration)
	if err != nil {
		return err
	}
	for _, a := range attempts {
		if a.State != wire.NodeInProgress {
			continue
		}
		a.State, a.FinishedAtMs, a.Error = wire.NodeCancelled, now, encodeFailure(f)
		if err := tx.UpsertAttempt(runID, a); err != nil {
			return err
		}
	}
	return nil
}

// cancelChild cancels the run that a child-run node waits for. The node itself is
// being closed, so nobody is told.
func cancelChild(tx *store.Tx, row *store.Run, n *store.Node, now int64, limit int) ([]string, error) {
	id := childID(row.RunID, n)
	child, err := lastOfChain(&tx.View, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if child.Upstream || wire.RunTerminal(child.Status) {
		return nil, nil
	}
	return cancelRun(tx, child, now, limit)
}

// fence makes runs in memory notice that they have been ended.
func (e *Engine) fence(ids []string) {
	for _, id := range ids {
		e.mu.Lock()
		r := e.runs[id]
		waits := r != nil && !r.granted
		e.mu.Unlock()
		if r != nil && !(waits && e.withdraw(r)) {
			r.box.post(func() { r.over = true })
		}
	}
}

// cancelBlock cancels the unfinished nodes inside a block. They are settled like
// any other, in order of request.
func (r *run) cancelBlock(id string) {
	for _, n := range append([]*node(nil), r.openNodes()...) {
		for _, b := range n.blocks {
			if b == id {
				r.cancelNode(n)
				break
			}
		}
	}
}

func (r *run) cancelNode(n *node) {
	f := &program.Failure{Name: "Error", Code: program.CodeCancelled, Message: n.key.NodeID + " was cancelled with its block"}
	if n.live {
		r.abort(n, f)
		if r.over || r.ending || n.ended() {
			return
		}
		r.attemptOver(n)
	}
	n.row.State = wire.NodeCancelled
	var written *store.Node
	var fenced []string
	now := r.now()
	r.stage(step{
		do: func(u *unit) error {
			written, fenced = nil, nil
			row, err := u.tx.Node(u.r.id, n.key.NodeID, n.key.Iteration)
			if err != nil {
				return err
			}
			if wire.NodeEnded(row.State) { // a check in the same unit came first
				return nil
			}
			if err := u.running(); err != nil {
				return err
			}
			if fenced, err = closeNode(u.tx, u.row, row, now, r.e.opts.MaxEventBytes, "its block was cancelled"); err != nil {
				return err
			}
			u.settleRow(row)
			written = row
			return u.tx.UpsertNode(u.r.id, row)
		},
		after: func() {
			r.e.fence(fenced)
			if written != nil {
				r.settled(n, written)
			}
		},
		events: 1,
	})
}
