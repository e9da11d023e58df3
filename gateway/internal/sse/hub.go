package sse

import (
	"context"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Hub holds the open streams. All methods may be called concurrently.
type Hub struct {
	deps Deps
	log  *zap.Logger
	opts atomic.Pointer[Options]
	stop chan struct{} // closed: streams end
	idle chan struct{} // closed: stopped and none is open

	mu      sync.Mutex
	stopped bool
	open    int
	byConn  map[string]int
	recheck chan struct{} // closed and replaced to make every stream look at its grant
}

// New returns a hub without streams. It starts nothing; Drain ends its streams.
func New(deps Deps, opts Options) *Hub {
	if deps.Metrics == nil {
		deps.Metrics = noMetrics{}
	}
	if deps.Streams == nil {
		deps.Streams = rpc.NewStreamCaps()
	}
	h := &Hub{deps: deps, log: deps.Logger, stop: make(chan struct{}), idle: make(chan struct{}),
		byConn: make(map[string]int), recheck: make(chan struct{})}
	if h.log == nil {
		h.log = zap.NewNop()
	}
	h.Configure(opts)
	return h
}

// Configure replaces limits and times. Open streams stay, whatever the limits.
func (h *Hub) Configure(opts Options) {
	o := opts.withDefaults()
	h.opts.Store(&o)
}

// Recheck makes every stream look up its grant again and ends those that have none
// any more. Call it after the grants changed.
func (h *Hub) Recheck() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.recheck)
	h.recheck = make(chan struct{})
}

// Stop refuses new streams and makes the open ones end with word when to come back.
// It returns at once; calling it again does nothing.
func (h *Hub) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	h.stopped = true
	close(h.stop)
	if h.open == 0 {
		close(h.idle)
	}
}

// Drain is Stop and waits until every stream has ended, or for the end of ctx.
func (h *Hub) Drain(ctx context.Context) error {
	h.Stop()
	select {
	case <-h.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Len is the number of open streams.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}

// enter counts a stream, or says why it may not open.
func (h *Hub) enter(q *Request) *wire.Error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return wire.Errorf(wire.CodeUnavailable, "The gateway is starting or stopping; try again.").With("retryable", true)
	}
	onConn := 0
	if q.Conn != "" {
		onConn = h.byConn[q.Conn]
	}
	if err := h.deps.Streams.Take(h.opts.Load().Limits, q.Principal.UserKey(), q.RunID, onConn); err != nil {
		return err
	}
	h.open++
	if q.Conn != "" {
		h.byConn[q.Conn]++
	}
	return nil
}

func (h *Hub) leave(q *Request) {
	h.deps.Streams.Give(q.Principal.UserKey(), q.RunID)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open--; h.open == 0 && h.stopped {
		close(h.idle)
	}
	if q.Conn == "" {
		return
	}
	if h.byConn[q.Conn]--; h.byConn[q.Conn] <= 0 {
		delete(h.byConn, q.Conn)
	}
}

// changes is closed at the next Recheck.
func (h *Hub) changes() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.recheck
}
