package upstream

import (
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of the streams of frames.
const (
	maxTrees      = 256       // streams that the upstream has of this gateway at once
	maxTreesBytes = 256 << 20 // that all streams hold
	maxTreeItems  = 1000
)

// Why a stream is over.
var (
	errTreeOver  = wire.Errorf(wire.CodeServerError, "The stream of the run's frames has ended; subscribe again.")
	errTreesFull = wire.Errorf(wire.CodeBackpressure, "DevTools streams take all the memory there is for them; subscribe again later.")
)

// tooLarge is why a stream is over whose run has a frame of more bytes.
func (t *tree) tooLarge() *wire.Error {
	return wire.Errorf(wire.CodePayloadTooLarge, "A frame of this run has more than %d bytes and cannot be streamed; "+
		"read it with getDevToolsSnapshot.", t.most)
}

// errTreeBehind: there was no snapshot for too long, or none at all.
var errTreeBehind = errors.New("no snapshot to go on from")

// tree is a stream of the frames of a run, which any number of cursors read. It holds
// the newest snapshot and what followed.
type tree struct {
	key string // of the Federation's map; "": of one cursor alone

	mu      sync.Mutex
	cursors map[*TreeCursor]struct{}
	epoch   int           // of the snapshot
	items   [][]byte      // events, the snapshot first
	size    int           // bytes of them
	held    *atomic.Int64 // bytes of all streams
	most    int           // bytes of an event, and of what this one holds: then it begins again
	err     error         // why it is over
	stop    func()
}

// TreeCursor is a position in the frames of a run that an upstream executes. Next and
// Detach belong to one goroutine at a time; wake may be called from any.
type TreeCursor struct {
	tree *tree
	gone func() // tells the Federation
	wake func()

	// Guarded by tree.mu.
	epoch, pos int
	asleep     bool
}

// Next copies the next events in order into dst, which must not be empty. It never
// blocks: 0 and no error mean that there is nothing now and that wake will be called. A
// cursor that is behind when a snapshot comes goes on with that. Errors are *wire.Error
// and final.
func (c *TreeCursor) Next(dst [][]byte) (int, error) {
	t := c.tree
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.epoch != t.epoch {
		c.epoch, c.pos = t.epoch, 0
	}
	n := copy(dst, t.items[c.pos:])
	c.pos += n
	if n == 0 && t.err != nil {
		return 0, t.err
	}
	c.asleep = n == 0
	return n, nil
}

// Detach ends the cursor. The last one of a stream ends that. A wake that was under way
// may still arrive afterwards.
func (c *TreeCursor) Detach() { c.gone() }

// attach adds a cursor; false: the stream is over. It begins with what is held.
func (t *tree) attach(c *TreeCursor) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return false
	}
	c.tree, c.epoch = t, t.epoch
	t.cursors[c] = struct{}{}
	return true
}

// detach reports whether that was the last cursor. Then the stream is over: who comes
// now needs another.
func (t *tree) detach(c *TreeCursor) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.cursors, c)
	if len(t.cursors) > 0 {
		return false
	}
	if t.err == nil {
		t.err = errTreeOver
	}
	t.epoch++
	t.keep(nil, 0)
	return true
}

// keep holds events in place of those before. mu is held.
func (t *tree) keep(items [][]byte, size int) {
	t.held.Add(int64(size - t.size))
	t.items, t.size = items, size
}

// add takes an event of the upstream. errTreeBehind: the stream is to begin again; a
// *wire.Error is final.
func (t *tree) add(event json.RawMessage) error {
	var head struct {
		Kind string `json:"kind"`
	}
	_ = json.Unmarshal(event, &head) // an unknown kind is passed on
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil:
		return t.err
	case len(event) > t.most:
		return t.tooLarge()
	case head.Kind == "snapshot":
		t.keep(nil, 0)
		t.epoch++
	case len(t.items) == 0 || len(t.items) >= maxTreeItems || t.size+len(event) > t.most:
		return errTreeBehind
	}
	if t.held.Load()+int64(len(event)) > maxTreesBytes {
		return errTreesFull
	}
	t.keep(append(t.items, event), t.size+len(event))
	t.wakeAll()
	return nil
}

// fail ends the stream for all of its cursors.
func (t *tree) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	t.wakeAll()
}

// wakeAll wakes those that have found nothing. mu is held.
func (t *tree) wakeAll() {
	for c := range t.cursors {
		if c.asleep {
			c.asleep = false
			c.wake()
		}
	}
}
