package rpc

import (
	"context"
	"errors"
	"math"

	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// watchable holds a run id against the rules of DevTools: its shape, and a filter of the
// socket, which must name the run even if it is empty.
func (c *Call) watchable(runID string) *wire.Error {
	if c.Conn != nil && !c.Conn.Subscribed(runID) {
		return wire.Errorf(wire.CodeUnauthorizedCamel, "Connection is not subscribed to this runId.")
	}
	return nil
}

// devToolsRunID reads the strict runId of the methods of DevTools.
func (p params) devToolsRunID() (string, *wire.Error) {
	id := p.str("runId")
	if id == "" {
		return "", wire.Errorf(wire.CodeInvalidRunID, "runId is required")
	}
	return id, wire.CheckRunID(id)
}

// whole reads a parameter that is a whole number of 0 to most; ok is false for anything
// else.
func (p params) whole(name string, most float64) (n int64, ok bool) {
	f, ok := p.number(name)
	if !ok || f < 0 || f > most || f != math.Trunc(f) {
		return 0, false
	}
	return int64(f), true
}

// given reports whether a parameter is there and not null.
func (p params) given(name string) bool { return len(p[name]) > 0 && string(p[name]) != "null" }

func (r *Router) getDevToolsSnapshot(ctx context.Context, c *Call, p params) (any, error) {
	id, werr := p.devToolsRunID()
	if werr != nil {
		return nil, werr
	}
	var frameNo *int64
	if p.given("frameNo") {
		n, ok := p.whole("frameNo", math.MaxInt32)
		if !ok {
			return nil, wire.Errorf(wire.CodeFrameOutOfRange, "frameNo must be an integer between 0 and %d.", math.MaxInt32)
		}
		frameNo = &n
	}
	if werr := c.watchable(id); werr != nil {
		return nil, werr
	}
	s, err := r.deps.Frames.Snapshot(ctx, id, frameNo)
	var none *frames.FrameError
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, runNotFound(id)
	case errors.As(err, &none) && none.Latest == 0:
		return nil, wire.Errorf(wire.CodeFrameOutOfRange, "frameNo must be 0 for runs with no frames (got %d).", none.FrameNo)
	case errors.As(err, &none) && none.FrameNo == 0:
		return nil, wire.Errorf(wire.CodeFrameOutOfRange, "Frame 0 is not available for run %s.", id)
	case errors.As(err, &none):
		return nil, wire.Errorf(wire.CodeFrameOutOfRange, "frameNo must be between 0 and %d.", none.Latest)
	}
	return s, err
}

func (r *Router) streamDevTools(ctx context.Context, c *Call, p params) (any, error) {
	id, werr := p.devToolsRunID()
	if werr != nil {
		return nil, werr
	}
	after, werr := p.devToolsCursor()
	if werr != nil {
		return nil, werr
	}
	if werr := c.watchable(id); werr != nil {
		return nil, werr
	}
	streamID, werr := c.Conn.OpenDevToolsStream(ctx, id, after)
	if werr != nil {
		return nil, werr
	}
	return wire.DevToolsOpened{StreamID: streamID, RunID: id, FromSeq: after, AfterSeq: after}, nil
}

// devToolsCursor reads fromSeq or afterSeq, which mean the same; nil for none.
func (p params) devToolsCursor() (*int64, *wire.Error) {
	var cursor *int64
	for _, name := range []string{"fromSeq", "afterSeq"} {
		if !p.given(name) {
			continue
		}
		n, ok := p.whole(name, 1<<53)
		if !ok {
			return nil, wire.Errorf(wire.CodeSeqOutOfRange, "fromSeq must be a non-negative integer.")
		}
		if cursor != nil && *cursor != n {
			return nil, wire.Errorf(wire.CodeSeqOutOfRange, "fromSeq and afterSeq must match when both are provided")
		}
		cursor = &n
	}
	return cursor, nil
}

const (
	standardFrames = 50
	mostFrames     = 1000
)

func (r *Router) framesList(ctx context.Context, _ *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	limit, werr := p.positiveInt("limit", standardFrames, mostFrames)
	if werr != nil {
		return nil, werr
	}
	after, werr := p.positiveInt("afterFrameNo", 0, math.MaxInt32)
	if werr != nil {
		return nil, werr
	}
	rows, err := r.deps.Frames.Rows(ctx, id, int64(after), limit)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, notFound(id)
	case errors.Is(err, frames.ErrTooLarge):
		return nil, wire.Errorf(wire.CodePayloadTooLarge, "%d frames of run %s are too much for one answer; ask for fewer with limit.", limit, id)
	}
	return rows, err
}

func (r *Router) framesGet(ctx context.Context, _ *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	n, werr := p.positiveInt("frameNo", 0, math.MaxInt32)
	if werr != nil {
		return nil, werr
	}
	var frameNo *int64
	if n > 0 {
		wanted := int64(n)
		frameNo = &wanted
	}
	row, err := r.deps.Frames.Row(ctx, id, frameNo)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, notFound(id)
	case errors.As(err, new(*frames.FrameError)):
		return nil, wire.Errorf(wire.CodeNotFound, "Frame not found")
	}
	return row, err
}
