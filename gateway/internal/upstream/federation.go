package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Options are what a Federation works with.
type Options struct {
	Store  *store.Store
	Logger *zap.Logger
	// MaxEventBytes bounds the payload of an event; 0: wire.MaxEventPayloadBytes.
	MaxEventBytes int
	// MaxPageBytes bounds what is read of a log at once, unless that is a single event;
	// 0: 8 MiB.
	MaxPageBytes int
	// MaxReadBytes bounds what is read whole of two events; of longer ones a part of each
	// long text is. 0: 64 MiB.
	MaxReadBytes int
	// MaxFrameBytes bounds what a stream of the frames of one run holds; 0: 16 MiB.
	MaxFrameBytes int
	// Own reports whether this gateway has a workflow of that key itself, and where it
	// comes from, for messages. May be nil.
	Own func(key string) (from string, ok bool)
	// Sweep is how often runs are looked for that the socket did not tell of; 0: 2 s.
	Sweep time.Duration
}

// Standard values of Options.
const (
	defaultSweep = 2 * time.Second
	defaultPage  = 8 << 20
	defaultFrame = 16 << 20
	workers      = 8 // that read logs at once
)

// Federation makes the runs of a source runs of this gateway. Safe for concurrent use.
type Federation struct {
	opts   Options
	store  *store.Store
	logger *zap.Logger
	since  int64 // epoch ms: what happened before is history

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	current *attached            // nil: none yet
	former  []*attached          // retiring
	keys    map[string]*workflow // of the current one, by key
	inited  bool                 // keys are known
	asked   time.Time            // for a key that nobody had
	trees   map[*tree]struct{}   // streams of frames
	shared  map[string]*tree     // those that begin with the newest frame, by run

	treeBytes atomic.Int64 // that all of them hold

	forwarded chan struct{} // a token for each call that waits for a source

	counting  counting
	queue     queue
	handed    handed
	unended   sync.Map     // run id → time.Time: since when it has ended there, but not in its log
	oversized sync.Map     // run id → struct{}: has an event that is too large to be read
	hidden    sync.Map     // run id → struct{}: has the id of a run of ours
	refused   sync.Map     // run id → time.Time: launches refused for a reason that may pass
	pending   sync.Map     // run id → struct{}: launches under way
	stranded  sync.Map     // run id → struct{}: launches that another source took
	authors   sync.Map     // run id → source.Caller: see Expect
	merged    atomic.Int64 // events, for health
	complete  atomic.Bool  // the last look at the runs of the source came to its end
	left      atomic.Bool  // there may be runs of an upstream
}

// attached is a source in use.
type attached struct {
	*peer
	stop context.CancelFunc
	done chan struct{}
	fed  atomic.Bool // what happens in it is handed over by itself
}

// New makes a federation without a source.
func New(o Options) *Federation {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.MaxEventBytes <= 0 {
		o.MaxEventBytes = wire.MaxEventPayloadBytes
	}
	if o.MaxPageBytes <= 0 {
		o.MaxPageBytes = defaultPage
	}
	if o.MaxReadBytes <= 0 {
		o.MaxReadBytes = maxAnswer
	}
	if o.MaxFrameBytes <= 0 {
		o.MaxFrameBytes = defaultFrame
	}
	if o.Sweep <= 0 {
		o.Sweep = defaultSweep
	}
	f := &Federation{opts: o, store: o.Store, logger: o.Logger, since: time.Now().UnixMilli(), keys: map[string]*workflow{},
		forwarded: make(chan struct{}, maxForwarded)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.queue.init()
	err := f.store.View(f.ctx, func(v *store.View) error {
		any, err := v.HasUpstreamRuns()
		f.left.Store(any)
		return err
	})
	if err != nil {
		f.left.Store(true) // to be on the safe side: asking costs little
	}
	for range workers {
		f.work.Go(f.reader)
	}
	return f
}

// Use makes s the source of launches and reads; nil: none is. The one before goes on
// executing its runs until it is Retired, and one that was used before may be used
// again. When s is ready, its workflows are read at once: a key that own has too is an
// error that names both, and s is not used. own may be nil.
func (f *Federation) Use(ctx context.Context, s source.Source, own func(key string) (from string, ok bool)) error {
	if s == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.retire()
		f.forgetWorkflows()
		return nil
	}
	p := newPeer(s, &f.opts)
	var keys map[string]*workflow
	if s.Status().State == source.Ready {
		var err error
		if keys, err = f.readWorkflows(ctx, p); err == nil {
			err = clash(s, keys, own)
		}
		if err != nil && !isDown(err) {
			p.close()
			if notLetIn(err) != nil {
				return fmt.Errorf("upstream %s: %s: %w", s.ID(), p.remedy(), err)
			}
			return err
		}
		if err != nil && notLetIn(err) == nil {
			f.logger.Warn("the workflows of Smithers cannot be read yet; they are offered when they can", zap.String("source", s.ID()), zap.Error(err))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		p.close()
		return errors.New("the federation is closed")
	}
	same := f.current != nil && f.current.source == s
	switch {
	case keys != nil:
		f.keys, f.inited = keys, true
	case !same:
		f.forgetWorkflows() // they were of another source
	}
	if same {
		p.close()
		return nil
	}
	f.retire()
	if i := slices.IndexFunc(f.former, func(a *attached) bool { return a.source == s }); i >= 0 {
		p.close()
		f.current = f.former[i]
		f.former = slices.Delete(f.former, i, i+1)
		return nil
	}
	// Not the caller's context: the source is used for longer than the call.
	life, stop := context.WithCancel(f.ctx)
	a := &attached{peer: p, stop: stop, done: make(chan struct{})}
	f.current = a
	f.complete.Store(false)
	f.left.Store(true) // from now on it may leave runs behind
	f.work.Go(func() {
		defer close(a.done)
		defer p.close()
		f.follow(life, a)
	})
	return nil
}

// retire makes the current source a former one. mu is held.
func (f *Federation) retire() {
	if f.current != nil {
		f.former = append(f.former, f.current)
		f.current = nil
	}
}

// forgetWorkflows until a source tells which it has. mu is held.
func (f *Federation) forgetWorkflows() { f.keys, f.inited = map[string]*workflow{}, false }

// Retired drops a source that is about to stop, or has. Its workflows go with it, its
// runs stay.
func (f *Federation) Retired(s source.Source) {
	f.mu.Lock()
	var gone *attached
	if f.current != nil && f.current.source == s {
		gone, f.current = f.current, nil
		f.forgetWorkflows()
	}
	f.former = slices.DeleteFunc(f.former, func(a *attached) bool {
		if a.source != s {
			return false
		}
		gone = a
		return true
	})
	f.mu.Unlock()
	if gone != nil {
		gone.stop()
		<-gone.done
	}
}

// Close ends all reading. What is merged is stored; the rest is read by the next
// Federation on the same store.
func (f *Federation) Close() {
	f.mu.Lock()
	f.cancel()
	f.mu.Unlock()
	f.queue.close()
	f.work.Wait()
}

// peerNow is the source for reads: the current one, else the newest of the former,
// which has the same database. An error while there is none.
func (f *Federation) peerNow() (*peer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.reading(); a != nil {
		return a.peer, nil
	}
	return nil, &down{answer: wire.Errorf(wire.CodeUnavailable, "Smithers executes this, and this gateway has none now: "+
		"neither a module that needs Smithers nor an upstream is configured.").With("retryable", false), cause: source.ErrDown, unsent: true}
}

// reading is the source that peerNow means; nil: none. mu is held.
func (f *Federation) reading() *attached {
	if f.current == nil && len(f.former) > 0 {
		return f.former[len(f.former)-1]
	}
	return f.current
}

// executing is the source whose process executes a run with this owner; the current
// one when it cannot be told.
func (f *Federation) executing(owner string) (*peer, error) {
	f.mu.Lock()
	for _, a := range f.former {
		if pid := a.source.Status().PID; pid > 0 && ownedBy(owner, pid) {
			f.mu.Unlock()
			return a.peer, nil
		}
	}
	f.mu.Unlock()
	return f.peerNow()
}

func (f *Federation) retiring() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.former) > 0
}

func ownedBy(owner string, pid int) bool {
	prefix := fmt.Sprintf("pid:%d:", pid)
	return len(owner) > len(prefix) && owner[:len(prefix)] == prefix
}

func runField(id string) zap.Field { return zap.String("run", id) }

// Active reports whether anything is to be asked of a federation: there is a source, or
// there was one that has left runs behind.
func (f *Federation) Active() bool { return f.left.Load() }

// Attached reports whether there is a source, ready or not.
func (f *Federation) Attached() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reading() != nil
}

// Source is what is used now; nil: nothing.
func (f *Federation) Source() source.Source {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == nil {
		return nil
	}
	return f.current.source
}

// OneIdentity reports whether the source takes all callers for one.
func (f *Federation) OneIdentity() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current != nil && f.current.source.Identity().Bearer != ""
}

// Touch tells the change stream of collections that were changed upstream.
func (f *Federation) Touch(c store.Collections) {
	f.store.Submit(func(tx *store.Tx) error {
		tx.Touch(c)
		return nil
	}, func(error) {})
}
