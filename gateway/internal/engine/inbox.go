package engine

import "sync"

// inbox is what others want a run's goroutine to do. Unbounded: whoever could
// flood it (log output of tasks) is held back at the source.
type inbox struct {
	mu     sync.Mutex
	msgs   []func()
	spare  []func()
	closed bool
	notify chan struct{}
}

func newInbox() inbox { return inbox{notify: make(chan struct{}, 1)} }

// post queues f; false means that the run has left memory.
func (b *inbox) post(f func()) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.msgs = append(b.msgs, f)
	b.mu.Unlock()
	select {
	case b.notify <- struct{}{}:
	default:
	}
	return true
}

// take returns all messages, or nil at once when there is none. The slice is valid
// until the next call.
func (b *inbox) take() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	msgs := b.msgs
	clear(b.spare)
	b.msgs, b.spare = b.spare[:0], msgs
	return msgs
}

func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.msgs) == 0
}

// close refuses further messages. With onlyIfEmpty it does so only when there are
// none, and reports whether it did.
func (b *inbox) close(onlyIfEmpty bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if onlyIfEmpty && len(b.msgs) > 0 {
		return false
	}
	b.closed = true
	return true
}
