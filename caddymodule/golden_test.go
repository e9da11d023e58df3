package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func init() {
	caddy.RegisterModule(new(plainGuest))
	caddy.RegisterModule(new(tunedGuest))
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
