package rpc

import (
	"context"
	"encoding/json"
	"math"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// docsSuffix ends the messages that the original ends so.
const docsSuffix = " See https://smithers.sh/reference/errors"

func (r *Router) launchRun(ctx context.Context, c *Call, p params) (any, error) {
	workflow := p.str("workflow")
	if workflow == "" {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "workflow is required")
	}
	options := p.object("options")
	startedBy, werr := startedBy(options)
	if werr != nil {
		return nil, werr
	}
	runID := p.str("runId")
	if runID == "" {
		runID = options.str("runId")
	}
	if up := r.deps.Upstream; up != nil && up.Active() {
		there, err := up.Has(ctx, workflow)
		if err != nil {
			return nil, err
		}
		if there {
			input, err := engine.CheckLaunch(p.raw("input"), runID, options.str("idempotencyKey"))
			if err != nil {
				return nil, err
			}
			return r.launchUpstream(ctx, c, upstream.Launch{Workflow: workflow, Input: input, RunID: runID,
				IdempotencyKey: options.str("idempotencyKey"), Options: p.raw("options"), StartedBy: startedBy})
		}
	}
	return r.launch(ctx, c, engine.Launch{
		Workflow: workflow, Input: p.raw("input"), RunID: runID, IdempotencyKey: options.str("idempotencyKey"),
		Config: launchConfig(options), StartedBy: startedBy, By: launcher(c.Principal), Remote: c.Remote,
	})
}

// launch stores a run that the caller asked for and widens its socket's filter.
func (r *Router) launch(ctx context.Context, c *Call, launch engine.Launch) (any, error) {
	launch.Source = "user"
	if c.Principal.UserID == "" {
		launch.Source = "gateway"
	}
	l, err := r.deps.Engine.Launch(ctx, launch)
	if err != nil {
		return nil, err
	}
	if r.deps.Counters.Launched != nil && !l.Existing {
		r.deps.Counters.Launched(l.Workflow, launch.Source)
	}
	c.widen(l.RunID)
	return wire.Launched{RunID: l.RunID, Workflow: l.Workflow, System: l.System}, nil
}

// widen adds a run that the call started or resumed to the socket's filter.
func (c *Call) widen(runID string) {
	if c.Conn != nil {
		c.Conn.Subscribe(runID)
	}
}

// launcher is what a run records of who started it; without a user id the engine
// puts the gateway there.
func launcher(p *auth.Principal) program.Auth {
	return program.Auth{TriggeredBy: p.UserID, Role: p.Role, Scopes: p.Scopes, TokenID: p.TokenID}
}

// actor is what decisions and audit rows record of the caller.
func actor(c *Call) engine.Actor {
	return engine.Actor{UserID: c.Principal.UserID, TokenID: c.Principal.TokenID, Role: c.Principal.Role,
		Scopes: c.Principal.Scopes, Remote: c.Remote}
}

// launchConfig reads the limits of a launch. A wrong type is ignored; a fraction is
// handed on as the impossible 0, which the engine refuses as it does negatives.
func launchConfig(options params) engine.LaunchConfig {
	number := func(name string) *int64 {
		f, ok := options.number(name)
		if !ok {
			return nil
		}
		var n int64
		if f == math.Trunc(f) {
			n = int64(max(min(f, math.MaxInt32), -1))
		}
		return &n
	}
	c := engine.LaunchConfig{MaxConcurrency: number("maxConcurrency"), MaxOutputBytes: number("maxOutputBytes"),
		ToolTimeoutMs: number("toolTimeoutMs")}
	c.AllowNetwork, _ = options.boolean("allowNetwork")
	return c
}

// startedBy checks options.startedBy and returns what is stored of it: nil when it
// is absent or empty.
func startedBy(options params) (json.RawMessage, *wire.Error) {
	raw, ok := options["startedBy"]
	if !ok {
		return nil, nil
	}
	refuse := func(format string, args ...any) (json.RawMessage, *wire.Error) {
		return nil, wire.Errorf(wire.CodeInvalidRequest, format+docsSuffix, args...)
	}
	fields := options.object("startedBy")
	if fields == nil {
		return refuse("options.startedBy must be an object")
	}
	stored := map[string]any{}
	for _, name := range memberOrder(raw) {
		switch name {
		case "harness", "sessionId", "prompt":
			text, ok := fields.text(name)
			if !ok {
				return refuse("options.startedBy.%s must be a string", name)
			}
			if name == "prompt" {
				text = wire.TruncatePoints(text, wire.MaxPromptPoints)
			}
			stored[name] = text
		case "detected":
			if v, ok := fields.boolean(name); !ok || !v {
				return refuse("options.startedBy.detected must be true when present")
			}
			stored[name] = true
		default:
			return refuse("options.startedBy.%s is not allowed", name)
		}
	}
	if len(stored) == 0 {
		return nil, nil
	}
	b, err := encode(stored)
	if err != nil {
		return refuse("options.startedBy must be an object")
	}
	return b, nil
}
