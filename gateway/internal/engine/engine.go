package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
)

// Storage is what the engine needs of *store.Store.
type Storage interface {
	Submit(do func(*store.Tx) error, done func(error))
	SubmitRepeatable(do func(*store.Tx) error, done func(error))
	Update(ctx context.Context, do func(*store.Tx) error) error
	View(ctx context.Context, do func(*store.View) error) error
}

// Options of New.
type Options struct {
	Store  Storage
	Logger *zap.Logger // nil: none
	Clock  Clock       // nil: the real one
	// MaxVMs bounds the machines in memory whose programs use a VM; 0 means 256. A
	// machine that uses none counts a sixteenth.
	MaxVMs int
	// Load returns the workflows of an old version that a run still names. nil: only
	// the registered versions exist.
	Load  func(ctx context.Context, version string) ([]Definition, error)
	Owner string // runtimeOwnerId of runs while they work here
	// MaxEventBytes bounds one event's payload; larger ones are cut and marked. 0 means
	// 256 KiB.
	MaxEventBytes int
	// MaxConcurrency bounds the task attempts of one run that overlap, for launches
	// that do not choose; 0 means 4, the default of the protocol.
	MaxConcurrency int
	// MaxEvents bounds the durable events of one run, which fails with more; 0 means
	// 1,000,000.
	MaxEvents int
	// MaxQueued bounds the runs of one user that wait for a slot, for launches and child
	// runs; ten times as many may wait in all. 0 means 10,000.
	MaxQueued int
	// Trees records what the programs of tasks do to git work trees; nil: nothing does.
	Trees  Trees
	Tracer *tracing.Tracer // makes the spans of runs and attempts; nil: none
	// Idle is how long a run that waits stays in memory; 0 means a second.
	Idle time.Duration
}

// Defaults of Options.
const (
	defaultMaxVMs         = 256
	defaultMaxEventBytes  = 256 << 10
	defaultMaxConcurrency = 4
	defaultIdle           = time.Second
	defaultMaxQueued      = 10_000
	defaultMaxEvents      = 1_000_000
	queuedByAll           = 10 // times as many as of one user
	heartbeatEvery        = 10 * time.Second
	weightVM              = 16 // of a machine with a VM, in slots
	weightPlain           = 1
)

// Engine executes runs. Make one with New, start it with Start, end it with Stop.
// All other methods are safe for concurrent use.
type Engine struct {
	opts  Options
	store Storage
	log   *zap.Logger
	clock Clock

	registry registry
	slots    slots
	families families
	waker    waker

	mu       sync.Mutex
	runs     map[string]*run     // in memory or queued for a slot
	ahead    map[*run]struct{}   // begun, and not stored yet
	halted   map[string]struct{} // runs that are kept out of memory
	rewound  map[string]struct{} // runs that are being rewound
	stopping bool
	started  bool

	ctx    context.Context // ends when Stop begins
	cancel context.CancelFunc
	killed chan struct{} // closed: drop everything at once
	kill   sync.Once
	wg     sync.WaitGroup // goroutines of runs and of the waker
	moves  chan struct{}  // holds the dry replay that is under way
	beat   Timer
	live   atomic.Int64 // runs with a goroutine
	busy   atomic.Int64 // attempts in flight
}

// New makes an engine that does nothing yet.
func New(o Options) *Engine {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = realClock{started: time.Now()}
	}
	if o.MaxVMs <= 0 {
		o.MaxVMs = defaultMaxVMs
	}
	if o.MaxEventBytes <= 0 {
		o.MaxEventBytes = defaultMaxEventBytes
	}
	if o.MaxConcurrency <= 0 {
		o.MaxConcurrency = defaultMaxConcurrency
	}
	if o.MaxEvents <= 0 {
		o.MaxEvents = defaultMaxEvents
	}
	if o.MaxQueued <= 0 {
		o.MaxQueued = defaultMaxQueued
	}
	if o.Idle <= 0 {
		o.Idle = defaultIdle
	}
	e := &Engine{
		opts: o, store: o.Store, log: o.Logger, clock: o.Clock,
		runs: make(map[string]*run), ahead: make(map[*run]struct{}), halted: make(map[string]struct{}), rewound: make(map[string]struct{}), killed: make(chan struct{}), moves: make(chan struct{}, 1),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.registry.load = o.Load
	e.slots.capacity = o.MaxVMs * weightVM
	e.slots.grant = e.granted
	e.waker.e = e
	return e
}

// Start takes over the open runs of the database and begins to execute. Launches
// are refused before it.
func (e *Engine) Start(ctx context.Context) error {
	e.mu.Lock()
	if e.started {
		e.mu.Unlock()
		return nil
	}
	e.started = true
	e.mu.Unlock()
	if err := e.recover(ctx); err != nil {
		return fmt.Errorf("recover runs: %w", err)
	}
	if err := e.waker.start(ctx); err != nil {
		return fmt.Errorf("load timers: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.stopping {
		e.beat = e.clock.AfterFunc(heartbeatEvery, e.heartbeat)
	}
	return nil
}

// Stop ends all work at durable points: running attempts are told to stop and
// recorded as cut, runs leave memory with the status they have. If ctx ends first
// (storage that does not answer), the rest is dropped as by a crash and ctx's error
// returned; nothing acknowledged is lost then either.
func (e *Engine) Stop(ctx context.Context) error {
	e.mu.Lock()
	e.stopping = true
	if e.beat != nil {
		e.beat.Stop()
	}
	runs := make([]*run, 0, len(e.runs))
	for _, r := range e.runs {
		runs = append(runs, r)
	}
	for r := range e.ahead {
		runs = append(runs, r)
	}
	e.mu.Unlock()
	e.cancel()
	e.waker.stop()
	for _, r := range e.slots.close() {
		e.forget(r) // never granted: no goroutine
	}
	for _, r := range runs {
		r.box.post(r.drain)
	}
	done := make(chan struct{})
	go func() {
		e.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		e.abandon()
		<-done
		return ctx.Err()
	}
}

// abandon makes every goroutine of the engine end without another commit.
func (e *Engine) abandon() {
	e.kill.Do(func() { close(e.killed) })
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.runs {
		r.out.close()
	}
	for r := range e.ahead {
		r.out.close()
	}
}

func (e *Engine) isKilled() bool {
	select {
	case <-e.killed:
		return true
	default:
		return false
	}
}

// heartbeat refreshes the row of every run that works.
func (e *Engine) heartbeat() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return
	}
	for _, r := range e.runs {
		if r.granted { // what waits for its slots hears nothing meanwhile
			r.box.post(r.heartbeat)
		}
	}
	e.beat = e.clock.AfterFunc(heartbeatEvery, e.heartbeat)
}

// Stats is a snapshot for metrics.
type Stats struct {
	Live     int64 // runs in memory
	Queued   int   // runs that wait for a slot
	Attempts int64 // task bodies in flight
	Slots    int   // in use, in sixteenths of a VM
	Capacity int   // of Slots
	Wakes    int   // timers in memory
}

// Stats returns current figures.
func (e *Engine) Stats() Stats {
	used, queued := e.slots.stats()
	return Stats{Live: e.live.Load(), Queued: queued, Attempts: e.busy.Load(), Slots: used,
		Capacity: e.opts.MaxVMs * weightVM, Wakes: e.waker.len()}
}

// Actor is who asks for something, for checks and for the audit table.
type Actor struct {
	UserID  string
	TokenID string
	Role    string
	Scopes  []string
	Remote  string // client address
}

// name is the user id, else the token id, else "gateway".
func (a Actor) name() string {
	switch {
	case a.UserID != "":
		return a.UserID
	case a.TokenID != "":
		return a.TokenID
	}
	return "gateway"
}

func (a Actor) audit(tx *store.Tx, now int64, action, runID string, detail json.RawMessage) error {
	return tx.InsertAudit(&store.AuditEntry{AtMs: now, Action: action, RunID: runID, Actor: a.name(),
		TokenID: a.TokenID, Remote: a.Remote, Detail: detail})
}

func (e *Engine) nowMs() int64 { return e.clock.Now().UnixMilli() }
