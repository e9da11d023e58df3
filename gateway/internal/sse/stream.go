package sse

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// batch is how many events are taken from the cursor at once.
const batch = 64

// Clients of a gateway that goes away come back within this time, not all at once.
const (
	retryLeast  = time.Second
	retrySpread = 4 * time.Second
)

// stream is one open request.
type stream struct {
	hub      *Hub
	ctx      context.Context // of the request
	q        *Request
	cursor   *eventlog.Cursor
	opened   eventlog.Opened
	snapshot json.RawMessage // for the gap
	frames   *frames
	wake     chan struct{} // one token: the cursor may have something
	mayEnd   bool          // the run's last event may have been sent
}

// ring wakes the stream. It never blocks.
func (s *stream) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes the stream to its end and returns why it ended.
func (s *stream) run(out *sink) string {
	s.ctx = out.ctx
	out.begin()
	out.add(s.frames.opened(out.buf, s.q.After, s.opened.CurrentSeq))
	if g := s.opened.Gap; g != nil {
		out.add(s.frames.gap(out.buf, *g, s.snapshot))
		s.snapshot = nil
	}
	beat := time.NewTimer(s.hub.opts.Load().Heartbeat)
	defer beat.Stop()
	var events [batch]*eventlog.Event
	changed := s.hub.changes()
	for {
		if reason := s.deliver(out, events[:]); reason != "" {
			return reason
		}
		if err := out.flush(s.hub.opts.Load().WriteTimeout); err != nil {
			return lost(s.ctx, err)
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return ClosedClient
		case <-s.hub.stop:
			return s.leave(out)
		case <-changed:
			changed = s.hub.changes()
			if failure := s.q.Recheck(); failure != nil {
				return s.fail(out, failure, ClosedRevoked)
			}
		case <-beat.C:
			beat.Reset(s.hub.opts.Load().Heartbeat)
			if failure := s.q.Recheck(); failure != nil { // it may have expired
				return s.fail(out, failure, ClosedRevoked)
			}
			if s.q.Exiting != nil && s.q.Exiting() {
				return s.leave(out)
			}
			out.add(s.frames.heartbeat(out.buf, time.Now().UnixMilli()))
		}
	}
}

// deliver writes what the cursor has until it has no more, and says when that was
// the end.
func (s *stream) deliver(out *sink, events []*eventlog.Event) string {
	for {
		select {
		case <-s.hub.stop: // a long replay must not hold up the exit
			return s.leave(out)
		default:
		}
		n, err := s.cursor.Next(events)
		switch {
		case errors.Is(err, eventlog.ErrLagged):
			return s.fail(out, wire.BackpressureError(s.hub.opts.Load().MaxStreamLag), ClosedBackpressure)
		case errors.Is(err, eventlog.ErrClosed):
			return s.leave(out)
		case err != nil:
			s.hub.log.Error("stream ended", zap.String("run", s.q.RunID), zap.Error(err))
			return s.fail(out, wire.Errorf(wire.CodeInternal, "The run's events could not be read; subscribe again."), ClosedStorage)
		}
		if n == 0 {
			break
		}
		for _, ev := range events[:n] {
			out.event(s.frames.event(out.buf, ev))
			s.mayEnd = s.mayEnd || ev.Name == wire.EventRunCompleted
			if out.full() {
				if err := out.flush(s.hub.opts.Load().WriteTimeout); err != nil {
					return lost(s.ctx, err)
				}
			}
		}
	}
	if !s.mayEnd {
		return ""
	}
	done, err := s.complete(s.ctx)
	switch {
	case err != nil && s.ctx.Err() != nil:
		return ClosedClient
	case err != nil: // asked again at the next heartbeat
		s.hub.log.Warn("the end of a stream cannot be told", zap.Error(err))
	case done:
		return s.end(out, ClosedCompleted)
	}
	return ""
}

// leave ends the stream because the gateway goes away.
func (s *stream) leave(out *sink) string {
	out.add(s.frames.retry(out.buf, (retryLeast + rand.N(retrySpread)).Milliseconds()))
	return s.end(out, ClosedDrain)
}

// fail tells the client why the stream ends.
func (s *stream) fail(out *sink, failure *wire.Error, reason string) string {
	out.add(s.frames.failure(out.buf, failure))
	return s.end(out, reason)
}

// end sends what is left.
func (s *stream) end(out *sink, reason string) string {
	if err := out.flush(s.hub.opts.Load().WriteTimeout); err != nil {
		return lost(s.ctx, err)
	}
	return reason
}

// lost names the reason why a write failed.
func lost(ctx context.Context, err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ClosedSlow
	case ctx.Err() != nil:
		return ClosedClient
	}
	return ClosedNetwork
}
