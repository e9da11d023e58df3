package caddymodule

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func init() {
	caddy.RegisterModule(new(plainGuest))
	caddy.RegisterModule(new(tunedGuest))
	caddy.RegisterModule(new(gatedGuest))
	caddy.RegisterModule(new(failingApp))
}

// plainGuest is a guest module without settings.
type plainGuest struct{}

func (*plainGuest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "smithers.workflows.golden_plain", New: func() caddy.Module { return new(plainGuest) }}
}

func (*plainGuest) Run(workflow.Context) (any, error) { return map[string]any{"plain": true}, nil }

// tunedGuest is a guest module with a setting, a description and a schedule.
type tunedGuest struct {
	Greeting string `json:"greeting,omitempty"`
}

func (*tunedGuest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "smithers.workflows.golden_tuned", New: func() caddy.Module { return new(tunedGuest) }}
}

func (g *tunedGuest) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	for d.NextBlock(d.Nesting()) {
		if d.Val() != "greeting" {
			return d.Errf("golden_tuned: unknown setting %q", d.Val())
		}
		if !d.AllArgs(&g.Greeting) {
			return d.ArgErr()
		}
	}
	return nil
}

func (g *tunedGuest) Run(workflow.Context) (any, error) { return g.Greeting, nil }

func (*tunedGuest) Describe() (string, string) { return "Tuned", "Greets." }

func (*tunedGuest) Schedule() string { return "0 8 * * 1-5" }

// gatedGuest waits for the signal "go" between two tasks.
type gatedGuest struct{}

func (*gatedGuest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "smithers.workflows.gated", New: func() caddy.Module { return new(gatedGuest) }}
}

func (*gatedGuest) Run(ctx workflow.Context) (any, error) {
	step := func(workflow.Task) (any, error) { return "done", nil }
	if err := ctx.Task("before", step, nil); err != nil {
		return nil, err
	}
	if err := ctx.Signal("go", nil); err != nil {
		return nil, err
	}
	return nil, ctx.Task("after", step, nil)
}

// failingApp is another app of a config, whose Start fails.
type failingApp struct{}

func (*failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "smithers_test_failing", New: func() caddy.Module { return new(failingApp) }}
}

func (*failingApp) Start() error { return errors.New("this app never starts") }
func (*failingApp) Stop() error  { return nil }
