package frames

import (
	"context"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// What a cursor waits for.
type mode int

const (
	opening   mode = iota // its first snapshot
	replaying             // further frames of the past
	rebasing              // a snapshot of the newest frame
	live                  // nothing: it reads the ring
)

// Cursor is a position in the frames of one run. Next and Detach belong to one
// goroutine at a time; wake may be called from any.
type Cursor struct {
	svc  *Service
	e    *entry
	wake func()

	// Guarded by feed.mu.
	mode    mode
	queue   [][]byte // made, not handed out yet
	pos     int64    // frame of the last event that was handed out or is in the queue
	since   int      // deltas since the last snapshot
	hist    *history // whose frames were handed out
	rewinds int64    // of it
	asleep  bool     // it found nothing and waits for wake
	err     error
	held    int64 // bytes of what a replay holds, as of the last events made for it

	// Of the job alone.
	after  *int64
	fold   *Fold // at pos, while replaying
	weight int   // bytes of the last snapshot
}

// Watch attaches a stream to a run. Without after it begins with a snapshot of the
// newest frame; with after with one of the last multiple of 50 at or below it (of frame
// 1 below 50), from which every frame follows. A *FrameError if after is beyond the
// newest frame, store.ErrNotFound if there is no such run, ErrFull, ErrClosed, or what
// reading the store returned.
func (s *Service) Watch(ctx context.Context, runID string, after *int64, wake func()) (*Cursor, error) {
	e, err := s.enter(runID)
	if err != nil {
		return nil, err
	}
	c := &Cursor{svc: s, e: e, wake: wake, after: after}
	err = s.work(ctx, e, func(h *history, _ *source) error {
		if after != nil && *after > h.latest() {
			return &FrameError{FrameNo: *after, Latest: h.latest()}
		}
		return nil
	})
	if err == nil && s.full() {
		err = ErrFull
	}
	if err != nil {
		s.leave(e, false)
		return nil, err
	}
	f := &e.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended != nil {
		defer s.leave(e, true)
		return nil, f.ended
	}
	if f.cursors == nil {
		f.cursors = make(map[*Cursor]struct{})
	}
	f.cursors[c] = struct{}{}
	s.watched.Add(1)
	return c, nil
}

func (s *Service) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes > 4*s.opts.Bytes
}

// Detach ends the cursor. A wake that was under way may still arrive afterwards.
func (c *Cursor) Detach() {
	f := &c.e.feed
	f.mu.Lock()
	_, attached := f.cursors[c]
	delete(f.cursors, c)
	if len(f.cursors) == 0 {
		f.ring, f.held, f.snapshot, f.hist = nil, 0, nil, nil
	}
	f.mu.Unlock()
	if attached {
		c.svc.watched.Add(-1)
		c.svc.leave(c.e, true)
	}
}

// Next copies the next events, encoded wire.DevToolsEvents, in order into dst, which must
// not be empty. It never blocks: 0 and no error mean that there is nothing now and that
// wake will be called. Errors are final: ErrLagged, ErrFull, ErrClosed, store.ErrNotFound when
// the run was removed, or what reading the store returned.
func (c *Cursor) Next(dst [][]byte) (int, error) {
	f := &c.e.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case c.err != nil:
		return 0, c.err
	case f.ended != nil:
		return 0, f.ended
	case len(c.queue) > 0:
		n := copy(dst, c.queue)
		c.queue = c.queue[n:]
		return n, nil
	}
	n := 0
	if c.mode == live {
		n = c.fromRing(f, dst)
	}
	if c.err != nil && n == 0 {
		return 0, c.err
	}
	if c.mode != live {
		c.svc.kick(c.e)
	}
	c.asleep = n == 0
	return n, nil
}

// fromRing reads the newest deltas.
func (c *Cursor) fromRing(f *feed, dst [][]byte) (n int) {
	if c.hist != f.hist || c.rewinds != f.rewinds {
		c.mode = rebasing
		return 0
	}
	for n < len(dst) && c.pos < f.latest {
		behind := f.latest - c.pos
		if behind > MaxUndelivered {
			c.err = ErrLagged
			return n
		}
		i := len(f.ring) - int(behind)
		if i < 0 || f.ring[i].big || c.since >= maxDeltas {
			c.mode = rebasing
			return n
		}
		dst[n] = f.ring[i].event
		n, c.pos, c.since = n+1, c.pos+1, c.since+1
	}
	return n
}

// give hands events to the cursor that lead to frame pos, and wakes it.
func (f *feed) give(c *Cursor, h *history, m mode, pos int64, since int, events ...[]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.queue = slices.Concat(c.queue, events)
	c.mode, c.pos, c.since, c.hist, c.rewinds, c.asleep = m, pos, since, h, h.rewinds, false
	if c.held = 0; c.fold != nil { // what others do not share
		c.held = c.fold.Size()
		for _, event := range c.queue {
			c.held += int64(len(event))
		}
	}
	c.wake()
}

// refuse ends a cursor.
func (f *feed) refuse(c *Cursor, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.err = err
	c.wake()
}

// waiting returns at most some of the cursors that want something of a job, and in which
// mode.
func (f *feed) waiting(most int) map[*Cursor]mode {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[*Cursor]mode)
	for c := range f.cursors {
		if c.mode != live && len(c.queue) == 0 && c.err == nil {
			if out[c] = c.mode; len(out) == most {
				break
			}
		}
	}
	return out
}

// fail ends all cursors: what they are told of could not be read.
func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.cursors {
		if c.err == nil {
			c.err = err
		}
		c.wake()
	}
}

func encodeSnapshot(s *wire.DevToolsSnapshot) ([]byte, error) {
	return encode(wire.DevToolsEvent{Version: wire.DevToolsVersion, Kind: wire.DevToolsSnapshotKind, Snapshot: s})
}

func encodeDelta(d *wire.DevToolsDelta) ([]byte, error) {
	return encode(wire.DevToolsEvent{Version: wire.DevToolsVersion, Kind: wire.DevToolsDeltaKind, Delta: d})
}
