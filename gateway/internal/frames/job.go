package frames

import (
	"errors"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// States of the job of a run.
const (
	idle    int32 = iota // there is none
	running              // it works
	again                // it works and must look once more
)

// replayed is how many frames a job makes for a cursor before others have their turn.
const replayed = 64

// served is how many cursors a job feeds in one read of the store.
const served = 8

// Committed is told of every event after it was committed. It does not block, and costs
// next to nothing while there are no streams.
func (s *Service) Committed(events []*store.Event) {
	if s.watched.Load() == 0 {
		return
	}
	last := ""
	for _, ev := range events {
		if ev.RunID == last || !Concerns(ev.Type) {
			continue
		}
		last = ev.RunID
		s.mu.Lock()
		e := s.runs[ev.RunID]
		s.mu.Unlock()
		if e != nil && e.feed.watched() {
			s.kick(e)
		}
	}
}

// kick makes sure that the streams of e are fed once more after this call.
func (s *Service) kick(e *entry) {
	for {
		switch state := e.state.Load(); {
		case state == again:
			return
		case state == running && e.state.CompareAndSwap(running, again):
			return
		case state == idle && e.state.CompareAndSwap(idle, running):
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.closed {
				s.wg.Add(1)
				go s.job(e)
			}
			return
		}
	}
}

// job feeds the streams of a run until nothing is left to do.
func (s *Service) job(e *entry) {
	defer s.wg.Done()
	for {
		e.state.Store(running)
		more := e.feed.watched() && s.serve(e)
		if s.ctx.Err() != nil || !more && e.state.CompareAndSwap(running, idle) {
			return
		}
	}
}

// serve feeds some of the streams that wait and reports whether there may be more.
func (s *Service) serve(e *entry) (more bool) {
	err := s.work(s.ctx, e, func(h *history, src *source) error {
		waiting := e.feed.waiting(served)
		more = len(waiting) == served
		for c, m := range waiting {
			if err := s.fill(c, m, h, src); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err == nil:
	case errors.Is(err, store.ErrNotFound):
		s.mu.Lock()
		s.drop(e)
		s.mu.Unlock()
		e.feed.end(store.ErrNotFound)
	case s.ctx.Err() != nil:
	default:
		s.log.Error("frames could not be derived", zap.String("run", e.runID), zap.Error(err))
		e.feed.fail(err)
	}
	return more && err == nil
}

// fill makes what a cursor waits for.
func (s *Service) fill(c *Cursor, m mode, h *history, src *source) error {
	switch {
	case m == opening && c.after != nil && h.latest() > 0:
		if s.full() {
			c.e.feed.refuse(c, ErrFull)
			return nil
		}
		return s.beginReplay(c, h, src)
	case m == replaying && c.hist == h && c.rewinds == h.rewinds:
		return s.replay(c, h, src)
	}
	c.fold = nil
	event, err := s.tipEvent(c.e, h, src)
	if err == nil {
		c.e.feed.give(c, h, live, h.latest(), 0, event)
	}
	return err
}

// tipEvent is the snapshot of the newest frame, made once for all streams.
func (s *Service) tipEvent(e *entry, h *history, src *source) ([]byte, error) {
	f := &e.feed
	f.mu.Lock()
	event := f.snapshot
	f.mu.Unlock()
	if event != nil {
		return event, nil
	}
	snapshot, err := s.snapshot(h, h.tip, src)
	if err == nil {
		event, err = encodeSnapshot(snapshot)
	}
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.snapshot, f.weight = event, len(event)
	return event, nil
}

// beginReplay starts at the frame that a cursor is counted from.
func (s *Service) beginReplay(c *Cursor, h *history, src *source) error {
	base := min(max(*c.after/checkpointEvery*checkpointEvery, 1), h.latest())
	f, err := h.at(src, base)
	if err != nil {
		return err
	}
	snapshot, err := s.snapshot(h, f, src)
	if err != nil {
		return err
	}
	event, err := encodeSnapshot(snapshot)
	if err != nil {
		return err
	}
	next := live
	if base < h.latest() {
		next, c.fold, c.weight = replaying, f.Clone(), len(event)
	}
	c.e.feed.give(c, h, next, base, 0, event)
	return nil
}

// replay makes the next frames of the past, each of them exactly.
func (s *Service) replay(c *Cursor, h *history, src *source) error {
	f, since := c.fold, c.since
	var events [][]byte
	until := min(f.frame+replayed, h.latest())
	err := h.replay(src, f, h.frames[until-1], func() error {
		event, err := encodeDelta(f.Delta())
		if err != nil {
			return err
		}
		if since++; since > maxDeltas || len(event) >= c.weight {
			snapshot, err := s.snapshot(h, f, src)
			if err != nil {
				return err
			}
			whole, err := encodeSnapshot(snapshot)
			if err != nil {
				return err
			}
			if c.weight = len(whole); since > maxDeltas || len(event) >= c.weight {
				event, since = whole, 0
			}
		}
		events = append(events, event)
		return nil
	})
	if err != nil {
		return err
	}
	next := replaying
	if f.frame == h.latest() {
		next, c.fold = live, nil
	}
	c.e.feed.give(c, h, next, f.frame, since, events...)
	return nil
}
