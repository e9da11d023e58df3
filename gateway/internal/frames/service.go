package frames

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Defaults of Options.
const (
	DefaultBytes = 64 << 20
	DefaultJobs  = 2
)

// Options are the bounds of a Service. Zero values mean the defaults.
type Options struct {
	Bytes int64 // of folds and checkpoints in memory; those of streams are kept beyond it
	Jobs  int   // runs worked on at once, for requests and streams; each holds a reader of the store
}

// Deps are what a Service works on. Store is required.
type Deps struct {
	Store *store.Store
	// RunState is the state of a run as of now; nil: it is derived from the log.
	RunState func(v *store.View, run *store.Run) (*wire.RunState, error)
	Now      func() time.Time // nil: time.Now
	Logger   *zap.Logger      // nil: none
}

// Errors of Service.
var (
	ErrClosed      = errors.New("frames: closed")
	ErrRunNotFound = store.ErrNotFound
	// ErrLagged ends a stream that was not read for too long.
	ErrLagged = errors.New("frames: the stream is too far behind")
	// ErrFull refuses a stream: those of other runs take all the memory there is for it.
	ErrFull = errors.New("frames: too many large runs are being watched")
)

// Service derives frames on demand and feeds streams of them. Safe for concurrent use.
// Runs that nobody has asked for lately are forgotten when the budget is spent, and
// read again when they are asked for.
type Service struct {
	deps   Deps
	opts   Options
	log    *zap.Logger
	ctx    context.Context // ends with the service
	cancel context.CancelFunc
	jobs   chan struct{}  // a token for each run that is worked on
	wg     sync.WaitGroup // jobs

	watched atomic.Int64 // streams
	mu      sync.Mutex
	closed  bool
	runs    map[string]*entry
	recent  []*entry // least recently used first
	bytes   int64
}

// entry is a run in memory. Its fields belong to whoever holds the lock they name.
type entry struct {
	runID string

	lock chan struct{} // holds a token while nobody works on hist
	hist *history      // nil until it was first read

	// Guarded by Service.mu.
	users int
	bytes int64

	feed  feed
	state atomic.Int32 // of the job
}

// NewService returns a service; Close ends it.
func NewService(deps Deps, opts Options) *Service {
	if opts.Bytes <= 0 {
		opts.Bytes = DefaultBytes
	}
	if opts.Jobs <= 0 {
		opts.Jobs = DefaultJobs
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	s := &Service{deps: deps, opts: opts, log: deps.Logger, jobs: make(chan struct{}, opts.Jobs), runs: make(map[string]*entry)}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends all streams with ErrClosed and waits for the jobs.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	entries := append([]*entry(nil), s.recent...)
	s.mu.Unlock()
	s.cancel()
	for _, e := range entries {
		e.feed.end(ErrClosed)
	}
	s.wg.Wait()
}

// Forget drops a run that was removed; its streams end with store.ErrNotFound. Call it
// from the committer's goroutine, so that no later run of the same id is meant.
func (s *Service) Forget(runID string) {
	s.mu.Lock()
	e := s.runs[runID]
	if e != nil {
		s.drop(e)
	}
	s.mu.Unlock()
	if e != nil {
		e.feed.end(store.ErrNotFound)
	}
}

// drop takes e out of memory; whoever works on it may finish. Called with mu held.
func (s *Service) drop(e *entry) {
	if s.runs[e.runID] == e {
		delete(s.runs, e.runID)
	}
	for i := range s.recent {
		if s.recent[i] == e {
			s.recent = append(s.recent[:i], s.recent[i+1:]...)
			s.bytes -= e.bytes
			return
		}
	}
}

// enter returns the entry of a run and keeps it from being forgotten until leave.
func (s *Service) enter(runID string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	e := s.runs[runID]
	if e == nil {
		e = &entry{runID: runID, lock: make(chan struct{}, 1)}
		e.lock <- struct{}{}
		s.runs[runID] = e
	} else {
		for i := range s.recent {
			if s.recent[i] == e {
				s.recent = append(s.recent[:i], s.recent[i+1:]...)
				break
			}
		}
	}
	s.recent = append(s.recent, e)
	e.users++
	return e, nil
}

// leave is the opposite of enter; a run that turned out not to exist is forgotten.
func (s *Service) leave(e *entry, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.users--
	if !keep && e.users == 0 {
		s.drop(e)
	}
	for i := 0; s.bytes > s.opts.Bytes && i < len(s.recent); {
		if s.recent[i].users > 0 {
			i++
			continue
		}
		s.drop(s.recent[i])
	}
}

// work runs do with the history of e, brought up to what is committed now, in one read
// of the store. The work on one run is done one after the other.
func (s *Service) work(ctx context.Context, e *entry, do func(h *history, src *source) error) error {
	if err := ctx.Err(); err != nil { // a select would choose by chance
		return err
	}
	select {
	case <-e.lock:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { e.lock <- struct{}{} }()
	select {
	case s.jobs <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.jobs }()
	begun := false
	err := s.deps.Store.View(ctx, func(v *store.View) error {
		begun = true
		ref, err := v.RunRef(e.runID)
		if err != nil {
			return err
		}
		if e.hist == nil || e.hist.ref != ref {
			e.hist = newHistory(ref)
		}
		src := &source{v: v, runID: e.runID}
		if err := e.advance(src); err != nil {
			return err
		}
		return do(e.hist, src)
	})
	if begun && err != nil && !errors.Is(err, ErrTooLarge) && !errors.As(err, new(*FrameError)) {
		e.hist = nil // it may have stopped half way; streams begin anew
	}
	s.account(e)
	return err
}

// advance brings the history up to now and hands what is new to the streams.
func (e *entry) advance(src *source) error {
	fresh := e.feed.collect(e.hist)
	err := e.hist.advance(src, fresh.take)
	if err == nil {
		e.feed.publish(e.hist, fresh)
	}
	return err
}

func (s *Service) account(e *entry) {
	n := e.feed.size()
	if e.hist != nil {
		n += e.hist.size()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs[e.runID] == e {
		s.bytes += n - e.bytes
	}
	e.bytes = n
}
