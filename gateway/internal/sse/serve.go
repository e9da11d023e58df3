package sse

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Serve answers the request with the stream and returns when it has ended, or
// returns why there is none, before anything was written. A run that has ended and
// has nothing behind the cursor is answered 204, which tells an EventSource not to
// come back. The caller has authenticated the request and checked its scope.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, q Request) *wire.Error {
	if failure := h.enter(&q); failure != nil {
		return failure
	}
	defer h.leave(&q)
	s, failure := h.openStream(r.Context(), &q)
	if failure != nil {
		return failure
	}
	if s == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	defer s.cursor.Detach()
	h.deps.Metrics.Opened()
	reason := s.run(newSink(w, r, h.deps.Metrics))
	h.deps.Metrics.Closed(reason)
	return nil
}

// openStream finds where the stream starts; nil without an error when there is
// nothing to come any more.
func (h *Hub) openStream(ctx context.Context, q *Request) (*stream, *wire.Error) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.Load().OpenTimeout)
	defer cancel()
	s := &stream{hub: h, q: q, wake: make(chan struct{}, 1), frames: newFrames(uuid.NewString(), q.RunID)}
	cursor, opened, err := h.deps.Log.Attach(ctx, q.RunID, q.After, s.ring)
	beyond, isBeyond := errors.AsType[*eventlog.SeqOutOfRangeError](err)
	if err != nil && !isBeyond {
		return nil, h.refusal(q, err)
	}
	at, err := h.deps.Position(ctx, q.RunID)
	switch {
	case isBeyond && err == nil && at.Ended:
		return nil, nil
	case isBeyond:
		return nil, wire.Errorf(wire.CodeSeqOutOfRange, "afterSeq %d is newer than current seq %d", beyond.AfterSeq, beyond.CurrentSeq)
	case err != nil:
		cursor.Detach()
		return nil, h.refusal(q, err)
	}
	from := opened.CurrentSeq
	if q.After != nil {
		from = *q.After
	}
	if at.Ended && from >= at.Last {
		cursor.Detach()
		return nil, nil
	}
	s.cursor, s.opened, s.mayEnd = cursor, opened, at.Ended
	if opened.Gap != nil {
		if s.snapshot, err = h.deps.Snapshot(ctx, q.RunID); err != nil {
			cursor.Detach()
			return nil, h.refusal(q, err)
		}
	}
	return s, nil
}

func (h *Hub) refusal(q *Request, err error) *wire.Error {
	switch {
	case errors.Is(err, eventlog.ErrRunNotFound):
		return wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", q.RunID)
	case errors.Is(err, eventlog.ErrClosed), errors.Is(err, context.Canceled):
		return wire.Errorf(wire.CodeUnavailable, "The gateway is starting or stopping; try again.").With("retryable", true)
	case errors.Is(err, context.DeadlineExceeded):
		return wire.Errorf(wire.CodeRequestTimeout, "The request took too long").With("retryable", true)
	}
	h.log.Error("stream could not be opened", zap.String("run", q.RunID), zap.Error(err))
	return wire.Errorf(wire.CodeStorageUnavailable, "The run's events cannot be read right now; try again.").With("retryable", true)
}

// complete reports whether the stream has sent all that its run will ever have.
func (s *stream) complete(ctx context.Context) (bool, error) {
	at, err := s.hub.deps.Position(ctx, s.q.RunID)
	if errors.Is(err, eventlog.ErrRunNotFound) { // removed by retention, so it had ended
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("position of run %s: %w", s.q.RunID, err)
	}
	return at.Ended && s.cursor.Position() >= at.Last, nil
}
