package wsconn

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// stream is one streamRunEvents subscription.
type stream struct {
	id       string
	runID    string
	user     string
	cursor   *eventlog.Cursor
	from     int64 // current seq when it was opened: plain events up to it still come
	gap      *eventlog.Gap
	snapshot json.RawMessage // for the gap
	frames   *wire.RunEvents // once it has had one
	handed   bool            // the plain cursor has nothing of this run to deliver any more
}

// requestConn is the socket as one request sees it. What the request opens begins
// after its response.
type requestConn struct {
	conn      *conn
	principal *auth.Principal
	opened    []*stream
	devOpened []*devStream
	runs      []string
}

// Subscribe implements rpc.Conn.
func (rc *requestConn) Subscribe(runID string) { rc.runs = append(rc.runs, runID) }

// OpenRunStream implements rpc.Conn.
func (rc *requestConn) OpenRunStream(ctx context.Context, runID string, after *int64) (rpc.StreamOpened, *wire.Error) {
	c := rc.conn
	select {
	case <-c.stop:
		return rpc.StreamOpened{}, errConnClosed()
	default:
	}
	cursor, opened, err := c.reg.deps.Log.Attach(ctx, runID, after, c.kickF)
	if err != nil {
		return rpc.StreamOpened{}, c.attachFailed(runID, err)
	}
	s := &stream{id: uuid.NewString(), runID: runID, user: rc.principal.UserKey(), cursor: cursor,
		from: opened.CurrentSeq, gap: opened.Gap}
	if failure := c.takeStream(s.user, runID); failure != nil {
		cursor.Detach()
		return rpc.StreamOpened{}, failure
	}
	if s.gap != nil {
		if s.snapshot, err = c.reg.deps.Router.Snapshot(ctx, runID); err != nil {
			c.endStream(s)
			return rpc.StreamOpened{}, c.attachFailed(runID, err)
		}
	}
	// What the stream calls current is in the plain ring after this, which the
	// writing goroutine relies on when it narrows the plain filter.
	c.reg.deps.Log.Barrier()
	rc.opened = append(rc.opened, s)
	return rpc.StreamOpened{StreamID: s.id, AfterSeq: after, CurrentSeq: opened.CurrentSeq}, nil
}

func errConnClosed() *wire.Error {
	return wire.Errorf(wire.CodeConnectionClosed, "Connection closed")
}

func (c *conn) attachFailed(runID string, err error) *wire.Error {
	var beyond *eventlog.SeqOutOfRangeError
	switch {
	case errors.Is(err, eventlog.ErrRunNotFound):
		return wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", runID)
	case errors.As(err, &beyond):
		return wire.Errorf(wire.CodeSeqOutOfRange, "afterSeq %d is newer than current seq %d", beyond.AfterSeq, beyond.CurrentSeq)
	case errors.Is(err, eventlog.ErrClosed), errors.Is(err, context.Canceled):
		return errConnClosed()
	case errors.Is(err, context.DeadlineExceeded):
		return wire.Errorf(wire.CodeRequestTimeout, "The request took too long").With("retryable", true)
	}
	c.reg.log.Error("stream could not be opened", zap.String("run", runID), zap.Error(err))
	return wire.Errorf(wire.CodeStorageUnavailable, "The run's events cannot be read right now; try again.").With("retryable", true)
}

// endStream gives back what a stream holds.
func (c *conn) endStream(s *stream) {
	s.cursor.Detach()
	c.giveStream(s.user, s.runID)
}

// takeStream counts one more stream of either kind, or says which cap is reached.
func (c *conn) takeStream(user, runID string) *wire.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	failure := c.reg.streams.Take(c.reg.options().streamLimits(), user, runID, c.streams)
	if failure == nil {
		c.streams++
	}
	return failure
}

// giveStream takes back one takeStream.
func (c *conn) giveStream(user, runID string) {
	c.reg.streams.Give(user, runID)
	c.mu.Lock()
	c.streams--
	c.mu.Unlock()
}

// streamError is what a client is told when Next failed.
func (c *conn) streamError(s *stream, err error) *wire.Error {
	if errors.Is(err, eventlog.ErrLagged) {
		return wire.BackpressureError(c.reg.options().MaxStreamLag)
	}
	if errors.Is(err, eventlog.ErrRunNotFound) { // removed by retention
		return wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", s.runID)
	}
	c.reg.log.Error("stream ended", zap.String("run", s.runID), zap.Error(err))
	return wire.Errorf(wire.CodeInternal, "The run's events could not be read; subscribe again.")
}

var _ rpc.Conn = (*requestConn)(nil)
