package upstream

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// WatchFrames attaches a stream of the frames of a run that the upstream executes, as it
// makes them: a snapshot, then changes and further snapshots. Streams of one run share
// one of the upstream; one that begins after a frame has its own. While the upstream is
// away it waits, and begins again with a snapshot. The caller has seen to the scopes. The
// upstream's refusals and everything else are *wire.Error.
func (f *Federation) WatchFrames(ctx context.Context, runID string, after *int64, wake func()) (*TreeCursor, error) {
	for {
		t, fresh, err := f.treeOf(runID, after)
		if err != nil {
			return nil, err
		}
		c := &TreeCursor{wake: wake, asleep: true}
		c.gone = func() {
			if t.detach(c) {
				f.dropTree(t)
			}
		}
		if !t.attach(c) {
			f.dropTree(t)
			continue
		}
		if !fresh {
			return c, nil
		}
		conn, err := f.openTree(ctx, t, runID, after)
		if err != nil && (t.detach(c) || ctx.Err() == nil) {
			t.fail(asWire(err))
			f.dropTree(t)
			return nil, asWire(err)
		}
		life, stop := context.WithCancel(f.ctx)
		t.mu.Lock()
		t.stop = stop
		ended := len(t.cursors) == 0
		t.mu.Unlock()
		if ended || !f.goes(func() { f.readTree(life, t, runID, conn) }) {
			stop()
			conn.close()
		}
		if err != nil { // this client has gone; others wait for the same stream
			return nil, asWire(err)
		}
		return c, nil
	}
}

// treeOf is the stream that is there, or a new one that is to be opened.
func (f *Federation) treeOf(runID string, after *int64) (t *tree, fresh bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trees == nil {
		f.trees = map[*tree]struct{}{}
		f.shared = map[string]*tree{}
	}
	if t := f.shared[runID]; t != nil && after == nil {
		return t, false, nil
	}
	if len(f.trees) >= maxTrees {
		return nil, false, wire.Errorf(wire.CodeRateLimited,
			"Gateway DevTools stream limit reached: %d runs of Smithers are being watched.", maxTrees).With("retryable", true)
	}
	t = &tree{cursors: map[*TreeCursor]struct{}{}, held: &f.treeBytes, most: f.opts.MaxFrameBytes}
	f.trees[t] = struct{}{}
	if after == nil {
		t.key = runID
		f.shared[runID] = t
	}
	return t, true, nil
}

// dropTree ends a stream that nobody reads.
func (f *Federation) dropTree(t *tree) {
	f.mu.Lock()
	delete(f.trees, t)
	if f.shared[t.key] == t {
		delete(f.shared, t.key)
	}
	f.mu.Unlock()
	t.fail(errTreeOver)
	t.mu.Lock()
	stop := t.stop
	t.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// goes starts a goroutine that Close waits for; false after that.
func (f *Federation) goes(do func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return false
	}
	f.work.Go(do)
	return true
}

// openTree opens a socket that brings the frames of a run, into t.
func (f *Federation) openTree(ctx context.Context, t *tree, runID string, after *int64) (*treeSocket, error) {
	p, err := f.peerNow()
	if err != nil {
		return nil, err
	}
	conn, err := p.connect(ctx, runID)
	if err != nil {
		return nil, &down{answer: unavailable(p.source.Status()), cause: err}
	}
	conn.SetReadLimit(int64(t.most + maxTreeHead))
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	s := &treeSocket{Conn: conn}
	if err := s.ask(t, runID, after); err != nil {
		s.close()
		var refusal *wire.Error
		if errors.As(err, &refusal) {
			return nil, refusal
		}
		return nil, &down{answer: unavailable(p.source.Status()), cause: err}
	}
	return s, nil
}

// readTree reads a stream until ctx ends, again and again while the upstream goes away.
// conn may be nil: it is to be opened.
func (f *Federation) readTree(ctx context.Context, t *tree, runID string, conn *treeSocket) {
	retry := firstRetry
	for {
		if conn != nil {
			began := time.Now()
			err := conn.follow(ctx, t)
			var final *wire.Error
			if errors.As(err, &final) {
				t.fail(final)
				return
			}
			if time.Since(began) > lastRetry {
				retry = firstRetry
			}
			f.logger.Debug("a stream of frames of Smithers has ended", runField(runID), zap.Error(err))
		}
		pause := time.NewTimer(retry)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
		retry = min(2*retry, lastRetry)
		var err error
		var refusal *wire.Error
		if conn, err = f.openTree(ctx, t, runID, nil); err != nil && !isDown(err) && errors.As(err, &refusal) {
			t.fail(refusal)
			return
		}
	}
}

// asWire is what a client is told.
func asWire(err error) *wire.Error {
	var told *wire.Error
	if errors.As(err, &told) {
		return told
	}
	return wire.Errorf(wire.CodeServerError, "The run's frames could not be read; subscribe again.")
}
