package wsconn

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// devStream is one streamDevTools subscription.
type devStream struct {
	id     string
	runID  string
	user   string
	cursor FrameCursor
}

// devBatch is how many events are taken from one cursor before the next has its turn. A
// snapshot may be large.
const devBatch = 8

// Subscribed implements rpc.Conn.
func (rc *requestConn) Subscribed(runID string) bool {
	c := rc.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.named == nil {
		return true
	}
	_, ok := c.named[runID]
	return ok
}

// name adds runs to the filter of the session, if it has one.
func (c *conn) name(runs []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.named == nil {
		return
	}
	for _, runID := range runs {
		c.named[runID] = struct{}{}
	}
}

// OpenDevToolsStream implements rpc.Conn.
func (rc *requestConn) OpenDevToolsStream(ctx context.Context, runID string, after *int64) (string, *wire.Error) {
	c := rc.conn
	select {
	case <-c.stop:
		return "", errConnClosed()
	default:
	}
	s := &devStream{id: uuid.NewString(), runID: runID, user: rc.principal.UserKey()}
	if failure := c.takeStream(s.user, runID); failure != nil {
		return "", failure
	}
	var err error
	if s.cursor, err = c.reg.deps.Frames(ctx, runID, after, c.kickF); err != nil {
		c.giveStream(s.user, runID)
		return "", c.watchFailed(runID, err)
	}
	rc.devOpened = append(rc.devOpened, s)
	return s.id, nil
}

func (c *conn) watchFailed(runID string, err error) *wire.Error {
	var beyond *frames.FrameError
	var told *wire.Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, frames.ErrRunNotFound):
		return wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", runID)
	case errors.As(err, &beyond):
		return wire.Errorf(wire.CodeSeqOutOfRange, "fromSeq %d is newer than current seq %d", beyond.FrameNo, beyond.Latest)
	case errors.Is(err, frames.ErrFull):
		return wire.Errorf(wire.CodeRateLimited, "Gateway DevTools stream limit reached: the runs that are being watched take all the memory there is for them.").
			With("retryable", true)
	case errors.Is(err, frames.ErrClosed), errors.Is(err, context.Canceled):
		return errConnClosed()
	case errors.Is(err, context.DeadlineExceeded):
		return wire.Errorf(wire.CodeRequestTimeout, "The request took too long").With("retryable", true)
	}
	c.reg.log.Error("stream of frames could not be opened", zap.String("run", runID), zap.Error(err))
	return wire.Errorf(wire.CodeStorageUnavailable, "The run's frames cannot be read right now; try again.").With("retryable", true)
}

func (c *conn) endDevStream(s *devStream) {
	s.cursor.Detach()
	c.giveStream(s.user, s.runID)
}

// devError is what a client is told when Next failed.
func (c *conn) devError(s *devStream, err error) *wire.Error {
	var told *wire.Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, frames.ErrLagged):
		return wire.Errorf(wire.CodeBackpressure, "DevTools stream fell more than %d events behind; disconnecting slow consumer.", frames.MaxUndelivered)
	case errors.Is(err, frames.ErrRunNotFound):
		return wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", s.runID)
	case errors.Is(err, frames.ErrFull):
		return wire.Errorf(wire.CodeBackpressure, "DevTools streams take all the memory there is for them; subscribe again later.")
	}
	c.reg.log.Error("stream of frames ended", zap.String("run", s.runID), zap.Error(err))
	return wire.Errorf(wire.CodeServerError, "The run's frames could not be read; subscribe again.")
}

// pullDev writes one batch of each stream of frames and reports whether there may be
// more.
func (wr *writer) pullDev(c *conn, w *work) (more bool) {
	for i := 0; i < len(wr.devStreams) && !wr.broken; {
		s := wr.devStreams[i]
		n, err := s.cursor.Next(w.docs[:])
		for _, event := range w.docs[:n] {
			wr.event(c, w, wire.AppendDevToolsEvent(w.scratch[:0], s.id, s.runID, event, wr.seq+1, wr.version))
			if wr.broken {
				break
			}
		}
		clear(w.docs[:n])
		if err != nil {
			wr.endDevStream(c, w, i, c.devError(s, err))
			continue
		}
		more = more || n > 0
		i++
	}
	return more
}

func (wr *writer) endDevStream(c *conn, w *work, i int, failure *wire.Error) {
	s := wr.devStreams[i]
	wr.devStreams = append(wr.devStreams[:i], wr.devStreams[i+1:]...)
	wr.event(c, w, wire.AppendDevToolsError(w.scratch[:0], s.id, s.runID, failure, wr.seq+1, wr.version))
	c.endDevStream(s)
	c.reg.metrics.StreamEnded(failure.Code)
}
