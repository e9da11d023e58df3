package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/worktree"
)

// Trees captures git work trees; *worktree.Git implements it.
type Trees interface {
	// Find returns the root of the work tree that holds dir; "" for none.
	Find(dir string) string
	// Capture returns a git tree that is kept under a name.
	Capture(ctx context.Context, root, keep string) (string, error)
	// Head returns the commit that is checked out; "" for none.
	Head(ctx context.Context, root string) (string, error)
}

var _ Trees = (*worktree.Git)(nil)

// treeLog is what the programs of a run's live attempts do to work trees.
type treeLog struct {
	mu       sync.Mutex
	attempts map[attemptID]*attemptTree
}

type attemptID struct {
	ref    int64
	number int
}

// attemptTree is the work tree of an attempt. tree may be read once ready is closed.
type attemptTree struct {
	ready chan struct{}
	tree  store.AttemptTree
}

// ending is an attempt whose result is known and not yet committed.
type ending struct {
	op   program.AttemptEnd
	tree *attemptTree
}

// enter returns the work tree of an attempt and whether the caller is to record it.
func (l *treeLog) enter(id attemptID) (t *attemptTree, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.attempts[id]; t != nil {
		return t, false
	}
	if l.attempts == nil {
		l.attempts = make(map[attemptID]*attemptTree)
	}
	t = &attemptTree{ready: make(chan struct{})}
	l.attempts[id] = t
	return t, true
}

// take removes the work tree of an attempt; nil for none.
func (l *treeLog) take(id attemptID) *attemptTree {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.attempts[id]
	delete(l.attempts, id)
	return t
}

// beforeProgram implements program.Env.BeforeProgram: the first program of an attempt
// waits until the state of its work tree is on record. Later ones, wherever they run,
// belong to the same change.
func (r *run) beforeProgram(ctx context.Context, ref int64, number int, dir string) {
	trees := r.e.opts.Trees
	if trees == nil {
		return
	}
	root := trees.Find(dir)
	if root == "" {
		return
	}
	t, first := r.trees.enter(attemptID{ref, number})
	if !first {
		select {
		case <-t.ready:
		case <-ctx.Done():
		}
		return
	}
	defer close(t.ready)
	defer r.grant(ref, number)()
	head, err := trees.Head(ctx, root)
	before := ""
	if err == nil {
		before, err = trees.Capture(ctx, root, r.keepName())
	}
	if ctx.Err() != nil {
		return // the attempt is over
	}
	t.tree = store.AttemptTree{Root: root, Before: before}
	if err != nil {
		r.log.Warn("the work tree cannot be recorded", zap.String("root", root), zap.Error(err))
		t.tree.Error = err.Error()
	}
	stored := make(chan struct{})
	tree := t.tree
	if !r.box.post(func() { r.recordBefore(ref, number, tree, head, func() { close(stored) }) }) {
		return
	}
	select {
	case <-stored:
	case <-ctx.Done():
	}
}

// grant gives a live attempt the time that recording may take, beyond its timeout and
// its heartbeat timeout. The function that it returns takes back what was not needed.
func (r *run) grant(ref int64, number int) (settle func()) {
	const most = 2 * worktree.CaptureTime
	began := r.e.clock.Now()
	var granted *node
	r.box.post(func() {
		if granted = r.attemptNode(ref, number); granted != nil {
			granted.grace += most.Milliseconds()
		}
	})
	return func() {
		spent := r.e.clock.Now().Sub(began)
		r.box.post(func() {
			if granted == nil || r.attemptNode(ref, number) != granted {
				return
			}
			granted.grace -= max(0, (most - spent).Milliseconds())
			r.tickAt(granted.attemptDue(), true)
		})
	}
}

// keepName names the references that keep what is captured for this run: not by its
// id, which another gateway or a later run of the same id may use in that repository.
func (r *run) keepName() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", r.id, r.row.CreatedAtMs, r.row.Seed))
	return hex.EncodeToString(sum[:16])
}

// recordBefore commits the state that the programs of an attempt find. done is called
// once, when that is certain or will never be.
func (r *run) recordBefore(ref int64, number int, tree store.AttemptTree, head string, done func()) {
	n := r.attemptNode(ref, number)
	if n == nil {
		done()
		return
	}
	key, keep := n.key, r.keepName()
	r.stage(step{
		do: func(u *unit) error {
			if tree.Before != "" {
				if err := u.tx.KeepTree(u.r.id, tree.Root, keep); err != nil {
					return err
				}
			}
			if tree.Before != "" && u.row.WorkTree == nil {
				u.row.WorkTree = &store.WorkTree{Root: tree.Root, Keep: keep, Revision: head, Base: tree.Before}
				u.dirty = true
			}
			return u.tx.SetAttemptTree(u.r.id, key.NodeID, key.Iteration, number, tree)
		},
		done: func(bool) { done() },
	})
}

// recordAfter captures the work tree of an attempt that has come to an end, if its
// programs ran in one, and then ends it. It reports whether it will.
func (r *run) recordAfter(n *node, op program.AttemptEnd) bool {
	t := r.trees.take(attemptID{op.Ref, op.Number})
	if t == nil || r.stopping {
		return false
	}
	end := &ending{op, t}
	n.ending = end
	r.e.wg.Add(1) // the run's own keeps it above 0
	go func() {
		defer r.e.wg.Done()
		select { // a program may have been started and not awaited
		case <-t.ready:
		case <-r.ctx.Done():
			return // the run's end, or its drain, ends the attempt
		}
		tree := t.tree
		if tree.Before != "" {
			after, err := r.e.opts.Trees.Capture(r.ctx, tree.Root, r.keepName())
			if err != nil && r.ctx.Err() != nil {
				return // likewise, and says why
			}
			if tree.After = after; err != nil {
				r.log.Warn("the work tree cannot be recorded", zap.String("root", tree.Root), zap.Error(err))
				tree.Error = err.Error()
			}
		}
		r.box.post(func() {
			if n.ending == end && n.live && !r.ending {
				r.endRecorded(n, tree)
			}
		})
	}()
	return true
}

// endRecorded ends an attempt in one unit with what its programs did.
func (r *run) endRecorded(n *node, tree store.AttemptTree) {
	op, key := n.ending.op, n.key
	n.ending = nil
	if tree.Root != "" {
		r.stage(step{do: func(u *unit) error {
			return u.tx.SetAttemptTree(u.r.id, key.NodeID, key.Iteration, op.Number, tree)
		}, more: true})
	}
	r.attemptEnded(n, op)
}

// endUnrecorded ends an attempt whose work tree will not be captured any more.
func (r *run) endUnrecorded(n *node, why *program.Failure) {
	var tree store.AttemptTree
	select {
	case <-n.ending.tree.ready:
		if tree = n.ending.tree.tree; tree.Before != "" {
			tree.Error = "the work tree was not recorded: " + why.Message
		}
	default:
	}
	r.endRecorded(n, tree)
}
