package eventlog

import (
	"context"
	"fmt"
)

// Gap names events a stream cannot deliver any more, both ends included.
type Gap struct{ From, To int64 }

// Opened says where a cursor stands.
type Opened struct {
	CurrentSeq   int64 // newest seq of the run when the cursor was attached
	Gap          *Gap  // lost to this reader, nil when nothing is
	StateVersion int64 // published when the cursor was attached
}

// Attach opens a cursor on a run: with after nil at its end, else behind that seq.
// The gap is decided here, once: it covers what lies before the window and a hole
// in the numbers that begins right behind after. It may read the store and waits for
// it. wake is called, from any goroutine, when Next has something after it had
// nothing; it must not block nor call back, and may be called without cause.
//
// Errors: ErrRunNotFound, *SeqOutOfRangeError, ErrClosed, ctx's, or the store's.
func (l *Log) Attach(ctx context.Context, runID string, after *int64, wake func()) (*Cursor, Opened, error) {
	if l.closed.Load() {
		return nil, Opened{}, ErrClosed
	}
	r := l.acquire(runID)
	c := &Cursor{log: l, run: r, wake: wake}
	opened, err := l.place(ctx, c, after)
	if err != nil {
		l.release(r)
		return nil, Opened{}, err
	}
	r.addCursor(c)
	l.cursors.Add(1)
	c.readAhead(l.opts.Load())
	return c, opened, nil
}

// place finds the cursor's first position.
func (l *Log) place(ctx context.Context, c *Cursor, after *int64) (Opened, error) {
	if err := l.load(ctx, c.run); err != nil {
		return Opened{}, err
	}
	r := c.run
	r.mu.RLock()
	o := Opened{CurrentSeq: r.head, StateVersion: l.stateVersion.Load()}
	c.mark, c.markBytes, c.liveFrom, c.pos = r.count, r.total, r.head, r.head
	r.mu.RUnlock()
	if after == nil {
		return o, nil
	}
	if *after > o.CurrentSeq {
		// It may be committed and not yet published.
		b, err := l.backend.Bounds(ctx, r.id)
		if err != nil {
			return Opened{}, fmt.Errorf("eventlog: bounds of run %s: %w", r.id, err)
		}
		o.CurrentSeq = max(o.CurrentSeq, b.Next-1)
		if *after > o.CurrentSeq {
			return Opened{}, &SeqOutOfRangeError{AfterSeq: *after, CurrentSeq: o.CurrentSeq}
		}
	}
	start, err := l.windowed(ctx, r, *after, o.CurrentSeq)
	if err != nil {
		return Opened{}, err
	}
	c.pos = start
	first, err := l.firstAfter(ctx, c)
	if err != nil {
		return Opened{}, err
	}
	if first > *after+1 {
		o.Gap = &Gap{From: *after + 1, To: first - 1}
	}
	// Whether or not there was a gap, the events from first on come next.
	c.pos = first - 1
	return o, nil
}

// load learns the bounds of a window that nothing was published to, once for all
// who ask at the same time.
func (l *Log) load(ctx context.Context, r *run) error {
	for {
		r.mu.Lock()
		if r.loaded {
			r.mu.Unlock()
			return nil
		}
		if wait := r.loading; wait != nil {
			r.mu.Unlock()
			select {
			case <-wait:
				continue // loaded, or the one before us failed and it is our turn
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		mine := make(chan struct{})
		r.loading = mine
		r.mu.Unlock()

		b, err := l.backend.Bounds(ctx, r.id)
		switch {
		case err != nil:
			err = fmt.Errorf("eventlog: bounds of run %s: %w", r.id, err)
		case !b.Exists:
			err = ErrRunNotFound
		default:
			r.load(max(b.Next, b.Last+1, 1))
			l.lru.touch(r, 0)
		}
		r.mu.Lock()
		r.loading = nil
		r.mu.Unlock()
		close(mine)
		return err
	}
}

// windowed moves after up to the start of the window when it lies before it.
func (l *Log) windowed(ctx context.Context, r *run, after, head int64) (int64, error) {
	window := l.opts.Load().Window
	if head-after <= int64(window) {
		return after, nil // no more events than that can follow
	}
	r.mu.RLock()
	start, known := int64(0), false
	count := r.count
	switch {
	case r.ring.n >= window:
		start, known = r.ring.at(r.ring.n-window).Seq, true
	case r.base == 0:
		known = true // the ring holds the run from its first event
	case r.windowSize == window && count-r.windowCount <= int64(window/64):
		start, known = r.windowAt, true
	}
	r.mu.RUnlock()
	if !known {
		var err error
		if start, err = l.backend.WindowStart(ctx, r.id, window); err != nil {
			return 0, fmt.Errorf("eventlog: window of run %s: %w", r.id, err)
		}
		r.mu.Lock()
		r.windowAt, r.windowCount, r.windowSize = start, count, window
		r.mu.Unlock()
	}
	return max(after, start-1), nil
}

// firstAfter returns the seq of the first event behind c.pos, or the one that will
// follow the run's current seq. A chunk it had to read stays with the cursor.
func (l *Log) firstAfter(ctx context.Context, c *Cursor) (int64, error) {
	r := c.run
	for {
		r.mu.RLock()
		if c.pos >= r.base {
			defer r.mu.RUnlock()
			if i := r.ring.search(c.pos); i < r.ring.n {
				return r.ring.at(i).Seq, nil
			}
			return max(r.head, c.pos) + 1, nil
		}
		r.mu.RUnlock()
		o := l.opts.Load()
		fl := l.fetch.start(r, c.pos, c.readLimit(o), o.Chunk, nil)
		if fl == nil {
			return 0, ErrClosed
		}
		select {
		case <-fl.done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if fl.err != nil {
			return 0, fmt.Errorf("eventlog: reading run %s after %d: %w", r.id, c.pos, fl.err)
		}
		c.take(fl)
		if c.chunk != nil {
			return c.chunk.Seq(0), nil
		}
	}
}
