package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"path/filepath"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/worktree"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Diffs compares captures of work trees; *worktree.Git implements it.
type Diffs interface {
	Diff(ctx context.Context, root, before, after string, limit int64) ([]worktree.Patch, error)
}

// maxDiffs bounds the diffs that are in memory at once; others wait.
const maxDiffs = 2

func (r *Router) getNodeDiff(ctx context.Context, _ *Call, p params) (any, error) {
	runID, nodeID := p.str("runId"), p.str("nodeId")
	if werr := wire.CheckRunID(runID); werr != nil {
		return nil, werr
	}
	if werr := wire.CheckNodeID(nodeID); werr != nil {
		return nil, werr
	}
	f, ok := p.number("iteration")
	if !ok || f < 0 || f > math.MaxInt32 || f != math.Trunc(f) {
		return nil, wire.Errorf(wire.CodeInvalidIteration, "iteration must be an i32 non-negative integer.")
	}
	iteration := int(f)
	var attempts []*store.Attempt
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		if _, err := loadRun(v, runID, runNotFound); err != nil {
			return err
		}
		n, err := v.Node(runID, nodeID, iteration)
		if errors.Is(err, store.ErrNotFound) || err == nil && n.Kind == string(program.KindEffect) {
			return wire.Errorf(wire.CodeNodeNotFound, "Node not found: %s/%s/%d", runID, nodeID, iteration)
		} else if err != nil {
			return err
		}
		attempts, err = v.Attempts(runID, nodeID, iteration)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(attempts) == 0 {
		return nil, wire.Errorf(wire.CodeAttemptNotFound, "Attempt not found for %s/%s/%d", runID, nodeID, iteration)
	}
	attempt, tree, werr := nodeTree(attempts)
	if werr != nil {
		return nil, werr
	}
	bundle, size, err := r.diff(ctx, attempt, tree)
	if size > 0 {
		return nil, wire.Errorf(wire.CodeDiffTooLarge, "The diff has %d bytes; at most %d are sent.", size, wire.MaxDiffBytes).
			With("sizeBytes", size).With("maxBytes", wire.MaxDiffBytes)
	}
	return bundle, err
}

// nodeTree returns the newest attempt whose programs left a work tree behind, and the
// change from before the first of the tries that led to it.
func nodeTree(attempts []*store.Attempt) (attempt int, tree store.AttemptTree, _ *wire.Error) {
	if attempts[len(attempts)-1].State == wire.NodeInProgress {
		return 0, tree, wire.Errorf(wire.CodeAttemptNotFinished, "Attempt is still running.")
	}
	reason := ""
	for i := len(attempts) - 1; i >= 0; i-- {
		t := attempts[i].Tree
		if t == nil || t.After == "" {
			if t != nil && reason == "" {
				reason = t.Error
			}
			continue
		}
		tree = *t
		for j := i - 1; j >= 0 && attempts[j].State != wire.NodeFinished; j-- {
			if earlier := attempts[j].Tree; earlier != nil && earlier.Root == tree.Root && earlier.Before != "" {
				tree.Before = earlier.Before
			}
		}
		return attempts[i].Attempt, tree, nil
	}
	if reason != "" {
		return 0, tree, notRecorded(reason)
	}
	return 0, tree, wire.Errorf(wire.CodeAttemptNotFinished, "Attempt has no finished jj pointer.")
}

func notRecorded(reason string) *wire.Error {
	return wire.Errorf(wire.CodeVcsError, "The work tree was not recorded: %s", wire.HidePaths(reason))
}

func (r *Router) getRunDiff(ctx context.Context, _ *Call, p params) (any, error) {
	id := p.str("runId")
	if id == "" || len(id) > wire.MaxRunIDUnits {
		return nil, wire.Errorf(wire.CodeInvalidRequestCamel, "runId must be a non-empty string of at most %d characters.", wire.MaxRunIDUnits)
	}
	var run *store.Run
	var attempts []*store.Attempt
	err := r.deps.Store.View(ctx, func(v *store.View) (err error) {
		if run, err = loadRun(v, id, runNotFound); err == nil {
			attempts, err = v.AttemptsOf(id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	tree, werr := runTree(run, attempts)
	if werr != nil {
		return nil, werr
	}
	bundle, size, err := r.diff(ctx, 1, tree)
	if size > 0 {
		return wire.OversizedDiff{Status: "oversized", BaseRef: tree.Before, TerminalRef: tree.After, SizeBytes: size, MaxBytes: wire.MaxDiffBytes}, nil
	}
	return bundle, err
}

// runTree is the change from before the first program of a run to after its last.
func runTree(run *store.Run, attempts []*store.Attempt) (tree store.AttemptTree, _ *wire.Error) {
	var last *store.Attempt
	reason := ""
	for _, a := range attempts {
		switch {
		case a.Tree == nil || run.WorkTree != nil && a.Tree.Root != run.WorkTree.Root:
		case a.Tree.After != "":
			if last == nil || a.FinishedAtMs >= last.FinishedAtMs {
				last = a
			}
		case a.Tree.Error != "":
			reason = a.Tree.Error
		}
	}
	switch {
	case run.WorkTree == nil && reason != "":
		return tree, notRecorded(reason)
	case run.WorkTree == nil:
		return tree, wire.Errorf(wire.CodeVcsError, "Run has no immutable VCS base revision.")
	case !wire.RunTerminal(run.Status):
		return tree, wire.Errorf(wire.CodeVcsError, "Run diff is unavailable until the run reaches a terminal state.")
	case last == nil && reason != "":
		return tree, notRecorded(reason)
	case last == nil:
		return tree, wire.Errorf(wire.CodeVcsError, "Run has no durable terminal VCS evidence.")
	}
	return store.AttemptTree{Root: run.WorkTree.Root, Before: run.WorkTree.Base, After: last.Tree.After}, nil
}

// diff makes the bundle. size is not 0 when it is too large to be sent.
func (r *Router) diff(ctx context.Context, seq int, t store.AttemptTree) (bundle json.RawMessage, size int64, _ error) {
	if r.deps.Diffs == nil {
		return nil, 0, wire.Errorf(wire.CodeVcsError, "This gateway compares no work trees.")
	}
	select {
	case r.diffs <- struct{}{}:
		defer func() { <-r.diffs }()
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	patches, err := r.deps.Diffs.Diff(ctx, t.Root, t.Before, t.After, wire.MaxDiffBytes)
	var large *worktree.TooLargeError
	switch {
	case errors.As(err, &large):
		return nil, large.Size, nil
	case err != nil && ctx.Err() != nil:
		return nil, 0, ctx.Err()
	case err != nil:
		return nil, 0, wire.Errorf(wire.CodeVcsError, "The work tree cannot be compared: %s", wire.HidePaths(err.Error()))
	}
	d := wire.Diff{Seq: seq, BaseRef: t.Before, Patches: make([]wire.DiffPatch, len(patches))}
	for i, p := range patches {
		d.Patches[i] = wire.DiffPatch{Path: p.Path, Operation: p.Operation, Diff: p.Diff, BinaryContent: p.BinaryContent}
	}
	if bundle, err = encode(d); len(bundle) > wire.MaxDiffBytes {
		return nil, int64(len(bundle)), nil
	}
	return bundle, 0, err
}

// shownRoot is the root of a work tree as clients see it: below the workspace, or the
// name of its folder alone (Q33).
func (r *Router) shownRoot(root string) string {
	if r.deps.Workspace != nil {
		if workspace, err := filepath.EvalSymlinks(r.deps.Workspace()); err == nil {
			if rel, err := filepath.Rel(workspace, root); err == nil && filepath.IsLocal(rel) {
				return filepath.ToSlash(rel)
			}
		}
	}
	return filepath.Base(root)
}
