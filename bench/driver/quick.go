package driver

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func init() { caddy.RegisterModule(new(Quick)) }

// Quick is one task that does nothing: it fills a database with finished runs.
type Quick struct{}

// CaddyModule names the workflow.
func (*Quick) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "smithers.workflows.quick", New: func() caddy.Module { return new(Quick) }}
}

// UnmarshalCaddyfile takes no settings.
func (*Quick) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

// Run runs the task.
func (*Quick) Run(ctx workflow.Context) (any, error) {
	var done map[string]bool
	err := ctx.Task("only", func(workflow.Task) (any, error) { return map[string]bool{"ok": true}, nil }, &done)
	return done, err
}

// bare accepts the name of a workflow and nothing behind it.
func bare(d *caddyfile.Dispenser) error {
	d.Next()
	name := d.Val()
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.Errf("workflow %s takes no settings", name)
	}
	return nil
}

// Interface guards.
var (
	_ workflow.Workflow     = (*Quick)(nil)
	_ caddyfile.Unmarshaler = (*Quick)(nil)
)
