package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/cron"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/jsmod"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/sse"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/internal/worktree"
	"github.com/smithersai/caddy-smithers/gateway/internal/wsconn"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// running is everything that is open while the gateway runs. The parts never change;
// what they do changes with the settings.
type running struct {
	g         *Gateway
	logger    *zap.Logger
	metrics   *metrics
	startedAt time.Time
	release   func() // of the spare processor

	store     *store.Store
	log       *eventlog.Log
	dbPath    string // of the settings; the store's when no other program owns that
	frames    *frames.Service
	scripts   *scripts
	processes *hosts
	trees     *worktree.Git
	engine    *engine.Engine
	router    *rpc.Router
	api       api
	sockets   *wsconn.Registry
	streams   *sse.Hub
	crons     *cron.Scheduler
	mode      atomic.Pointer[authMode]
	throttle  *auth.Throttle
	tokens    atomic.Pointer[auth.Watcher]
	tokenPath string // guarded by Gateway.life

	tokenAudit sync.Mutex
	tokenLast  map[string]string // last action audited of each token; nil: not read yet

	workflows atomic.Pointer[workflows]
	labels    labeller
	growth    growth

	federation *upstream.Federation
	remote     *upstream.Remote // guarded by Gateway.life, as is target
	target     upstream.Target

	refs     *refs
	ctx      context.Context // ends when the gateway closes: cancels requests and reloads
	cancel   context.CancelFunc
	work     sync.WaitGroup // goroutines that end with ctx
	draining atomic.Bool
	drained  sync.Once
	stopping sync.Once
	stopErr  error
}

// Current makes a running gateway the auth.GrantSource of its sites, whichever file
// is watched at the moment.
func (r *running) Current() *auth.Grants {
	if w := r.tokens.Load(); w != nil {
		return w.Current()
	}
	return nil
}

func (r *running) authenticate(req *http.Request, site Site, transport string) (*auth.Principal, *wire.Error) {
	return meteredAuth{r.authenticator(site, req), r.metrics, transport}.Authenticate(req, "")
}

// watchTokens watches the token store at path instead of the one before, and records what
// is new there. A no-op if that is the one.
func (r *running) watchTokens(path string) error {
	if r.tokens.Load() != nil && r.tokenPath == path {
		return nil
	}
	if err := r.openTokens(path); err != nil {
		return err
	}
	r.auditTokens()
	return nil
}

// openTokens is watchTokens but for recording.
func (r *running) openTokens(path string) error {
	w, err := auth.OpenWatcher(path, r.logger.Named("auth"), func() {
		r.recheck() // first: the audit may have to wait
		r.auditTokens()
	})
	if err != nil {
		return err
	}
	old := r.tokens.Swap(w)
	r.tokenPath = path
	if old != nil {
		if err := old.Close(); err != nil {
			r.logger.Warn("closing the watch of the former token store", zap.Error(err))
		}
		r.recheck()
	}
	return nil
}

// recheck cuts the sockets and streams whose grant has gone.
func (r *running) recheck() {
	if r.streams != nil {
		r.streams.Recheck()
	}
	if r.sockets != nil {
		r.sockets.Recheck()
	}
	r.api.recheck()
}

// force puts an entry in force whose parts are prepared.
func (r *running) force(e *entry) {
	r.workflows.Store(e.workflows)
	r.engine.SetWorkflows(e.workflows.definitions)
	r.crons.Sync(e.workflows.definitions)
	r.log.Configure(logOptions(e.settings))
	r.throttle.Configure(e.settings.MaxAuthFailures)
	r.configureSockets(e.settings)
	r.streams.Configure(streamOptions(e.settings))
	r.api.force(e.settings)
	r.recheck()
}

// committed is told of every transaction's pushed events, on the committer's
// goroutine.
func (r *running) committed(events []*store.Event) {
	r.log.Publish(events)
	r.metrics.events.Add(float64(len(events)))
	for _, e := range events {
		if e.Name == wire.EventRunCompleted {
			r.labels.add(e)
		}
	}
}

// openFrames begins to derive frames. The router, which knows the states of runs, is
// there before anybody asks.
func (r *running) openFrames() {
	r.frames = frames.NewService(frames.Deps{
		Store: r.store, Logger: r.logger.Named("frames"),
		RunState: func(v *store.View, run *store.Run) (*wire.RunState, error) { return r.router.RunState(v, run) },
	}, frames.Options{})
	r.store.OnLog(r.frames.Committed)
}

// oldWorkflows loads a bundle that a run still names.
func (r *running) oldWorkflows(ctx context.Context, version string) ([]engine.Definition, error) {
	var b *store.Bundle
	err := r.store.View(ctx, func(v *store.View) (err error) {
		b, err = v.Bundle(version)
		return err
	})
	if err != nil {
		return nil, err
	}
	host, err := r.scripts.host(*r.g.settings.Load())
	if err != nil {
		return nil, err
	}
	m, err := host.Load(ctx, jsmod.Bundle{Hash: b.Hash, Path: b.Path, Source: b.Source, SourceMap: b.SourceMap})
	if err != nil {
		return nil, err
	}
	return definitionsOf(m), nil
}

var pid = os.Getpid() // a system call, and each health tells it

func (r *running) identity() wire.Identity {
	backend, version := "sqlite", Version
	id := wire.Identity{Backend: &backend, Version: &version, PID: pid, StartedAtMs: r.startedAt.UnixMilli()}
	if s := r.g.settings.Load(); s != nil {
		if root := s.workspaceRoot(); root != "" {
			id.WorkspaceRoot = &root
		}
	}
	return id
}

// audit writes an entry of the gateway itself. Failing to is logged: what it tells of
// has happened.
func (r *running) audit(ctx context.Context, action string, detail map[string]any) {
	text, err := json.Marshal(detail)
	if err == nil {
		err = r.store.Update(ctx, func(tx *store.Tx) error {
			return tx.InsertAudit(&store.AuditEntry{AtMs: nowMs(), Action: action, Actor: "gateway", Detail: text})
		})
	}
	if err != nil {
		r.logger.Error("writing the audit entry", zap.String("action", action), zap.Error(err))
	}
}

// vms adds up the script hosts.
func (r *running) vms() (sum jsmod.Stats) {
	for _, h := range r.scripts.all() {
		s := h.Stats()
		sum.VMs += s.VMs
		sum.Abandoned += s.Abandoned
		sum.MemoryBytes += s.MemoryBytes
		sum.MemoryTotal += s.MemoryTotal
	}
	return sum
}

// drain closes the sockets over the drain time and parks the engine.
func (r *running) drain(ctx context.Context, reason string) {
	r.drained.Do(func() {
		r.draining.Store(true)
		r.crons.Stop()
		r.api.stop()
		r.streams.Stop() // event streams would hold up the web server's exit
		paced, cancel := context.WithTimeout(ctx, r.drainTime(r.g.DrainTime()))
		r.sockets.Drain(paced, wire.CloseRestart, reason)
		cancel()
		if err := r.stopEngine(ctx); err != nil {
			r.logger.Error("parking the runs", zap.Error(err))
		}
	})
}

// stopEngine parks all runs, once. It gives up after a while: what was acknowledged
// is stored anyway.
func (r *running) stopEngine(ctx context.Context) error {
	r.stopping.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), parkLimit)
		defer cancel()
		r.stopErr = r.engine.Stop(ctx)
	})
	return r.stopErr
}

// parkLimit is how long running task attempts get to notice the end.
const parkLimit = 10 * time.Second
