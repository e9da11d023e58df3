package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// errFenced is the result of a unit of a run that somebody else has ended, paused or
// rewritten meanwhile.
var errFenced = errors.New("run was ended by another request")

// step is one decision of a run. do writes it; it may run several times (after a
// rollback) and must not touch the run's memory. after runs on the run's goroutine
// once the commit is done.
type step struct {
	do    func(u *unit) error
	after func()
	// done is called once, from any goroutine, when it is certain whether the step is
	// stored; also if the run leaves memory before after could run.
	done   func(stored bool)
	events int
	node   *store.Node // written before do, unless a plain step behind it has a newer one
	more   bool        // the next step must be in the same unit
	// plain says that the step settles nothing, or only what the machine is told before
	// the commit: the end of another node may be told while it is on its way.
	plain bool
	last  bool // it ends the run's stay in memory
	ahead bool // it settles a node that the machine is told of before the commit
}

func (s *step) end(stored bool) {
	if s.done != nil {
		s.done(stored)
	}
}

// drop ends steps that will not be stored.
func drop(steps []step) {
	for i := range steps {
		steps[i].end(false)
	}
}

// unit is one transaction of a run while it is being written.
type unit struct {
	steps  []step // nil until the committer begins with it
	launch bool   // it stores the run, too
	tx     *store.Tx
	r      *run
	row    *store.Run // fresh; written back when dirty
	now    int64
	pos    int64 // last position given
	moves  int64 // counts what may set the workflow function to work
	dirty  bool
	count  int64 // of the run's events, once the unit is written
}

// settle gives the next position of the journal.
func (u *unit) settle() int64 {
	u.pos++
	u.moves++
	return u.pos
}

// outbox commits a run's steps in order, one unit in flight at a time. The unit takes
// what is queued when the committer begins with it, so that steps which come while it
// waits for its turn need no further commit.
type outbox struct {
	r  *run
	mu sync.Mutex
	// drained is signalled at every commit.
	drained  *sync.Cond
	queued   []step
	inFlight bool
	waiting  int   // events that await commit
	pos      int64 // last committed position
	moves    int64 // committed value of unit.moves
	backoff  time.Duration
	closed   bool
}

// Bounds of a run's events that await commit, of its units, and of the pauses
// between tries while the storage is away.
const (
	maxUncommitted = 1024
	maxSteps       = 512 // in one unit, so that a run cannot hold up the committer
	firstRetry     = 50 * time.Millisecond
	lastRetry      = 2 * time.Second
)

func (o *outbox) init(r *run) {
	o.r = r
	o.drained = sync.NewCond(&o.mu)
}

// add queues steps, which will be in one unit unless they are very many, and submits
// if it can.
func (o *outbox) add(steps []step) {
	o.mu.Lock()
	for i := range steps {
		o.waiting += steps[i].events
	}
	closed := o.closed
	if !closed {
		o.queued = append(o.queued, steps...)
	}
	o.mu.Unlock()
	if closed {
		drop(steps)
		return
	}
	o.flush()
}

func (o *outbox) flush() {
	o.mu.Lock()
	if o.inFlight || len(o.queued) == 0 || o.closed {
		o.mu.Unlock()
		return
	}
	o.inFlight = true
	o.mu.Unlock()
	o.submit(&unit{r: o.r})
}

func (o *outbox) submit(u *unit) {
	o.r.e.store.SubmitRepeatable(func(tx *store.Tx) error { return o.write(tx, u) }, func(err error) { _ = o.done(u, err) })
}

// take returns the steps of the next unit. A run ends after its launch, however short it
// is: who launches it is told so first.
func (o *outbox) take(launch bool) []step {
	n := min(len(o.queued), maxSteps)
	for n < len(o.queued) && o.queued[n-1].more {
		n++
	}
	if launch && n > 0 && o.queued[n-1].last {
		n--
	}
	steps := o.queued[:n:n]
	o.queued = o.queued[n:]
	return steps
}

// write runs on the committer's goroutine.
func (o *outbox) write(tx *store.Tx, u *unit) error {
	row, err := tx.Run(o.r.id)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return errFenced
		}
		return err
	}
	if !u.launch && (wire.RunTerminal(row.Status) || row.Status == wire.RunPaused || row.Generation != o.r.generation) {
		return errFenced
	}
	o.mu.Lock()
	if u.steps == nil { // else it is tried again
		u.steps = o.take(u.launch)
	}
	*u = unit{steps: u.steps, launch: u.launch, tx: tx, r: o.r, row: row, now: o.r.e.nowMs(), pos: o.pos, moves: o.moves}
	o.mu.Unlock()
	for i, s := range u.steps {
		if s.node != nil && !outdated(u.steps[i:]) {
			if err := tx.UpsertNode(o.r.id, s.node); err != nil {
				return err
			}
		}
		if s.do == nil {
			continue
		}
		if err := s.do(u); err != nil {
			return err
		}
	}
	if u.pos != row.LastPosition && u.dirty {
		row.LastPosition = u.pos
	}
	if u.count, err = tx.EventCount(o.r.id); err != nil {
		return err
	}
	if u.dirty {
		return tx.UpdateRun(row)
	}
	return nil
}

// lookAhead bounds how far a newer row of a node is looked for.
const lookAhead = 16

// outdated reports whether the node of the first step is written again before anybody
// could read it: a task that begins at once was pending for no time.
func outdated(steps []step) bool {
	n := steps[0].node
	for _, s := range steps[1:min(len(steps), lookAhead)] {
		if !s.plain {
			return false
		}
		if s.node != nil && s.node.NodeID == n.NodeID && s.node.Iteration == n.Iteration {
			return true
		}
	}
	return false
}

// done runs on the committer's goroutine. False means that the run has left memory.
func (o *outbox) done(u *unit, err error) (heard bool) {
	switch {
	case err == nil:
		o.mu.Lock()
		o.pos, o.moves = u.pos, u.moves
		o.backoff = 0
		for i := range u.steps {
			o.waiting -= u.steps[i].events
		}
		o.inFlight = false
		o.mu.Unlock()
		o.drained.Broadcast()
		for i := range u.steps {
			u.steps[i].end(true)
		}
		heard = o.r.box.post(func() { o.r.committed(u) })
		o.flush()
	case errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrClosed):
		o.retry(u)
	default:
		o.close()
		drop(u.steps)
		heard = o.r.box.post(func() { o.r.refused(err) })
	}
	return heard
}

// retry submits the same unit again later, for as long as the engine lives.
func (o *outbox) retry(u *unit) {
	o.mu.Lock()
	o.backoff = min(max(2*o.backoff, firstRetry), lastRetry)
	wait := o.backoff
	o.mu.Unlock()
	o.r.e.clock.AfterFunc(wait, func() {
		o.mu.Lock()
		closed := o.closed
		o.mu.Unlock()
		if closed || o.r.e.isKilled() {
			drop(u.steps)
			return
		}
		o.submit(u)
	})
}

// idle reports that everything is committed.
func (o *outbox) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.inFlight && len(o.queued) == 0
}

// close drops what is queued and frees whoever waits.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	queued := o.queued
	o.queued = nil
	o.mu.Unlock()
	o.drained.Broadcast()
	drop(queued)
}

// waitCommits implements program.Env.WaitCommits.
func (o *outbox) waitCommits(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting <= maxUncommitted || o.closed {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock() // or the waiter could miss it between its check and its wait
		defer o.mu.Unlock()
		o.drained.Broadcast()
	})
	defer stop()
	for o.waiting > maxUncommitted && !o.closed && ctx.Err() == nil {
		o.drained.Wait()
	}
}
