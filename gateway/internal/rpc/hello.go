package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// Times of the hello cache.
const (
	helloPause = 100 * time.Millisecond // between two builds
	helloLimit = 10 * time.Second       // of one build
)

var errRouterClosed = errors.New("the gateway is closing")

// helloCache builds the hello snapshot for all who ask at once. A caller always
// gets a snapshot that was begun after it asked, unless the one at hand is still
// true; builds are at least helloPause apart and never overlap, so that a herd of
// reconnecting clients costs ten reads a second.
type helloCache struct {
	build   func(context.Context) (json.RawMessage, error)
	version func() int64 // changes whenever the answer may
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu    sync.Mutex
	bytes json.RawMessage // last good answer
	at    int64           // version before it was built
	ended time.Time       // of the last build
	busy  bool            // a goroutine builds
	now   *helloBuild     // under way
	next  *helloBuild     // not begun yet: whoever asks now may wait for it
}

type helloBuild struct {
	done  chan struct{}
	at    int64 // version when it began
	bytes json.RawMessage
	err   error
}

func newHelloCache(build func(context.Context) (json.RawMessage, error), version func() int64) *helloCache {
	h := &helloCache{build: build, version: version, at: -1}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

func (h *helloCache) get(ctx context.Context) (json.RawMessage, error) {
	h.mu.Lock()
	if h.ctx.Err() != nil {
		h.mu.Unlock()
		return nil, errRouterClosed
	}
	if h.bytes != nil && h.version() == h.at {
		defer h.mu.Unlock()
		return h.bytes, nil
	}
	b := h.now
	if b == nil || b.at != h.version() {
		if h.next == nil {
			h.next = &helloBuild{done: make(chan struct{})}
		}
		b = h.next
	}
	if !h.busy {
		h.busy = true
		h.work.Add(1)
		go h.run()
	}
	h.mu.Unlock()
	select {
	case <-b.done:
		return b.bytes, b.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run builds until nobody waits any more.
func (h *helloCache) run() {
	defer h.work.Done()
	h.mu.Lock()
	for h.next != nil {
		pause := helloPause - time.Since(h.ended)
		h.mu.Unlock()
		h.pause(pause)

		h.mu.Lock()
		b := h.next
		// Who asks from here on needs a later one if anything has changed since.
		b.at = h.version()
		h.now, h.next = b, nil
		h.mu.Unlock()
		ctx, cancel := context.WithTimeout(h.ctx, helloLimit)
		b.bytes, b.err = h.build(ctx)
		cancel()

		h.mu.Lock()
		if b.err == nil {
			h.bytes, h.at = b.bytes, b.at
		}
		h.now, h.ended = nil, time.Now()
		close(b.done)
	}
	h.busy = false
	h.mu.Unlock()
}

func (h *helloCache) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-h.ctx.Done():
	}
}

// close ends a build under way and waits for its goroutine. Later calls of get fail.
func (h *helloCache) close() {
	h.mu.Lock()
	h.cancel()
	h.mu.Unlock()
	h.work.Wait()
}
