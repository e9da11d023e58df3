package eventlog

import (
	"context"
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

type fetchKey struct {
	runID string
	after int64
}

// flight is one store read, shared by all cursors that stand at its position.
// events, err and floor are set before done is closed and fixed afterwards.
type flight struct {
	key   fetchKey
	run   *run
	limit int
	most  int           // Options.Chunk, for the flight behind this one
	done  chan struct{} // closed under fetcher.mu: who finds it open there is woken

	waiters []*Cursor // guarded by fetcher.mu
	ahead   bool      // nobody has asked for it yet; likewise

	events *store.EventChunk
	floor  int64 // a reader of a short answer has everything up to here
	err    error
}

// bytes is the memory of a flight that landed.
func (fl *flight) bytes() int64 { return fl.events.Bytes() + flightOverhead }

// keptBytes bounds the chunks that stay in memory after their read. What they say
// never changes, and readers who come back together ask for the same ones.
const keptBytes = 8 << 20

// fetcher runs store reads, at most max at once, each in a goroutine that ends when
// the queue is empty.
type fetcher struct {
	backend Backend
	max     int
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	workers int
	queue   []*flight
	flights map[fetchKey]*flight
	kept    []*flight // finished, oldest first
	bytes   int64     // of kept
	reads   int64
	shared  int64
}

func newFetcher(b Backend, max int) *fetcher {
	ctx, cancel := context.WithCancel(context.Background())
	return &fetcher{backend: b, max: max, ctx: ctx, cancel: cancel, flights: make(map[fetchKey]*flight)}
}

// start joins or queues the read after a position. waiter, which may be nil, is
// woken when it is done, unless it is done already. No read behind it has more than most
// events. After close it returns nil.
func (f *fetcher) start(r *run, after int64, limit, most int, waiter *Cursor) *flight {
	key := fetchKey{r.id, after}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	fl := f.flights[key]
	if fl == nil || fl.run != r {
		fl = f.queued(&flight{key: key, run: r, limit: limit, most: most})
		f.hire()
	} else {
		ahead := fl.ahead
		fl.ahead = false
		if !ahead {
			f.shared++
		}
		select {
		case <-fl.done:
			if ahead && f.goOn(fl) {
				f.hire()
			}
			return fl
		default:
		}
	}
	if waiter != nil {
		fl.waiters = append(fl.waiters, waiter)
	}
	return fl
}

func (f *fetcher) queued(fl *flight) *flight {
	fl.done = make(chan struct{})
	f.flights[fl.key] = fl
	f.queue = append(f.queue, fl)
	return fl
}

// hire has one more goroutine work on the queue if there may be one.
func (f *fetcher) hire() {
	if f.workers < f.max {
		f.workers++
		f.wg.Add(1)
		go f.work()
	}
}

// goOn queues the read behind one that is done and that somebody has asked for, unless it
// reached the ring: so reading need not wait until that reader wants more. Reads that
// readers wait for go first, and nothing is read behind a chunk that nobody has asked for.
// It reports whether there is one more read to do; f.mu is held.
func (f *fetcher) goOn(fl *flight) bool {
	n := fl.events.Len()
	if f.closed || len(f.queue) > 0 || n == 0 || n < fl.limit {
		return false
	}
	key := fetchKey{fl.key.runID, fl.events.Seq(n - 1)}
	if key.after >= fl.floor || f.flights[key] != nil {
		return false
	}
	f.queued(&flight{key: key, run: fl.run, limit: chunkLimit(n, fl.events.Bytes(), fl.most), most: fl.most, ahead: true})
	return true
}

func (f *fetcher) work() {
	defer f.wg.Done()
	for {
		f.mu.Lock()
		if len(f.queue) == 0 {
			f.workers--
			f.mu.Unlock()
			return
		}
		fl := f.queue[0]
		f.queue[0] = nil
		f.queue = f.queue[1:]
		f.mu.Unlock()
		f.read(fl)
	}
}

func (f *fetcher) read(fl *flight) {
	// Everything up to the ring's base was committed before this read began, so a
	// short answer leaves nothing below base: that is how holes are skipped. Reads
	// start below base only, so floor is above after and the reader moves on.
	fl.run.mu.RLock()
	fl.floor = fl.run.base
	fl.run.mu.RUnlock()
	if fl.err = f.ctx.Err(); fl.err == nil {
		fl.events, fl.err = f.backend.After(f.ctx, fl.key.runID, fl.key.after, fl.limit)
	}
	f.mu.Lock()
	if fl.err == nil {
		if !fl.ahead {
			f.goOn(fl)
		}
		f.keep(fl)
	} else {
		f.forget(fl)
	}
	f.reads++
	waiters := fl.waiters
	fl.waiters = nil
	close(fl.done)
	f.mu.Unlock()
	for _, c := range waiters {
		c.wake()
	}
}

// keep holds a chunk for later readers and lets the oldest ones go.
func (f *fetcher) keep(fl *flight) {
	f.kept = append(f.kept, fl)
	f.bytes += fl.bytes()
	for f.bytes > keptBytes {
		old := f.kept[0]
		f.kept[0] = nil
		f.kept = f.kept[1:]
		f.bytes -= old.bytes()
		f.forget(old)
	}
}

func (f *fetcher) forget(fl *flight) {
	if f.flights[fl.key] == fl {
		delete(f.flights, fl.key)
	}
}

func (f *fetcher) counts() (reads, shared int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads, f.shared
}

func (f *fetcher) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.wg.Wait()
}
