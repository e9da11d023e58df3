package gateway

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/internal/wsconn"
)

// upstreamWait is how long a start or a reload waits for an upstream, to learn of its
// workflows. One that is not there by then is waited for in the background.
const upstreamWait = 3 * time.Second

// openFederation makes what runs of other gateways go through. Without a source it
// costs nothing.
func (r *running) openFederation(s Settings) {
	r.federation = upstream.New(upstream.Options{
		Store: r.store, Logger: r.logger.Named("upstream"), MaxEventBytes: s.MaxEventBytes, Own: r.ownWorkflow,
	})
}

// ownWorkflow tells whether this gateway executes a workflow itself, and where it comes
// from.
func (r *running) ownWorkflow(key string) (from string, ok bool) {
	d, ok := r.engine.Workflow(key)
	if !ok {
		return "", false
	}
	return originOf(d, r.workflows.Load().path), true
}

func originOf(d engine.Definition, path string) string {
	if d.Version == "" {
		return "the binary (compiled in)"
	}
	return "the module " + path
}

// useSource makes the workflows of an entry's Smithers process, or of its upstream,
// those of the gateway, beside the entry's own. A key that both have is an error that
// names both, and changes nothing.
func (r *running) useSource(ctx context.Context, e *entry) error {
	own := func(key string) (string, bool) {
		for _, d := range e.workflows.definitions {
			if d.Key == key {
				return originOf(d, e.workflows.path), true
			}
		}
		return "", false
	}
	target := upstream.Target{URL: e.settings.Upstream, Token: e.settings.UpstreamToken}
	if p := e.workflows.process; p != nil {
		if target.URL != "" {
			return fmt.Errorf("upstream %s: the module %s needs a Smithers process of its own; name one of them", target.URL, e.settings.Module)
		}
		if err := r.federation.Use(ctx, p, own); err != nil {
			return err
		}
		r.dropUpstream()
		return nil
	}
	if target == r.target {
		if r.remote == nil {
			return r.federation.Use(ctx, nil, own) // the process before retires with its runs
		}
		return r.federation.Use(ctx, r.remote, own)
	}
	if target.URL == "" {
		r.dropUpstream()
		return nil
	}
	remote, err := upstream.Dial(target)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, upstreamWait)
	if !awaitReady(wait, remote) {
		r.logger.Warn("the upstream does not answer yet; its workflows are offered when it does",
			zap.String("upstream", target.URL), zap.Error(remote.Status().Err))
	}
	cancel()
	if err := r.federation.Use(ctx, remote, own); err != nil {
		remote.Close()
		return err
	}
	r.dropUpstream()
	r.remote, r.target = remote, target
	return nil
}

// sourceGone is told of a process that has ended for good.
func (r *running) sourceGone(s source.Source) { r.federation.Retired(s) }

// dropUpstream ends the use of the upstream elsewhere.
func (r *running) dropUpstream() {
	if r.remote != nil {
		r.federation.Retired(r.remote)
		r.remote.Close()
		r.remote, r.target = nil, upstream.Target{}
	}
}

func awaitReady(ctx context.Context, s source.Source) bool {
	updates, stop := s.Watch()
	defer stop()
	for {
		select {
		case u := <-updates:
			if u.State == source.Ready {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// closeFederation ends all reading from upstreams.
func (r *running) closeFederation() {
	if r.federation == nil {
		return
	}
	r.dropUpstream()
	r.federation.Close()
}

// withUpstream tells the methods of the upstream.
func (r *running) withUpstream(d rpc.Deps) rpc.Deps {
	d.Upstream = r.federation
	return d
}

// watchFrames attaches a stream of the frames of a run, whoever executes that.
func (r *running) watchFrames(ctx context.Context, runID string, after *int64, wake func()) (wsconn.FrameCursor, error) {
	if !r.federation.Active() {
		return wsconn.OwnFrames(r.frames)(ctx, runID, after, wake)
	}
	owned, err := r.federation.Owns(ctx, runID)
	if err == nil && !owned {
		return wsconn.OwnFrames(r.frames)(ctx, runID, after, wake)
	}
	if err == nil {
		err = r.federation.Seen(ctx, runID)
	}
	if err != nil {
		return nil, err
	}
	return r.federation.WatchFrames(ctx, runID, after, wake)
}
