package eventlog

import (
	"sync"
	"sync/atomic"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Estimated memory of an event beside its bytes, and of a window and a flight beside their
// events. That of a flight is what a short chunk has room for.
const (
	eventOverhead  = 224
	runOverhead    = 512
	flightOverhead = 4 << 10
)

func eventBytes(ev *store.Event) int64 {
	return int64(len(ev.Payload)+len(ev.Detail)) + eventOverhead
}

// lagBytes is what an event counts for a reader that is behind: an event read from the
// store comes without Detail, and must count for as much as when it was published.
func lagBytes(ev *store.Event) int64 { return int64(len(ev.Payload)) + eventOverhead }

// run is the window of one run. Its ring holds every pushed event with a seq above
// base; what lies at or below base is in the store.
type run struct {
	id   string
	refs int         // attached cursors and attaches under way; guarded by the shard's mu
	gone atomic.Bool // the run was removed

	mu      sync.RWMutex
	loaded  bool // head and base are known
	loading chan struct{}
	ring    ring
	base    int64
	head    int64 // current seq: no event above it has been published
	bytes   int64 // of the ring
	count   int64 // events published since the window exists
	total   int64 // their lagBytes

	windowAt    int64 // cached answer of Backend.WindowStart …
	windowCount int64 // … at this count …
	windowSize  int   // … for this window; 0: none

	wakeMu  sync.Mutex
	cursors []*Cursor

	prev, next *run  // lru
	weight     int64 // bytes the lru has counted for this run; guarded by lru.mu
}

// append adds a published event and drops what exceeds the window or maxBytes.
func (r *run) append(ev *store.Event, window int, maxBytes int64) {
	if !r.loaded {
		r.loaded, r.base, r.head = true, ev.Seq-1, ev.Seq-1
	}
	if ev.Seq <= r.head { // committed before the window was loaded from the store
		return
	}
	r.ring.push(ev)
	n := eventBytes(ev)
	r.head = ev.Seq
	r.bytes += n
	r.count++
	r.total += lagBytes(ev)
	for r.ring.n > window || (r.bytes > maxBytes && r.ring.n > 1) {
		old := r.ring.pop()
		r.base = old.Seq
		r.bytes -= eventBytes(old)
	}
}

// load sets the bounds read from the store after the window was registered, unless
// an event was published meanwhile.
func (r *run) load(next int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.loaded {
		r.loaded, r.base, r.head = true, next-1, next-1
	}
}

// drop empties the ring; positions stay valid, the store has the events.
func (r *run) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring.reset()
	r.bytes = 0
	r.base = r.head
}

// wake calls the wake function of every cursor that found nothing when it looked.
func (r *run) wake() {
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	for _, c := range r.cursors {
		if c.armed.Load() && c.armed.Swap(false) {
			c.wake()
		}
	}
}

func (r *run) addCursor(c *Cursor) {
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	c.index = len(r.cursors)
	r.cursors = append(r.cursors, c)
}

func (r *run) removeCursor(c *Cursor) {
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	last := len(r.cursors) - 1
	moved := r.cursors[last]
	r.cursors[c.index] = moved
	moved.index = c.index
	r.cursors[last] = nil
	r.cursors = r.cursors[:last]
}
