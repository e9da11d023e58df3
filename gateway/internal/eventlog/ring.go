package eventlog

import (
	"sort"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// ring is a queue of events ordered by seq that grows by doubling and never
// shrinks until it is reset. It is not safe for concurrent use.
type ring struct {
	buf  []*store.Event // len is 0 or a power of two
	head int            // index of the oldest
	n    int
}

func (q *ring) at(i int) *store.Event { return q.buf[(q.head+i)&(len(q.buf)-1)] }

func (q *ring) push(ev *store.Event) {
	if q.n == len(q.buf) {
		q.grow()
	}
	q.buf[(q.head+q.n)&(len(q.buf)-1)] = ev
	q.n++
}

func (q *ring) pop() *store.Event {
	ev := q.buf[q.head]
	q.buf[q.head] = nil
	q.head = (q.head + 1) & (len(q.buf) - 1)
	q.n--
	return ev
}

func (q *ring) grow() {
	next := make([]*store.Event, max(8, 2*len(q.buf)))
	for i := range q.n {
		next[i] = q.at(i)
	}
	q.buf, q.head = next, 0
}

func (q *ring) reset() { *q = ring{} }

// search returns the index of the first event with a seq above after.
func (q *ring) search(after int64) int {
	if q.n == 0 {
		return 0
	}
	// Without holes the index follows from the distance to the newest event.
	if i := q.n - int(min(int64(q.n), max(0, q.at(q.n-1).Seq-after))); i == q.n || q.at(i).Seq == after+1 {
		return i
	}
	return sort.Search(q.n, func(i int) bool { return q.at(i).Seq > after })
}

// copyFrom copies events from index i on and returns how many.
func (q *ring) copyFrom(i int, dst []*store.Event) int {
	n := min(len(dst), q.n-i)
	for k := range n {
		dst[k] = q.at(i + k)
	}
	return n
}
