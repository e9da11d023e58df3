// Package eventlog holds the recent events of every run in memory and hands them
// to cursors. A cursor is a position, not a queue: reading live, replaying and
// catching up are one loop that takes from the run's ring and, behind the ring,
// from the store. Memory is therefore bounded by the rings, never by the number or
// the slowness of readers.
package eventlog

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Bounds describes the stored events of a run.
type Bounds struct {
	First  int64 // seq of the oldest pushed event, 0 with none
	Last   int64 // seq of the newest pushed event, 0 with none
	Next   int64 // seq the next event will get; more than Last+1 after a restore
	Exists bool  // false: there is no such run
}

// Backend reads what is durable. It is called from several goroutines at once and
// must see every event that was committed before the call.
type Backend interface {
	Bounds(ctx context.Context, runID string) (Bounds, error)
	// WindowStart returns the seq of the window-th newest pushed event, or that of
	// the oldest when there are fewer, or 0 with none.
	WindowStart(ctx context.Context, runID string, window int) (int64, error)
	// After returns, in order, at most limit pushed events with a seq above after.
	After(ctx context.Context, runID string, after int64, limit int) (*store.EventChunk, error)
}

// Defaults of Options.
const (
	DefaultWindow     = 10_000
	DefaultRingBytes  = 256 << 20
	DefaultMaxLag     = 100_000
	DefaultLagBytes   = 64 << 20
	DefaultPlainRing  = 65_536
	DefaultPlainBytes = 64 << 20
	DefaultChunk      = 512
	DefaultReads      = 4
)

// Options are the bounds of a Log. Zero values mean the defaults.
type Options struct {
	Window      int   // newest events of a run from which a stream may start
	RingBytes   int64 // memory for the rings of all runs; idle runs are evicted first
	MaxLag      int   // events a cursor may be behind; at least Window
	MaxLagBytes int64 // payload bytes a cursor may be behind
	PlainRing   int   // events of all runs held for plain cursors
	PlainBytes  int64 // payload bytes held for plain cursors
	Chunk       int   // events of one store read
	Reads       int   // store reads at once; fixed by New
}

func (o Options) withDefaults() Options {
	pick := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	pick64 := func(v *int64, def int64) {
		if *v <= 0 {
			*v = def
		}
	}
	pick(&o.Window, DefaultWindow)
	pick64(&o.RingBytes, DefaultRingBytes)
	pick(&o.MaxLag, DefaultMaxLag)
	o.MaxLag = max(o.MaxLag, o.Window)
	pick64(&o.MaxLagBytes, DefaultLagBytes)
	pick(&o.PlainRing, DefaultPlainRing)
	pick64(&o.PlainBytes, DefaultPlainBytes)
	pick(&o.Chunk, DefaultChunk)
	pick(&o.Reads, DefaultReads)
	return o
}

const shardCount = 64

type shard struct {
	mu   sync.RWMutex
	runs map[string]*run
}

// Log is the set of all windows. All methods may be called concurrently.
//
// Locks are taken in this order and none is held during a store read:
// publishMu, shard.mu, lru.mu, run.mu, run.wakeMu, fetcher.mu.
type Log struct {
	backend Backend
	opts    atomic.Pointer[Options]
	seed    maphash.Seed
	shards  [shardCount]shard
	lru     lru
	fetch   *fetcher
	plain   plainRing

	publishMu    sync.Mutex // one publisher; eviction runs under it too
	touched      []*run     // scratch of Publish
	stateVersion atomic.Int64
	cursors      atomic.Int64
	closed       atomic.Bool
}

// New makes an empty Log over backend. Close must be called.
func New(backend Backend, opts Options) *Log {
	l := &Log{backend: backend, seed: maphash.MakeSeed()}
	o := opts.withDefaults()
	l.opts.Store(&o)
	for i := range l.shards {
		l.shards[i].runs = make(map[string]*run)
	}
	l.lru.init()
	l.plain.init(o.PlainRing)
	l.fetch = newFetcher(backend, o.Reads)
	return l
}

// Configure replaces the bounds; larger windows take effect as events arrive,
// smaller budgets at once.
func (l *Log) Configure(opts Options) {
	o := opts.withDefaults()
	l.opts.Store(&o)
	l.plain.resize(o.PlainRing, o.PlainBytes)
	l.publishMu.Lock()
	defer l.publishMu.Unlock()
	l.evict(o.RingBytes)
}

// Close ends the store reads, waits for their goroutines and wakes every cursor;
// from then on Next returns ErrClosed.
func (l *Log) Close() {
	if l.closed.Swap(true) {
		return
	}
	l.fetch.close()
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.RLock()
		for _, r := range s.runs {
			r.wake()
		}
		s.mu.RUnlock()
	}
	l.plain.wakeAll()
}

// Forget drops the window of a run that was removed by retention. Its cursors end:
// a run of the same id that is launched later is another one, with numbers of its
// own. Call it from the committer's goroutine, so that no event of that later run is
// published before.
func (l *Log) Forget(runID string) {
	l.publishMu.Lock()
	defer l.publishMu.Unlock()
	s := l.shard(runID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.runs[runID]; r != nil {
		delete(s.runs, runID)
		l.lru.remove(r)
		r.drop()
		r.gone.Store(true)
		r.wake()
	}
}

// StateVersion is that of the newest published event, 0 before the first.
func (l *Log) StateVersion() int64 { return l.stateVersion.Load() }

// AdvanceStateVersion tells the Log the stateVersion read from the database at
// start, so that streams opened before the first event know it.
func (l *Log) AdvanceStateVersion(v int64) {
	for {
		old := l.stateVersion.Load()
		if v <= old || l.stateVersion.CompareAndSwap(old, v) {
			return
		}
	}
}

// Stats is a snapshot for metrics.
type Stats struct {
	Runs      int   // windows in memory
	RingBytes int64 // memory they take, estimated
	Cursors   int64 // attached run cursors
	Reads     int64 // store reads done since New
	Shared    int64 // reads saved because another cursor asked for the same chunk
}

// Stats returns current figures.
func (l *Log) Stats() Stats {
	n, b := l.lru.size()
	reads, shared := l.fetch.counts()
	return Stats{Runs: n, RingBytes: b, Cursors: l.cursors.Load(), Reads: reads, Shared: shared}
}

func (l *Log) shard(runID string) *shard {
	return &l.shards[maphash.String(l.seed, runID)%shardCount]
}
