package upstream

import "sync"

// queue holds the runs that have something to read, each once. A run that is asked
// for while it is being read is read again afterwards. Its size is bounded by the
// number of open runs.
type queue struct {
	mu     sync.Mutex
	more   sync.Cond
	order  []string
	state  map[string]readState
	closed bool
}

type readState int

const (
	waiting readState = iota + 1
	reading
	readingAgain
)

func (q *queue) init() {
	q.more.L = &q.mu
	q.state = map[string]readState{}
}

func (q *queue) add(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch q.state[id] {
	case reading:
		q.state[id] = readingAgain
	case 0:
		q.state[id] = waiting
		q.order = append(q.order, id)
		q.more.Signal()
	}
}

// next waits for a run; ok is false when the queue is closed.
func (q *queue) next() (id string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) == 0 && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return "", false
	}
	id = q.order[0]
	q.order[0] = ""
	q.order = q.order[1:]
	q.state[id] = reading
	return id, true
}

func (q *queue) done(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state[id] == readingAgain {
		q.state[id] = waiting
		q.order = append(q.order, id)
		q.more.Signal()
		return
	}
	delete(q.state, id)
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.state)
}
