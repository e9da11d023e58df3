package upstream

import "sync"

// queue holds the runs that have something to read, each once. A run that is asked
// for while it is being read is read again afterwards. Its size is bounded by the
// number of open runs.
type queue struct {
	mu     sync.Mutex
	more   sync.Cond
	order  []string
	runs   map[string]*queued
	closed bool
}

type queued struct {
	state readState
	ask   bool // the upstream is to be asked: what it has handed over is not enough
}

type readState int

const (
	waiting readState = iota + 1
	reading
	readingAgain
)

func (q *queue) init() {
	q.more.L = &q.mu
	q.runs = map[string]*queued{}
}

func (q *queue) add(id string, ask bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.runs[id]
	switch {
	case r == nil:
		q.runs[id] = &queued{state: waiting, ask: ask}
		q.order = append(q.order, id)
		q.more.Signal()
		return
	case r.state == reading:
		r.state = readingAgain
	}
	r.ask = r.ask || ask
}

// next waits for a run; ok is false when the queue is closed.
func (q *queue) next() (id string, ask, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) == 0 && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return "", false, false
	}
	id = q.order[0]
	q.order[0] = ""
	q.order = q.order[1:]
	r := q.runs[id]
	ask, r.ask, r.state = r.ask, false, reading
	return id, ask, true
}

func (q *queue) done(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r := q.runs[id]; r.state == readingAgain {
		r.state = waiting
		q.order = append(q.order, id)
		q.more.Signal()
		return
	}
	delete(q.runs, id)
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
	return len(q.runs)
}
