package eventlog

import (
	"fmt"
	"sync/atomic"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Cursor is a position in the events of one run. Next and Detach belong to one
// goroutine at a time; wake may be called from any.
type Cursor struct {
	log   *Log
	run   *run
	wake  func()
	armed atomic.Bool // the owner found nothing and waits for wake
	index int         // in run.cursors; guarded by run.wakeMu

	pos    int64
	flight *flight
	chunk  *store.EventChunk // read from the store, nil when all of it was handed out
	next   int               // the first of chunk that was not
	made   []store.Event     // what was handed out of chunks last
	floor  int64             // position after the chunk, when it was a short read
	limit  int               // of the next store read
	err    error

	// Lag is counted over what was published after attaching: published minus
	// delivered. Seqs cannot be subtracted, a restore leaves holes in them.
	liveFrom  int64
	mark      int64
	markBytes int64
	seen      int64
	seenBytes int64
}

// Next puts the next events, in order, into dst, which must not be empty. They are valid
// until Next is called again. It never blocks: 0 and no error mean that there is nothing
// now and that wake will be called. ErrLagged, ErrRunNotFound (the run was removed) and
// ErrClosed are final; any other error comes from the store, and calling again tries again.
func (c *Cursor) Next(dst []*store.Event) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.log.closed.Load() {
		c.err = ErrClosed
		return 0, c.err
	}
	if c.run.gone.Load() {
		c.err = ErrRunNotFound
		return 0, c.err
	}
	o := c.log.opts.Load()
	for {
		if c.chunk != nil {
			if err := c.checkLag(o); err != nil {
				return 0, err
			}
			return c.fromChunk(dst), nil
		}
		if c.flight != nil {
			select {
			case <-c.flight.done:
			default:
				return 0, nil // the flight wakes us
			}
			if err := c.land(); err != nil {
				return 0, err
			}
			c.readAhead(o)
			continue
		}
		c.made = nil
		n, behind, err := c.fromRing(dst, o)
		if err != nil || !behind {
			return n, err
		}
		c.flight = c.log.fetch.start(c.run, c.pos, c.readLimit(o), o.Chunk, c)
		if c.flight == nil {
			c.err = ErrClosed
			return 0, c.err
		}
	}
}

// fromRing reads the ring; behind says that the position is not in it.
func (c *Cursor) fromRing(dst []*store.Event, o *Options) (n int, behind bool, err error) {
	r := c.run
	r.mu.RLock()
	defer r.mu.RUnlock()
	if c.lagging(o) {
		c.err = ErrLagged
		return 0, false, c.err
	}
	if c.pos < r.base {
		return 0, true, nil
	}
	n = r.ring.copyFrom(r.ring.search(c.pos), dst)
	if n == 0 {
		// Caught up. Setting armed under the read lock means that a publication
		// either was seen above or will see the flag.
		c.mark, c.markBytes, c.seen, c.seenBytes = r.count, r.total, 0, 0
		c.liveFrom = max(c.liveFrom, r.head)
		c.armed.Store(true)
		return 0, false, nil
	}
	c.deliver(dst[:n])
	return n, false, nil
}

func (c *Cursor) fromChunk(dst []*store.Event) int {
	n := min(len(dst), c.chunk.Len()-c.next)
	if len(c.made) < n {
		c.made = make([]store.Event, n)
	}
	for i := range n {
		dst[i] = &c.made[i]
		c.chunk.Event(c.next+i, dst[i])
	}
	c.next += n
	c.deliver(dst[:n])
	if c.next == c.chunk.Len() {
		c.chunk = nil
		c.pos = max(c.pos, c.floor)
	}
	return n
}

// land takes over the result of a finished read.
func (c *Cursor) land() error {
	fl := c.flight
	c.flight = nil
	if fl.err != nil {
		if c.log.closed.Load() {
			c.err = ErrClosed
			return c.err
		}
		return fmt.Errorf("eventlog: reading run %s after %d: %w", fl.key.runID, fl.key.after, fl.err)
	}
	c.take(fl)
	return nil
}

func (c *Cursor) take(fl *flight) {
	c.chunk, c.next, c.floor = fl.events, 0, 0
	n := fl.events.Len()
	if n > 0 {
		c.limit = chunkLimit(n, fl.events.Bytes(), fl.most)
	}
	if n < fl.limit {
		c.floor = fl.floor
	}
	if n == 0 {
		c.chunk = nil
		c.pos = max(c.pos, c.floor)
	}
}

// readAhead begins the read behind a chunk that is about to be handed out, so that reading
// and sending go on at the same time.
func (c *Cursor) readAhead(o *Options) {
	if c.chunk == nil || c.floor != 0 {
		return // the ring has what follows
	}
	last := c.chunk.Seq(c.chunk.Len() - 1)
	c.run.mu.RLock()
	behind := last < c.run.base
	c.run.mu.RUnlock()
	if behind {
		c.flight = c.log.fetch.start(c.run, last, c.readLimit(o), o.Chunk, c) // nil: closed, which Next finds
	}
}

// Bounds of a store read. A reader that stops holds on to two chunks, so their bytes
// are kept near chunkBytes by the size of the events seen before.
const (
	chunkBytes = 160 << 10
	firstChunk = 64
	minChunk   = 8
)

// chunkLimit is how many events to read after a chunk of n that took so many bytes.
func chunkLimit(n int, bytes int64, most int) int {
	return int(min(max(chunkBytes*int64(n)/bytes, minChunk), int64(most)))
}

func (c *Cursor) readLimit(o *Options) int {
	if c.limit == 0 {
		return min(firstChunk, o.Chunk)
	}
	return min(c.limit, o.Chunk)
}

func (c *Cursor) deliver(events []*store.Event) {
	c.pos = events[len(events)-1].Seq
	if c.pos <= c.liveFrom {
		return
	}
	for i := len(events) - 1; i >= 0 && events[i].Seq > c.liveFrom; i-- {
		c.seen++
		c.seenBytes += lagBytes(events[i])
	}
}

func (c *Cursor) checkLag(o *Options) error {
	c.run.mu.RLock()
	defer c.run.mu.RUnlock()
	if c.lagging(o) {
		c.err = ErrLagged
	}
	return c.err
}

// lagging is called with run.mu held.
func (c *Cursor) lagging(o *Options) bool {
	return c.run.count-c.mark-c.seen > int64(o.MaxLag) ||
		c.run.total-c.markBytes-c.seenBytes > o.MaxLagBytes
}

// Position is the seq of the last event handed out, or where the cursor started.
func (c *Cursor) Position() int64 { return c.pos }

// Detach ends the cursor. A wake that was under way may still arrive afterwards.
func (c *Cursor) Detach() {
	if c.run == nil {
		return
	}
	c.run.removeCursor(c)
	c.log.release(c.run)
	c.log.cursors.Add(-1)
	c.run, c.chunk, c.made, c.flight, c.err = nil, nil, nil, nil, ErrClosed
}
