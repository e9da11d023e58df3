package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/ballast"
	"github.com/smithersai/caddy-smithers/gateway/internal/collector"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/processors"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/worktree"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Start opens the gateway with the settings in force: the database is opened and
// migrated, the token store watched, the workflow module loaded, and the runs that
// had not ended are taken up again. It does nothing on a running gateway. Errors wrap
// what went wrong with the path concerned (a database that is owned, damaged, newer
// or not writable; a module that cannot be used) and leave nothing open, so that
// Start may be tried again. A missing module or token store is no error.
func (g *Gateway) Start(ctx context.Context) error {
	g.life.Lock()
	defer g.life.Unlock()
	switch {
	case g.closed:
		return ErrClosed
	case g.current.Load() != nil:
		return nil
	case len(g.stack) == 0:
		return ErrNoSettings
	}
	top := g.stack[len(g.stack)-1]
	collect := collector.Postpone()
	defer collect()
	run, err := g.open(ctx, top)
	if err != nil {
		return err
	}
	collect() // before the first requests, which would share the processors with it
	ballast.Started()
	g.current.Store(run)
	g.logger.Info("gateway started", zap.String("version", Version), zap.String("db", run.store.Path()),
		zap.String("module", top.settings.Module), zap.String("module_state", top.workflows.state),
		zap.Int("workflows", top.workflows.count()))
	return nil
}

// open opens everything for e, or nothing.
func (g *Gateway) open(ctx context.Context, e *entry) (_ *running, err error) {
	s := e.settings
	run := &running{g: g, logger: g.logger, metrics: g.metrics, refs: newRefs(), startedAt: time.Now(),
		throttle: auth.NewThrottle(s.MaxAuthFailures), release: processors.Spare()}
	run.ctx, run.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			e.workflows = nil
			err = errors.Join(err, run.shut(ctx))
		}
	}()
	owner := fmt.Sprintf("pid:%d:%s", os.Getpid(), run.startedAt.UTC().Format(time.RFC3339))
	run.processes = &hosts{logger: g.logger, gone: run.sourceGone}
	run.scripts = &scripts{logger: g.logger, processes: run.processes, onAbandoned: g.abandoned}
	run.scripts.warm(s)
	inspection, err := s.inspect()
	if err != nil {
		return nil, err
	}
	load := run.loader(ctx, s, inspection)
	run.dbPath = s.DBPath
	db, err := placeDatabase(ctx, s, inspection != nil || s.Runtime == RuntimeSmithers, g.logger)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	run.store, err = store.Open(ctx, store.Options{
		Path: db, Durability: s.Durability, Checkpoint: s.Checkpoint, Adopt: s.Adopt,
		Logger: g.logger.Named("store"), Owner: owner,
	})
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	run.log = eventlog.New(backend{run.store}, logOptions(s))
	run.store.Observe(g.metrics.committed)
	run.store.OnCommit(run.committed)
	run.openFrames()
	run.openChanges(s)
	run.startLabeller()
	run.trees = worktree.New(worktree.Options{})
	run.engine = engine.New(engine.Options{
		Trees: recordedTrees{run.trees, g},
		Store: run.store, Logger: g.logger.Named("engine"), MaxVMs: s.MaxVMs, Owner: owner,
		MaxEventBytes: s.MaxEventBytes, MaxEvents: s.MaxRunEvents, MaxQueued: s.MaxQueuedRuns, Load: run.oldWorkflows,
		Tracer: &g.tracer,
	})
	run.openCrons()
	run.openFederation(s)
	run.router = rpc.New(run.withRegistries(run.withUpstream(rpc.Deps{
		Engine: run.engine, Store: run.store, Frames: run.frames, Logger: g.logger.Named("rpc"), Identity: run.identity, Diffs: run.trees,
		Observe: g.metrics.called, Counters: g.metrics.counters(), Tracer: &g.tracer,
		CronsChanged: run.crons.Changed,
	})))
	run.openAPI()
	caps := rpc.NewStreamCaps()
	run.openSockets(s, caps)
	run.openStreams(s, caps)
	if err = run.openTokens(s.TokenStore); err != nil {
		return nil, err
	}
	audited := make(chan struct{})
	run.work.Go(func() { run.auditTokens(); close(audited) })
	if err = run.watchAuth(s.Auth); err != nil {
		return nil, err
	}

	if e.workflows, err = load(); err != nil { // last: what is above goes on meanwhile
		return nil, err
	}
	if err = run.keepOnly(ctx, e.workflows); err != nil {
		return nil, err
	}
	if err = run.useSource(ctx, e); err != nil {
		return nil, err
	}
	run.force(e)
	if err = run.engine.Start(ctx); err != nil {
		return nil, err
	}
	run.crons.Start()
	run.startRetention()
	run.startGrowth()
	run.startGiveBack()
	<-audited
	return run, nil
}

func logOptions(s Settings) eventlog.Options {
	return eventlog.Options{Window: s.EventWindow, RingBytes: s.RingBytes, MaxLag: s.MaxStreamLag, MaxLagBytes: s.MaxStreamLagBytes}
}

// Drain prepares the end of the process: readiness turns false, sockets are closed
// with a code that says come back, spread over the drain time, and the engine parks
// its runs at durable points. It returns when that is done, at the latest a little
// after the drain time or when ctx ends.
func (g *Gateway) Drain(ctx context.Context) {
	if run, release := g.acquire(); run != nil {
		defer release()
		run.drain(ctx, wire.ReasonShutdown)
	}
}

// Close refuses new requests, drains, waits for the requests in flight and closes
// everything. When ctx ends first, requests are cancelled and the rest is closed
// without waiting; nothing acknowledged is lost then either. Only the first call does
// something; all return its error.
func (g *Gateway) Close(ctx context.Context) error {
	g.closing.Do(func() { g.closeErr = g.close(ctx) })
	return g.closeErr
}

func (g *Gateway) close(ctx context.Context) error {
	g.life.Lock()
	defer g.life.Unlock()
	g.closed = true
	run := g.current.Swap(nil)
	if run == nil {
		return nil
	}
	run.refs.close()
	run.drain(ctx, wire.ReasonRestarted)
	if run.refs.wait(ctx) != nil {
		run.cancel()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
		defer cancel()
		if err := run.refs.wait(late); err != nil {
			g.logger.Warn("closing although requests are still in flight")
		}
	}
	err := run.shut(ctx)
	g.logger.Info("gateway closed", zap.String("db", run.store.Path()), zap.Error(err))
	return err
}

// closeGrace is what cancelled requests get to return.
const closeGrace = 2 * time.Second

// shut closes what is open, in the order of dependence. Requests have ended.
func (r *running) shut(ctx context.Context) error {
	var errs []error
	r.cancel()
	r.work.Wait()
	r.closeAuth()
	if r.crons != nil {
		r.crons.Stop()
	}
	r.api.stop()
	if r.sockets != nil {
		r.sockets.Close()
	}
	if r.engine != nil {
		if err := r.stopEngine(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop the engine: %w", err))
		}
	}
	r.closeFederation()
	if r.router != nil {
		r.router.Close()
	}
	if r.trees != nil {
		if err := r.trees.Close(); err != nil {
			errs = append(errs, fmt.Errorf("remove git's indexes: %w", err))
		}
	}
	if w := r.tokens.Swap((*auth.Watcher)(nil)); w != nil {
		if err := w.Close(); err != nil {
			errs = append(errs, fmt.Errorf("stop watching the token store: %w", err))
		}
	}
	if r.scripts != nil {
		r.scripts.close()
	}
	if r.processes != nil {
		r.processes.close()
	}
	if r.frames != nil {
		r.frames.Close()
	}
	if r.store != nil {
		if err := r.store.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close the database: %w", err))
		}
	}
	if r.log != nil {
		r.log.Close()
	}
	r.labels.stop()
	r.release()
	return errors.Join(errs...)
}
