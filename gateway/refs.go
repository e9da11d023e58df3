package gateway

import (
	"context"
	"sync"
)

// refs counts who uses a running gateway, so that its files close behind the last
// one and nobody starts to use it once it closes.
type refs struct {
	mu     sync.Mutex
	count  int
	closed bool
	idle   chan struct{} // closed when closed && count == 0
}

func newRefs() *refs { return &refs{idle: make(chan struct{})} }

// acquire reports whether the caller may go on; it must then call release once.
func (r *refs) acquire() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.count++
	return true
}

func (r *refs) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	if r.closed && r.count == 0 {
		close(r.idle)
	}
}

// close refuses further users.
func (r *refs) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	if r.count == 0 {
		close(r.idle)
	}
}

// wait waits for the last user after close, or for the end of ctx.
func (r *refs) wait(ctx context.Context) error {
	select {
	case <-r.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
