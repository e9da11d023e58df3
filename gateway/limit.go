package gateway

import (
	"context"
	"sync"
	"time"
)

// limit bounds a request by a time and by the life of the gateway.
func (r *running) limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	l := &limited{parent: ctx, life: r.ctx, deadline: time.Now().Add(d)}
	return l, l.cancel
}

// limited is a context with a deadline that also ends with a second one. Most requests are
// answered before anybody waits for its end, so that timer and links are made by the first
// Done only. Safe for concurrent use.
type limited struct {
	parent, life context.Context
	deadline     time.Time

	mu    sync.Mutex
	inner context.Context // has them; nil until then
	end   func()          // of inner
	err   error           // once Err has said it
}

var _ context.Context = (*limited)(nil)

// Deadline is the parent's if that is sooner.
func (l *limited) Deadline() (time.Time, bool) {
	if d, ok := l.parent.Deadline(); ok && d.Before(l.deadline) {
		return d, true
	}
	return l.deadline, true
}

func (l *limited) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner == nil {
		inner, cancel := context.WithDeadline(l.parent, l.deadline)
		stop := context.AfterFunc(l.life, cancel)
		l.inner, l.end = inner, func() { stop(); cancel() }
		if l.err != nil {
			l.end()
		}
	}
	return l.inner.Done()
}

func (l *limited) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
	case l.inner != nil:
		l.err = l.inner.Err()
	case l.parent.Err() != nil:
		l.err = l.parent.Err()
	case l.life.Err() != nil:
		l.err = context.Canceled
	case !time.Now().Before(l.deadline):
		l.err = context.DeadlineExceeded
	}
	return l.err
}

// Value lets contexts that are made from this one find inner, whose Done is this one's.
func (l *limited) Value(key any) any {
	l.mu.Lock()
	ctx := l.inner
	l.mu.Unlock()
	if ctx == nil {
		ctx = l.parent
	}
	return ctx.Value(key)
}

func (l *limited) cancel() {
	_ = l.Err() // what it was ended by before, if it was
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner != nil {
		l.end()
	} else if l.err == nil {
		l.err = context.Canceled
	}
}
