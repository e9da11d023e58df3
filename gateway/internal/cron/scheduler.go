package cron

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Times of a Scheduler.
const (
	longestWait = 15 * time.Second // between two looks: clocks are set, and machines sleep
	afterError  = time.Minute      // until a tick that launched nothing is tried again
	storageWait = 2 * time.Second
	page        = 100 // due schedules read at once
)

// Launcher is what a scheduler needs of *engine.Engine.
type Launcher interface {
	Launch(ctx context.Context, l engine.Launch) (engine.Launched, error)
}

// Storage is what a scheduler needs of *store.Store.
type Storage interface {
	Submit(do func(*store.Tx) error, done func(error))
	Update(ctx context.Context, do func(*store.Tx) error) error
	View(ctx context.Context, do func(*store.View) error) error
}

// Options of New. Store and Engine are required.
type Options struct {
	Store  Storage
	Engine Launcher
	Clock  engine.Clock    // nil: the real one
	Logger *zap.Logger     // nil: none
	Tracer *tracing.Tracer // makes the spans of ticks; nil: none
	// Triggered is told of every tick, with the error that kept it from launching; may
	// be nil.
	Triggered func(workflow string, err error)
}

// Scheduler fires due schedules. Make one with New, then Start, then Stop. All
// methods may be called concurrently.
type Scheduler struct {
	opts  Options
	clock engine.Clock
	log   *zap.Logger

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	timer   engine.Timer
	started bool
	stopped bool
	busy    bool // a goroutine fires
	again   bool // something changed meanwhile

	looked time.Time // of the goroutine that fires: the time of day when it looked last
}

// New makes a scheduler that does nothing yet.
func New(o Options) *Scheduler {
	s := &Scheduler{opts: o, clock: o.Clock, log: o.Logger}
	if s.clock == nil {
		s.clock = realClock{}
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Start begins to fire, with what was due while nobody was there.
func (s *Scheduler) Start() {
	s.mu.Lock()
	s.started = true
	s.mu.Unlock()
	s.Changed()
}

// Stop ends firing and waits for a launch that is under way.
func (s *Scheduler) Stop() {
	s.mu.Lock()
	s.stopped = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
}

// Changed makes the scheduler look at its schedules again. It does not block.
func (s *Scheduler) Changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started || s.stopped {
		return
	}
	if s.busy {
		s.again = true
		return
	}
	s.busy = true
	s.work.Add(1)
	go s.run()
}

// run fires what is due and sets the timer for what comes next.
func (s *Scheduler) run() {
	defer s.work.Done()
	for {
		wait, err := s.fire(s.ctx)
		if err != nil && s.ctx.Err() == nil {
			s.log.Warn("schedules cannot be looked at", zap.Error(err))
			wait = storageWait
		}
		s.mu.Lock()
		if s.stopped || !s.again {
			s.busy = false
			s.arm(wait)
			s.mu.Unlock()
			return
		}
		s.again = false
		s.mu.Unlock()
	}
}

// arm is called with mu held.
func (s *Scheduler) arm(wait time.Duration) {
	if s.timer != nil {
		s.timer.Stop()
	}
	if !s.stopped {
		s.timer = s.clock.AfterFunc(min(max(wait, 0), longestWait), s.Changed)
	}
}

// fire launches all that is due and returns how long it is until the next.
func (s *Scheduler) fire(ctx context.Context) (time.Duration, error) {
	if err := s.follow(ctx); err != nil {
		s.looked = time.Time{} // to be looked at again
		return 0, err
	}
	for {
		var due []*store.Cron
		var next int64
		err := s.opts.Store.View(ctx, func(v *store.View) (err error) {
			if due, err = v.DueCrons(s.nowMs(), page); err == nil && len(due) == 0 {
				next, err = v.NextCron()
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		if len(due) == 0 {
			if next == 0 {
				return longestWait, nil
			}
			return time.UnixMilli(next).Sub(s.clock.Now()), nil
		}
		for _, c := range due {
			if err := s.trigger(ctx, c); err != nil {
				return 0, err
			}
		}
	}
}

func (s *Scheduler) nowMs() int64 { return s.clock.Now().UnixMilli() }

// errTaken is the result of a claim that came too late: the schedule was run,
// changed or removed meanwhile. The engine hands on errors of the wire only.
var errTaken = wire.Errorf(wire.CodeConflict, "the tick is taken")

type realClock struct{}

func (realClock) Now() time.Time                                   { return time.Now() }
func (realClock) AfterFunc(d time.Duration, f func()) engine.Timer { return time.AfterFunc(d, f) }
