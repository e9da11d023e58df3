package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gorilla/websocket"
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
		conn, err := f.openTree(ctx, runID, after)
		if err != nil {
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
			_ = conn.Close()
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
	t = &tree{cursors: map[*TreeCursor]struct{}{}}
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
	t.fail(wire.Errorf(wire.CodeServerError, "The stream of the run's frames has ended; subscribe again."))
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

// openTree opens a socket that brings the frames of a run.
func (f *Federation) openTree(ctx context.Context, runID string, after *int64) (*websocket.Conn, error) {
	p, err := f.peerNow()
	if err != nil {
		return nil, err
	}
	conn, err := p.connect(ctx, runID)
	if err != nil {
		return nil, &down{answer: unavailable(p.source.Status()), cause: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := askTree(conn, runID, after); err != nil {
		_ = conn.Close()
		var refusal *wire.Error
		if errors.As(err, &refusal) {
			return nil, refusal
		}
		return nil, &down{answer: unavailable(p.source.Status()), cause: err}
	}
	return conn, nil
}

const treeID = "frames"

// askTree waits for the answers to connect and streamDevTools.
func askTree(conn *websocket.Conn, runID string, after *int64) error {
	if err := conn.SetReadDeadline(time.Now().Add(connectLimit)); err != nil {
		return err
	}
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		var frame struct {
			Type, ID string
			OK       bool
			Error    json.RawMessage
		}
		switch {
		case json.Unmarshal(text, &frame) != nil:
			return errGarbage
		case frame.Type != "res":
			continue
		case !frame.OK:
			refusal, err := decodeError(frame.Error)
			if err != nil {
				return err
			}
			if frame.ID == connectID { // it is about this gateway, not about who asks for frames
				return fmt.Errorf("the upstream refuses a socket: %s", refusal.Message)
			}
			return refusal
		case frame.ID == treeID:
			return nil
		case frame.ID != connectID:
			continue
		}
		params := map[string]any{"runId": runID}
		if after != nil {
			params["afterSeq"] = *after
		}
		if err := conn.WriteJSON(map[string]any{"type": "req", "id": treeID, "method": wire.MethodStreamDevTools, "params": params}); err != nil {
			return err
		}
	}
}

// readTree reads a stream until ctx ends, again and again while the upstream goes away.
func (f *Federation) readTree(ctx context.Context, t *tree, runID string, conn *websocket.Conn) {
	retry := firstRetry
	for {
		if conn != nil {
			began := time.Now()
			err := f.followTree(ctx, t, conn)
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
		if conn, err = f.openTree(ctx, runID, nil); err != nil && !isDown(err) && errors.As(err, &refusal) {
			t.fail(refusal)
			return
		}
	}
}

// followTree takes the events of one connection.
func (f *Federation) followTree(ctx context.Context, t *tree, conn *websocket.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		stop()
		_ = conn.Close()
	}()
	for {
		if err := conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return err
		}
		_, text, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		var frame struct {
			Event   string
			Payload struct {
				Event, Error json.RawMessage
			}
		}
		if json.Unmarshal(text, &frame) != nil {
			return errGarbage
		}
		switch frame.Event {
		case wire.EventDevTools:
			if len(frame.Payload.Event) == 0 {
				return errGarbage
			}
			if !t.add(frame.Payload.Event) {
				return errors.New("there was no snapshot for too long")
			}
		case wire.EventDevToolsError:
			return fmt.Errorf("it says %s", frame.Payload.Error)
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
