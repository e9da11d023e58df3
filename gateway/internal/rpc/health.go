package rpc

import (
	"context"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Health describes the gateway as of now. It reads memory only.
func (r *Router) Health() wire.Health {
	n := len(r.deps.Engine.Workflows())
	h := wire.Health{Protocol: wire.Protocol, Features: wire.Features(), StateVersion: r.deps.Store.StateVersion(),
		WorkflowsLoaded: n, WorkflowsTotal: n}
	if r.deps.Identity != nil {
		h.Identity = r.deps.Identity()
		h.UptimeMs = r.now().UnixMilli() - h.Identity.StartedAtMs
	}
	return h
}

func (r *Router) health(context.Context, *Call, params) (any, error) { return r.Health(), nil }
