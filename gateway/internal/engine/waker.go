package engine

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// waker fires timers, deadlines and retries. The database knows them all
// (gateway_nodes.wake_at); memory holds the next page of it and what runs in
// memory have asked for.
type waker struct {
	e *Engine

	mu      sync.Mutex
	heap    wakeHeap
	horizon int64 // everything in the database up to here is in the heap
	paging  bool  // a page is being read; it may not show what is stored meanwhile
	seen    reading
	timer   Timer
	armed   int64 // when timer fires; 0 not armed
	running bool  // fire is at work
	stopped bool
}

type wake struct {
	at    int64
	runID string
}

type wakeHeap []wake

func (h wakeHeap) Len() int           { return len(h) }
func (h wakeHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h wakeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *wakeHeap) Push(x any)        { *h = append(*h, x.(wake)) }
func (h *wakeHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

const (
	wakePage   = 1000
	wakeWindow = 10 * 60 * 1000 // ms that a page reaches ahead
)

// start loads the first page.
func (w *waker) start(ctx context.Context) error {
	if err := w.page(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.jumped(w.e.clock)
	w.arm()
	return nil
}

func (w *waker) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *waker) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.heap)
}

// add asks for a wake and reports whether memory holds it. What lies beyond the
// horizon is left to the database, unless it is volatile, not stored there, or the
// horizon is about to move past it.
func (w *waker) add(runID string, at int64, volatile bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || !volatile && !w.paging && at > w.horizon {
		return false
	}
	heap.Push(&w.heap, wake{at, runID})
	w.arm()
	return true
}

// arm sets the timer to the earliest wake or to the next page. mu is held.
func (w *waker) arm() {
	if w.stopped || w.running { // fire arms at its end
		return
	}
	next := w.horizon
	if len(w.heap) > 0 && w.heap[0].at < next {
		next = w.heap[0].at
	}
	next = min(next, w.e.nowMs()+recheck.Milliseconds())
	if w.armed != 0 && w.armed <= next {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.armed = next
	// A clock of milliseconds must not fire in the millisecond before.
	wait := time.UnixMilli(next).Sub(w.e.clock.Now())
	w.timer = w.e.clock.AfterFunc(max(wait, 0), w.fire)
}

// fire wakes all runs that are due.
func (w *waker) fire() {
	w.e.mu.Lock()
	if w.e.stopping {
		w.e.mu.Unlock()
		return
	}
	w.e.wg.Add(1)
	w.e.mu.Unlock()
	defer w.e.wg.Done()

	w.mu.Lock()
	if w.running || w.stopped {
		w.mu.Unlock()
		return
	}
	w.running = true
	w.armed = 0
	now := w.e.nowMs()
	jump := w.seen.jumped(w.e.clock)
	var due []string
	for len(w.heap) > 0 && w.heap[0].at <= now {
		due = append(due, heap.Pop(&w.heap).(wake).runID)
	}
	needPage := w.horizon <= now || jump != 0
	w.mu.Unlock()

	if jump != 0 {
		w.e.jumped(jump) // before anybody looks at the new time
	}
	for _, id := range due {
		w.e.ring(id)
	}
	if needPage {
		if err := w.page(context.Background()); err != nil {
			w.e.log.Warn("timers cannot be read", zap.Error(err))
			w.mu.Lock()
			w.horizon = w.e.nowMs() + lastRetry.Milliseconds()
			w.mu.Unlock()
		}
	}
	w.mu.Lock()
	w.running = false
	w.arm()
	w.mu.Unlock()
}

// page reads the next wakes of the database and moves the horizon.
func (w *waker) page(ctx context.Context) error {
	w.e.mu.Lock()
	limit := wakePage + len(w.e.runs) // those in memory may be in it
	w.e.mu.Unlock()
	until := w.e.nowMs() + wakeWindow
	w.mu.Lock()
	w.paging = true
	w.mu.Unlock()
	var wakes []store.Wake
	err := w.e.store.View(ctx, func(v *store.View) (err error) {
		wakes, err = v.NextWakes(limit, until)
		return err
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paging = false
	if err != nil {
		return err
	}
	w.horizon = until
	if len(wakes) == limit {
		w.horizon = max(wakes[len(wakes)-1].AtMs, w.e.nowMs()+1)
	}
	for _, k := range wakes {
		heap.Push(&w.heap, wake{k.AtMs, k.RunID})
	}
	return nil
}

// ring wakes one run: a tick when it is in memory, else it is loaded.
func (e *Engine) ring(id string) {
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r != nil && r.box.post(r.tick) {
		return
	}
	var row *store.Run
	err := e.store.View(context.Background(), func(v *store.View) (err error) {
		row, err = v.Run(id)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		e.log.Warn("a run that is due cannot be read", zap.String("run", id), zap.Error(err))
		e.waker.add(id, e.nowMs()+lastRetry.Milliseconds(), true)
	case !row.Upstream && !wire.RunTerminal(row.Status) && row.Status != wire.RunPaused:
		e.wake(id, e.registry.shareOf(row), nil)
	}
}
