package rpc

import (
	"context"
	"encoding/json"
	"math"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// docsSuffix ends the messages that the original ends so.
const docsSuffix = " See https://smithers.sh/reference/errors"

// maxIdempotencyKey bounds options.idempotencyKey, in bytes.
const maxIdempotencyKey = 256

func (r *Router) launchRun(ctx context.Context, c *Call, p params) (any, error) {
	workflow := p.str("workflow")
	if workflow == "" {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "workflow is required")
	}
	input, werr := launchInput(p)
	if werr != nil {
		return nil, werr
	}
	options := p.object("options")
	startedBy, werr := startedBy(options)
	if werr != nil {
		return nil, werr
	}
	runID, given := p.text("runId")
	if !given {
		runID, given = options.text("runId")
	}
	if given { // validated before the answer (Q23); only the engine makes ids of child runs
		if werr := wire.CheckRunID(runID); werr != nil || strings.Contains(runID, ":") {
			return nil, wire.CheckRunID("")
		}
	}
	config, werr := launchConfig(options)
	if werr != nil {
		return nil, werr
	}
	key := options.str("idempotencyKey")
	if len(key) > maxIdempotencyKey {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "options.idempotencyKey exceeds the maximum length of %d characters.", maxIdempotencyKey)
	}
	source := "user"
	if c.Principal.UserID == "" {
		source = "gateway"
	}
	l, err := r.deps.Engine.Launch(ctx, engine.Launch{
		Workflow: workflow, Input: input, RunID: runID, IdempotencyKey: key, Source: source,
		Config: config, StartedBy: startedBy, By: r.launcher(c.Principal), Remote: c.Remote,
	})
	if err != nil {
		return nil, err
	}
	if r.deps.Counters.Launched != nil {
		r.deps.Counters.Launched(l.Workflow, source)
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

// launcher is what a run records of who started it.
func (r *Router) launcher(p *auth.Principal) program.Auth {
	a := program.Auth{TriggeredBy: p.UserID, Role: p.Role, Scopes: p.Scopes, TokenID: p.TokenID, CreatedAt: iso(r.now())}
	if a.TriggeredBy == "" {
		a.TriggeredBy = "gateway"
	}
	return a
}

// actor is what decisions and audit rows record of the caller.
func actor(c *Call) engine.Actor {
	return engine.Actor{UserID: c.Principal.UserID, TokenID: c.Principal.TokenID, Role: c.Principal.Role,
		Scopes: c.Principal.Scopes, Remote: c.Remote}
}

func launchInput(p params) (json.RawMessage, *wire.Error) {
	if p.object("input") == nil {
		return json.RawMessage("{}"), nil
	}
	input := p.raw("input")
	return input, wire.CheckInput(input)
}

// launchConfig reads the limits of a launch. A wrong type is ignored; a number that
// cannot work is refused rather than launched into certain failure (Q23).
func launchConfig(options params) (engine.Config, *wire.Error) {
	var c engine.Config
	for _, o := range []struct {
		name string
		into *int
	}{{"maxConcurrency", &c.MaxConcurrency}, {"maxOutputBytes", &c.MaxOutputBytes}, {"toolTimeoutMs", &c.ToolTimeoutMs}} {
		f, ok := options.number(o.name)
		if !ok {
			continue
		}
		if f < 1 || f > math.MaxInt32 || f != math.Trunc(f) {
			return c, wire.Errorf(wire.CodeInvalidInput, "options.%s must be an integer greater than 0.", o.name)
		}
		*o.into = int(f)
	}
	c.AllowNetwork, _ = options.boolean("allowNetwork")
	return c, nil
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
