package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// RetryTask asks for a node of a run to be done again.
type RetryTask struct {
	RunID     string
	NodeID    string
	Iteration int
	// KeepDependents leaves the results of everything that ran after the node as they
	// are: where the workflow asks for the same again, it is given the stored result.
	KeepDependents bool
	By             Actor
}

// A run that is about to end is waited for before a retry is refused.
const (
	retryPatience = time.Second
	retryPause    = 25 * time.Millisecond
)

var errRunActive = wire.Errorf(wire.CodeRunActive, "Run is currently executing — cancel or pause it before retrying a task")

// RetryTask starts a new generation of the run's journal: the node, and with it
// whatever settled after it or has not settled, is reset and the run set to work. The
// attempts made so far and the log stay; new attempts go on counting. It returns the
// ids of the nodes that will run again, in order of request.
func (e *Engine) RetryTask(ctx context.Context, t RetryTask) ([]string, error) {
	if err := e.retriable(ctx, t.RunID); err != nil {
		return nil, apiError(err)
	}
	var reset, fenced []string
	var generation int64
	var part share
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		reset, fenced = nil, nil
		row, err := ownRun(&tx.View, t.RunID)
		if errors.Is(err, store.ErrNotFound) {
			return errRunNotFound(t.RunID)
		} else if err != nil {
			return err
		}
		if err := mayRetry(row); err != nil {
			return err
		}
		part = e.registry.shareOf(row)
		now := e.nowMs()
		archive, err := openArchive(tx, row)
		if err != nil {
			return err
		}
		if reset, fenced, err = e.resetNodes(tx, row, &t, archive, now); err != nil {
			return err
		}
		err = e.newGeneration(tx, row, &t, reset, now)
		generation = row.Generation
		return err
	})
	if err != nil {
		return nil, apiError(err)
	}
	e.fence(fenced)
	e.restart(t.RunID, part, generation)
	return reset, nil
}

// retriable waits a moment for a run that is about to end and makes sure that its
// code can still be had.
func (e *Engine) retriable(ctx context.Context, runID string) error {
	deadline := time.Now().Add(retryPatience)
	for {
		var row *store.Run
		err := e.store.View(ctx, func(v *store.View) (err error) {
			row, err = ownRun(v, runID)
			return err
		})
		if errors.Is(err, store.ErrNotFound) {
			return errRunNotFound(runID)
		} else if err != nil {
			return err
		}
		if row.Status != wire.RunRunning {
			if _, err := e.registry.resolve(ctx, row.WorkflowKey, row.Version); err != nil {
				return wire.Errorf(wire.CodeInvalidRequest, "Run %s cannot be retried: the workflow it was launched with is gone", runID)
			}
			return mayRetry(row)
		}
		if time.Now().After(deadline) {
			return errRunActive
		}
		pause := time.NewTimer(retryPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

func mayRetry(row *store.Run) error {
	switch row.Status {
	case wire.RunRunning:
		return errRunActive
	case wire.RunContinued:
		return wire.Errorf(wire.CodeInvalidRequest, "Run %s continued as %s; retry there", row.RunID, row.ContinuedTo)
	}
	return nil
}

// resetNodes resets the nodes that the retry concerns and returns the ids of those
// that had run, and of the child runs that it ended.
func (e *Engine) resetNodes(tx *store.Tx, row *store.Run, t *RetryTask, archive *store.Archive, now int64) (reset, fenced []string, err error) {
	nodes, err := tx.Nodes(row.RunID)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(nodes, func(n *store.Node) bool {
		return n.NodeID == t.NodeID && n.Iteration == t.Iteration && program.Kind(n.Kind) != program.KindEffect && n.ArgsHash != store.GoneArgs
	})
	if i < 0 {
		return nil, nil, wire.Errorf(wire.CodeNotFound, "Node not found: %s/%s/%d", t.RunID, t.NodeID, t.Iteration)
	}
	target := nodes[i]
	if !ran(target) {
		return nil, nil, wire.Errorf(wire.CodeInvalidRequest, "Node %s has not run yet", t.NodeID)
	}
	position := target.Position
	for _, n := range nodes {
		after := n.Position == 0 || position > 0 && n.Position > position
		if n != target && !after || isReset(n) && n != target {
			continue
		}
		if err := tx.ArchiveNode(row.RunID, archive, n.NodeID, n.Iteration); err != nil {
			return nil, nil, err
		}
		// What a kept dependent was given is only known if it ended by itself.
		if n != target && t.KeepDependents && n.Position > 0 {
			if err := keepResult(tx, row.RunID, n); err != nil {
				return nil, nil, err
			}
			continue
		}
		if ran(n) && program.Kind(n.Kind) != program.KindEffect && !slices.Contains(reset, n.NodeID) {
			reset = append(reset, n.NodeID)
		}
		ids, err := e.resetNode(tx, row, n, "", now)
		if err != nil {
			return nil, nil, err
		}
		fenced = append(fenced, ids...)
	}
	return reset, fenced, nil
}

// ran reports whether there is anything of a node to do again.
func ran(n *store.Node) bool { return n.Attempt > 0 || n.State != wire.NodePending }

// A reset node stays in the journal without arguments or a position, so that its
// attempts go on counting when the workflow asks for it again. One whose result is
// kept has the mark keptArgs before its arguments, one that a rewind took out of the
// journal has store.GoneArgs.
const keptArgs = "="

func isReset(n *store.Node) bool {
	return n.Position == 0 && (n.ArgsHash == "" || n.ArgsHash == store.GoneArgs || n.ArgsHash[:1] == keptArgs)
}

func keepResult(tx *store.Tx, runID string, n *store.Node) error {
	n.ArgsHash, n.Position = keptArgs+n.ArgsHash, 0
	return tx.UpsertNode(runID, n)
}

// resetNode takes back what a node has come to; args is "" or store.GoneArgs.
func (e *Engine) resetNode(tx *store.Tx, row *store.Run, n *store.Node, args string, now int64) (fenced []string, err error) {
	if program.Kind(n.Kind) == program.KindEffect {
		return nil, tx.DeleteNode(row.RunID, n.NodeID, n.Iteration)
	}
	// A row that a rewind brought back counts fewer attempts than are on record.
	attempts, err := tx.Attempts(row.RunID, n.NodeID, n.Iteration)
	if err != nil {
		return nil, err
	}
	for _, a := range attempts {
		n.Attempt = max(n.Attempt, a.Attempt)
	}
	if n.State == wire.NodeInProgress {
		f := &program.Failure{Name: "Error", Code: program.CodeCancelled, Message: n.NodeID + " was reset"}
		if err := closeAttempt(tx, row.RunID, n, now, f); err != nil {
			return nil, err
		}
		if program.Kind(n.Kind) == program.KindRun {
			if fenced, err = cancelChild(tx, row, n, now, e.opts.MaxEventBytes); err != nil {
				return nil, err
			}
		}
	}
	n.State, n.ArgsHash, n.Position, n.SettledAtMs, n.Cuts = wire.NodePending, args, 0, 0, 0
	n.Output, n.Error, n.WakeAtMs, n.UpdatedAtMs = nil, nil, 0, now
	return fenced, tx.ResetNode(row.RunID, n)
}

// newGeneration makes whatever still works on the old journal notice that it is over.
func (e *Engine) newGeneration(tx *store.Tx, row *store.Run, t *RetryTask, reset []string, now int64) error {
	if err := startGeneration(tx, row, now); err != nil {
		return err
	}
	ids, err := json.Marshal(reset)
	if err != nil {
		return err
	}
	key := program.Key{NodeID: t.NodeID, Iteration: t.Iteration}
	for _, ev := range []event{
		{typ: wire.TypeTaskRetryRequested, at: now, node: &key, fields: []field{raw("resetNodes", ids), number("generation", row.Generation)},
			detail: []field{boolean("keepDependents", t.KeepDependents)}},
		statusEvent(wire.RunRunning, now),
	} {
		if err := appendEvent(tx, row, e.opts.MaxEventBytes, ev); err != nil {
			return err
		}
	}
	detail, err := json.Marshal(map[string]any{"nodeId": t.NodeID, "iteration": t.Iteration, "resetNodes": reset})
	if err != nil {
		return err
	}
	return t.By.audit(tx, now, "retry", row.RunID, detail)
}

func startGeneration(tx *store.Tx, row *store.Run, now int64) error {
	row.Generation++
	row.Status, row.Queued = wire.RunRunning, row.StartedAtMs == 0
	row.Output, row.Error, row.FailedChildren = nil, nil, nil
	row.FinishedAtMs, row.CancelRequestedMs, row.PauseRequestedMs = 0, 0, 0
	row.Owner, row.HeartbeatAtMs = "", now
	return tx.UpdateRun(row)
}

// openArchive begins to set a journal back. Positions go on behind all that were given,
// so that those of two generations are never the same.
func openArchive(tx *store.Tx, row *store.Run) (*store.Archive, error) {
	nodes, err := tx.NodeShapes(row.RunID)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		row.LastPosition = max(row.LastPosition, n.Position)
	}
	return tx.OpenArchive(row.RunID, row.LastPosition)
}

// restart takes up a run whose journal was replaced. What is in memory of an earlier
// generation leaves and hands over; what was not loaded until then has nothing to
// hand over.
func (e *Engine) restart(runID string, part share, generation int64) {
	e.mu.Lock()
	r := e.runs[runID]
	if r != nil {
		r.restart = true
	}
	e.mu.Unlock()
	if r == nil {
		e.wake(runID, part, nil)
		return
	}
	r.box.post(func() {
		if r.generation < generation {
			r.over = true
			return
		}
		e.mu.Lock()
		r.restart = false
		e.mu.Unlock()
	})
}

var keptTypes = map[string]string{
	wire.NodeFinished: wire.TypeNodeFinished, wire.NodeFailed: wire.TypeNodeFailed,
	wire.NodeSkipped: wire.TypeNodeSkipped, wire.NodeCancelled: wire.TypeNodeCancelled,
}

// again takes over what a reset node of an earlier generation leaves to n: the count
// of its attempts and, where it was kept and n asks for the same, its result. It
// reports whether that settles n.
func (r *run) again(n *node) (settled bool) {
	old := r.resets[n.key]
	if old == nil {
		return false
	}
	delete(r.resets, n.key)
	n.row.Attempt, n.opt.Before = old.Attempt, old.Attempt
	if old.ArgsHash == "" || old.ArgsHash == store.GoneArgs {
		return false
	}
	if old.Kind != n.row.Kind || old.ArgsHash != keptArgs+n.row.ArgsHash {
		r.stage(step{do: func(u *unit) error { // what it held is void after all
			row := *old
			row.State, row.ArgsHash, row.Output, row.Error, row.SettledAtMs = wire.NodePending, "", nil, nil, 0
			return u.tx.ResetNode(u.r.id, &row)
		}, more: true})
		return false
	}
	n.row.State, n.row.Output, n.row.Error = old.State, old.Output, old.Error
	n.row.Options = old.Options
	if err := json.Unmarshal(old.Options, &n.opt); err != nil {
		n.row.Options = nil
	}
	if n.kind() == program.KindEffect {
		r.end(n, nil)
		return true
	}
	// Nothing is pushed for a result that was known before, but the log tells when it was
	// taken over.
	r.end(n, nil, event{typ: keptTypes[n.row.State], at: r.now(), node: &n.key, state: n.row.State, detail: []field{n.described()}})
	return true
}
