package host

import (
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// board shows the status to whoever looks or watches.
type board struct {
	mu       sync.Mutex
	status   source.Status
	watchers map[chan source.Status]struct{}
}

func (b *board) get() source.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

// set shows s; Since is filled in when the state changes.
func (b *board) set(s source.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Since = b.status.Since
	if s.State != b.status.State || s.Generation != b.status.Generation || s.Since.IsZero() {
		s.Since = time.Now()
	}
	b.status = s
	for w := range b.watchers {
		offer(w, s)
	}
}

// change edits the status that is shown.
func (b *board) change(edit func(*source.Status)) {
	s := b.get() // only the supervisor changes it
	edit(&s)
	b.set(s)
}

func (b *board) watch() (<-chan source.Status, func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := make(chan source.Status, 1)
	w <- b.status
	if b.watchers == nil {
		b.watchers = map[chan source.Status]struct{}{}
	}
	b.watchers[w] = struct{}{}
	return w, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, w)
	}
}

// offer replaces what was not received yet.
func offer(w chan source.Status, s source.Status) {
	select {
	case <-w:
	default:
	}
	w <- s
}
