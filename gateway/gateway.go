package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
)

// Errors of the lifecycle.
var (
	// ErrClosed: the gateway was closed; make a new one.
	ErrClosed = errors.New("the gateway is closed")
	// ErrNoSettings: Start was called before Apply.
	ErrNoSettings = errors.New("the gateway has no settings")
	// ErrNotRunning: the gateway is not started, or is closing.
	ErrNotRunning = errors.New("the gateway is not running")
)

// Gateway is one database with its runs, sockets and workflows. Make one with New,
// say how with Apply, open it with Start, close it once with Close. In between, Apply
// and Withdraw change the settings of the running gateway: nothing that runs or
// streams is interrupted by them.
//
// All methods are safe for concurrent use.
type Gateway struct {
	logger  *zap.Logger
	metrics *metrics
	tracer  tracing.Tracer
	doomed  chan struct{}
	doom    sync.Once

	// life is held while the gateway opens, closes or changes its settings.
	life   sync.Mutex
	stack  []*entry // of Apply; the last one is in force
	closed bool

	current   atomic.Pointer[running]  // nil: not running
	settings  atomic.Pointer[Settings] // in force; nil before the first Apply
	reloadErr atomic.Pointer[error]    // of the last Apply while running
	live      liveness
	closing   sync.Once
	closeErr  error
}

// entry is what one owner applied.
type entry struct {
	owner     any
	settings  Settings
	workflows *workflows // nil until the gateway runs
}

// New makes a gateway. It opens nothing.
func New(logger *zap.Logger) *Gateway {
	if logger == nil {
		logger = zap.NewNop()
	}
	g := &Gateway{logger: logger, doomed: make(chan struct{})}
	g.metrics = newMetrics(g)
	return g
}

// Doomed is closed when the gateway cannot recover by itself and its process should
// be restarted: too many workflow VMs could not be stopped. The gateway has begun to
// drain by then.
func (g *Gateway) Doomed() <-chan struct{} { return g.doomed }

// Apply puts the settings of owner on top of the stack, replacing what the owner
// applied before. While the gateway runs they take effect at once: limits change,
// the token store is watched where it is now, and the workflow module is read again.
// A module or token store that cannot be used is an error and leaves everything as it
// was. Settings that only a new start can change are kept for it and logged.
func (g *Gateway) Apply(owner any, s Settings) error {
	if err := s.Validate(); err != nil {
		return err
	}
	g.life.Lock()
	defer g.life.Unlock()
	if g.closed {
		return ErrClosed
	}
	e := &entry{owner: owner, settings: s}
	if run := g.current.Load(); run != nil {
		defer g.keepProcesses(run)
		if err := g.reload(run, e); err != nil {
			return err
		}
	}
	g.stack = slices.DeleteFunc(g.stack, func(old *entry) bool { return old.owner == owner })
	g.stack = append(g.stack, e)
	g.settings.Store(&e.settings)
	return nil
}

// Withdraw takes back what owner applied. If it was in force, the settings before it
// are in force again, with the workflows that were loaded for them. The settings of
// the last owner stay in force: a gateway without owners is about to be closed.
func (g *Gateway) Withdraw(owner any) {
	g.life.Lock()
	defer g.life.Unlock()
	i := slices.IndexFunc(g.stack, func(e *entry) bool { return e.owner == owner })
	if i < 0 || g.closed {
		return
	}
	if run := g.current.Load(); run != nil {
		defer g.keepProcesses(run)
	}
	wasTop := i == len(g.stack)-1
	g.stack = slices.Delete(g.stack, i, i+1)
	if !wasTop || len(g.stack) == 0 {
		return
	}
	top := g.stack[len(g.stack)-1]
	if run := g.current.Load(); run != nil {
		if err := g.fallBack(run, top); err != nil {
			g.logger.Error("the former settings are in force again, but not all of them", zap.Error(err))
		}
	}
	g.settings.Store(&top.settings)
}

// reload prepares e completely and then puts it in force on a running gateway.
func (g *Gateway) reload(run *running, e *entry) (err error) {
	before := *g.settings.Load()
	former := run.workflows.Load()
	defer func() {
		g.metrics.reloaded(err)
		if err != nil {
			g.reloadErr.Store(&err)
		} else {
			g.reloadErr.Store(nil)
		}
	}()
	ctx, cancel := context.WithTimeout(run.ctx, e.settings.reloadLimit())
	defer cancel()
	if err = run.mayRun(e.settings); err == nil {
		e.workflows, err = run.scripts.load(ctx, e.settings, former, run.store)
	}
	if err != nil {
		run.audit(ctx, "reload.failed", map[string]any{"error": err.Error()})
		return fmt.Errorf("%w (the workflows loaded before stay in force)", err)
	}
	if err = run.watchTokens(e.settings.TokenStore); err != nil {
		return err
	}
	if err = run.watchAuth(e.settings.Auth); err != nil {
		return err
	}
	if err = run.useSource(ctx, e); err != nil {
		return err
	}
	run.force(e)
	changed := before.Differs(e.settings)
	if later := intersect(changed, fixedAtStart); len(later) > 0 {
		g.logger.Warn("these settings take effect at the next start", zap.Strings("settings", later))
	}
	if len(changed) > 0 || former == nil || former.hash != e.workflows.hash {
		run.audit(ctx, "reload", map[string]any{"changed": changed, "module": e.workflows.hash})
		g.logger.Info("settings changed", zap.Strings("changed", changed), zap.String("module_hash", e.workflows.hash))
	}
	return nil
}

// fallBack puts an older entry in force again.
func (g *Gateway) fallBack(run *running, e *entry) error {
	err := errors.Join(run.watchTokens(e.settings.TokenStore), run.watchAuth(e.settings.Auth))
	if e.workflows == nil { // applied before the start, never in force
		ctx, cancel := context.WithTimeout(run.ctx, e.settings.reloadLimit())
		defer cancel()
		var lerr error
		if e.workflows, lerr = run.scripts.load(ctx, e.settings, run.workflows.Load(), run.store); lerr != nil {
			e.workflows = run.workflows.Load()
			err = errors.Join(err, lerr)
		}
	} else {
		err = errors.Join(err, e.workflows.keep(run.ctx, run.store))
	}
	err = errors.Join(err, run.useSource(run.ctx, e))
	run.force(e)
	g.reloadErr.Store(nil)
	return err
}

// keepProcesses retires the Smithers processes that no settings on the stack use.
func (g *Gateway) keepProcesses(run *running) {
	var used []*process
	for _, e := range g.stack {
		if e.workflows != nil && e.workflows.process != nil {
			used = append(used, e.workflows.process)
		}
	}
	run.processes.keep(used)
}

// Bounds of a reload, beside runtime_start_limit.
const (
	leastReload = 2 * time.Minute
	reloadRest  = 30 * time.Second // for what is not the start of a process
)

// reloadLimit bounds how long a reload may take to build and register a module, or to
// start a process for it, whose own limit is reached first and names itself.
func (s *Settings) reloadLimit() time.Duration {
	return max(leastReload, s.RuntimeStartLimit+reloadRest)
}

func intersect(names, of []string) (both []string) {
	for _, n := range names {
		if slices.Contains(of, n) {
			both = append(both, n)
		}
	}
	return both
}

// acquire returns the running gateway, which stays open until release is called, or
// nil when there is none.
func (g *Gateway) acquire() (run *running, release func()) {
	run = g.current.Load()
	if run == nil || !run.refs.acquire() {
		return nil, nil
	}
	return run, run.refs.release
}

func (g *Gateway) requestTimeout() time.Duration {
	if s := g.settings.Load(); s != nil {
		return s.RequestTimeout
	}
	return DefaultRequestTimeout
}

// DrainTime is over how much time Drain and Close spread the ends of the sockets, by
// the settings in force.
func (g *Gateway) DrainTime() time.Duration {
	if s := g.settings.Load(); s != nil {
		return s.DrainTime
	}
	return DefaultDrainTime
}

func (g *Gateway) maxBody() int64 {
	if s := g.settings.Load(); s != nil {
		return s.MaxBody
	}
	return DefaultMaxBody
}

// String names the gateway in messages, by the path of its database.
func (g *Gateway) String() string {
	if s := g.settings.Load(); s != nil {
		return strings.TrimSpace("gateway of " + s.DBPath)
	}
	return "gateway"
}

// abandoned is told of every workflow machine that could not be stopped.
func (g *Gateway) abandoned(count int, limit bool) {
	g.logger.Error("a workflow machine could not be stopped and keeps using the processor",
		zap.Int("abandoned", count), zap.Bool("limit_reached", limit))
	if limit {
		g.doom.Do(func() {
			close(g.doomed)
			go g.Drain(context.Background())
		})
	}
}

func nowMs() int64 { return time.Now().UnixMilli() }
