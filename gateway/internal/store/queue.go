package store

import (
	"context"
	"sync"
)

// maxQueue bounds the units that wait for the committer.
const maxQueue = 8192

// unit is one piece of work for the committer.
type unit struct {
	ctx  context.Context // nil: cannot be cancelled
	do   func(*Tx) error
	done func(error)
	err  error // of do
	slot bool  // holds a place in queue.slots

	repeatable bool // see SubmitRepeatable
}

// queue hands units to the committer in order. Its length is bounded by slots,
// except that nobody waits for a slot while the committer runs done functions:
// one of them may be submitting, and it must not wait for its own goroutine.
type queue struct {
	slots  chan struct{}
	wake   chan struct{} // one token: there is something to take, or closed
	closed chan struct{}

	mu        sync.Mutex
	units     []*unit
	spare     []*unit
	callbacks bool
	isClosed  bool
}

func newQueue(bound int) *queue {
	return &queue{
		slots:  make(chan struct{}, bound),
		wake:   make(chan struct{}, 1),
		closed: make(chan struct{}),
	}
}

// push appends u. It blocks while the queue is full; ctx ends the wait.
func (q *queue) push(ctx context.Context, u *unit) error {
	select {
	case q.slots <- struct{}{}:
		u.slot = true
		return q.append(u)
	default:
	}
	q.mu.Lock()
	inCallbacks := q.callbacks
	q.mu.Unlock()
	if inCallbacks {
		return q.append(u)
	}
	select {
	case q.slots <- struct{}{}:
		u.slot = true
		return q.append(u)
	case <-q.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *queue) append(u *unit) error {
	q.mu.Lock()
	if q.isClosed {
		q.mu.Unlock()
		q.leave(u)
		return ErrClosed
	}
	q.units = append(q.units, u)
	q.mu.Unlock()
	q.signal()
	return nil
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// leave gives the slot of u back.
func (q *queue) leave(u *unit) {
	if u.slot {
		u.slot = false
		<-q.slots
	}
}

// take returns all that has queued, possibly nothing, and whether the queue is
// closed. The slice is valid until the next call.
func (q *queue) take() (units []*unit, closed bool) {
	q.mu.Lock()
	units, q.units = q.units, q.spare[:0]
	q.spare = units
	closed = q.isClosed
	q.mu.Unlock()
	for _, u := range units {
		q.leave(u)
	}
	return units, closed
}

// setCallbacks marks the time in which the committer runs done functions.
func (q *queue) setCallbacks(on bool) {
	q.mu.Lock()
	q.callbacks = on
	q.mu.Unlock()
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.units)
}

func (q *queue) close() {
	q.mu.Lock()
	if !q.isClosed {
		q.isClosed = true
		close(q.closed)
	}
	q.mu.Unlock()
	q.signal()
}
