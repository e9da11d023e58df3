package engine

import (
	"context"
	"encoding/json"
	"errors"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Moved is what Move answers. A version is the hash of a bundle, "" for a workflow
// that is compiled in.
type Moved struct {
	From, To string // equal when the run was on the newest version already
	Status   string // of the run when it was moved
}

// moveTries bounds how often a move is tried again because the run worked meanwhile.
const moveTries = 3

// errWorked is the result of a move's unit when run or registry are not what the dry
// replay saw.
var errWorked = errors.New("the run has worked meanwhile")

var (
	errMoveActive = wire.Errorf(wire.CodeRunActive, "Run is currently executing — pause it before moving it")
	errMoveEnded  = wire.Errorf(wire.CodeRunNotActive, "Run has ended; a new run uses the newest version")
)

// Move puts a run that waits or is paused on the newest version of its workflow, after
// a replay of its journal in a throwaway machine has shown that this version asks for
// what the journal has. Nothing is executed or written by that replay. A waiting run is
// taken up by the new version at once, a paused one when it is resumed. Child runs stay
// on their versions.
//
// Errors: CodeRunNotFound, CodeRunActive for a run that executes, CodeRunNotActive for
// one that has ended, CodeNotFound when the workflow is not registered any more, and
// CodeConflict with the members reason, position, journal and workflow when the replay
// differs.
func (e *Engine) Move(ctx context.Context, runID string, by Actor) (Moved, error) {
	if err := e.beginMove(ctx); err != nil {
		return Moved{}, apiError(err)
	}
	defer e.endMove()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.ctx, func() { cancel(errStopping()) })()
	for try := 1; ; try++ {
		moved, err := e.move(ctx, runID, by)
		if !errors.Is(err, errWorked) {
			return moved, apiError(err)
		}
		if try == moveTries {
			return Moved{}, errMoveActive
		}
	}
}

// beginMove waits for the place of the one dry replay that may run at a time: it needs
// a machine beyond those that the slots bound.
func (e *Engine) beginMove(ctx context.Context) error {
	select {
	case e.moves <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.started || e.stopping {
		<-e.moves
		return errStopping()
	}
	e.wg.Add(1) // Stop waits
	return nil
}

func (e *Engine) endMove() {
	<-e.moves
	e.wg.Done()
}

// move is one try.
func (e *Engine) move(ctx context.Context, runID string, by Actor) (Moved, error) {
	seen, err := e.stateOf(ctx, runID)
	if err != nil {
		return Moved{}, err
	}
	def, ok := e.registry.get(seen.row.WorkflowKey)
	if !ok {
		return Moved{}, wire.Errorf(wire.CodeNotFound, "Unknown workflow: %s", seen.row.WorkflowKey)
	}
	moved := Moved{From: seen.row.Version, To: def.Version, Status: seen.row.Status}
	if moved.From == moved.To {
		return moved, nil
	}
	if err := e.dryReplay(ctx, seen, def); err != nil {
		return Moved{}, err
	}
	if err := e.commitMove(ctx, seen, moved, share{weight: weight(def), user: creator(seen.row)}, by); err != nil {
		return Moved{}, err
	}
	return moved, nil
}

// commitMove stores a move if run and registry are still what the dry replay saw, and
// has the run taken up by the new version even if the caller has gone.
func (e *Engine) commitMove(ctx context.Context, seen *runState, moved Moved, part share, by Actor) error {
	result := make(chan error, 1)
	var generation int64
	e.store.Submit(func(tx *store.Tx) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		now, err := stateIn(&tx.View, seen.row.RunID)
		if err != nil {
			return err
		}
		if current, ok := e.registry.get(now.row.WorkflowKey); !ok || current.Version != moved.To || !now.same(seen) {
			return errWorked
		}
		generation = now.row.Generation + 1
		return e.storeMove(tx, now.row, moved, by)
	}, func(err error) {
		if err == nil {
			e.restart(seen.row.RunID, part, generation)
		}
		result <- err
	})
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// storeMove writes the new version. The new generation makes a machine of the former
// version that is still in memory notice that it is over.
func (e *Engine) storeMove(tx *store.Tx, row *store.Run, moved Moved, by Actor) error {
	row.Version = moved.To
	row.Generation++
	if err := tx.UpdateRun(row); err != nil {
		return err
	}
	detail, err := json.Marshal(map[string]string{"workflow": row.WorkflowKey, "from": moved.From, "to": moved.To})
	if err != nil {
		return err
	}
	return by.audit(tx, e.nowMs(), "move", row.RunID, detail)
}

// runState is a run with its journal, as of one moment.
type runState struct {
	row    *store.Run
	nodes  []*store.Node
	events int64 // in its log: nothing of a run changes without one
}

func (s *runState) same(o *runState) bool {
	return s.events == o.events && s.row.Version == o.row.Version && s.row.Generation == o.row.Generation &&
		s.row.Status == o.row.Status
}

func (e *Engine) stateOf(ctx context.Context, runID string) (s *runState, err error) {
	err = e.store.View(ctx, func(v *store.View) error {
		if s, err = stateIn(v, runID); err != nil {
			return err
		}
		s.nodes, err = v.Nodes(runID)
		return err
	})
	return s, err
}

// stateIn reads a run that may be moved, without its journal.
func stateIn(v *store.View, runID string) (*runState, error) {
	row, err := ownRun(v, runID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", runID)
	case err != nil:
		return nil, err
	case row.Status == wire.RunRunning:
		return nil, errMoveActive
	case wire.RunTerminal(row.Status):
		return nil, errMoveEnded
	}
	bounds, err := v.EventBounds(runID)
	if err != nil {
		return nil, err
	}
	return &runState{row: row, events: bounds.NextLog}, nil
}

// dryReplay holds a journal against a definition.
func (e *Engine) dryReplay(ctx context.Context, s *runState, def Definition) error {
	if s.row.StartedAtMs == 0 { // paused while it was queued: there is no journal
		return nil
	}
	m, err := def.Program.New(ctx, program.Env{
		Post:        func(any) {},
		WaitCommits: func(context.Context) {},
		HandOver:    func(context.Context, []program.Op) {},
		Logger:      zap.NewNop(),
	})
	if err != nil {
		return cannotMove(ctx, s.row.RunID, err)
	}
	defer m.Close()
	r := &run{e: e, id: s.row.RunID, log: zap.NewNop(), row: s.row} // only its memory is used
	r.know(s.nodes)
	p := &replayer{machine: m, nodes: r.nodes, byRef: r.byRef, halt: func() error { return context.Cause(ctx) }}
	if err := p.run(r.input(), r.pos); err != nil {
		return cannotMove(ctx, s.row.RunID, err)
	}
	if p.done != nil && p.done.Err != nil {
		return wire.Errorf(wire.CodeConflict, "Run %s cannot be moved: it would fail at once: %s", s.row.RunID, p.done.Err.Error()).
			With("reason", p.done.Err.Code)
	}
	return nil
}

// cannotMove says why a dry replay did not come to the end of the journal.
func cannotMove(ctx context.Context, runID string, err error) error {
	var differs *contradiction
	switch {
	case ctx.Err() != nil: // nobody waits for the answer, or the engine stops
		return context.Cause(ctx)
	case errors.As(err, &differs):
		journal := map[string]any{"kind": differs.journal.row.Kind, "nodeId": differs.journal.key.NodeID, "iteration": differs.journal.key.Iteration}
		var asked any
		if req := differs.asked; req != nil {
			asked = map[string]any{"kind": req.Kind, "nodeId": req.Key.NodeID, "iteration": req.Key.Iteration}
		}
		return wire.Errorf(wire.CodeConflict, "Run %s cannot be moved: %s", runID, err.Error()).
			With("reason", program.CodeNonDeterministic).With("position", differs.position).
			With("journal", journal).With("workflow", asked)
	}
	return wire.Errorf(wire.CodeConflict, "Run %s cannot be moved: %s", runID, asFailure(err).Error()).With("reason", asFailure(err).Code)
}
