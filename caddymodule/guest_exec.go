package caddymodule

import (
	"errors"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
	"github.com/smithersai/caddy-smithers/gateway/workflow/exec"
)

func init() {
	caddy.RegisterModule(new(ExecWorkflow))
}

// ExecWorkflow is the workflow exec: it runs one of the allowed programs with the
// arguments of its input, and pushes the output as task.output events. Whoever may
// launch runs may run these programs with any arguments, as the user of the gateway.
type ExecWorkflow struct {
	// Programs that may run, by name or absolute path.
	Allow []string `json:"allow,omitempty"`
	// Folder they run in. Default: that of the process.
	Dir string `json:"dir,omitempty"`
	// Their environment, as NAME=value, besides PATH.
	Env []string `json:"env,omitempty"`
	// Longest time of an attempt. Default: 10m.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Bytes of output of an attempt that become events. Default: 16MiB.
	MaxStream Bytes `json:"max_stream,omitempty"`

	exec.Workflow `json:"-"`
}

// CaddyModule names the workflow.
func (*ExecWorkflow) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: guestNamespace + ".exec", New: func() caddy.Module { return new(ExecWorkflow) }}
}

// Provision resolves placeholders.
func (w *ExecWorkflow) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	var err error
	if w.Workflow.Allow, err = expandAll(repl, "workflow exec: allow", w.Allow); err != nil {
		return err
	}
	if w.Workflow.Dir, err = expand(repl, "workflow exec: dir", w.Dir); err != nil {
		return err
	}
	if w.Workflow.Env, err = expandAll(repl, "workflow exec: env", w.Env); err != nil {
		return err
	}
	w.Workflow.Timeout, w.Workflow.MaxStream = time.Duration(w.Timeout), int64(w.MaxStream)
	return nil
}

// Validate refuses a workflow that could do nothing.
func (w *ExecWorkflow) Validate() error {
	if len(w.Allow) == 0 {
		return errors.New("workflow exec: allow is missing: name the programs that may run")
	}
	return nil
}

// UnmarshalCaddyfile reads
//
//	workflow exec {
//	    allow      <program>...
//	    dir        <folder>
//	    env        <NAME=value>...
//	    timeout    <duration>
//	    max_stream <size>
//	}
func (w *ExecWorkflow) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	if d.NextArg() {
		return d.Errf("workflow exec: unexpected %q; settings belong in a block { }", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		var err error
		switch word {
		case "allow":
			err = words(d, word, &w.Allow)
		case "env":
			if err = words(d, word, &w.Env); err == nil {
				for _, v := range w.Env {
					if name, _, ok := strings.Cut(v, "="); !ok || checkVariable(name) != "" {
						return d.Errf("workflow exec: env: %q is not NAME=value", v)
					}
				}
			}
		case "dir":
			w.Dir, err = one(d, "workflow exec: dir")
		case "timeout":
			var value string
			if value, err = one(d, "workflow exec: timeout"); err == nil {
				timeout, perr := caddy.ParseDuration(value)
				if perr != nil || timeout <= 0 {
					return d.Errf("workflow exec: timeout: %q is not a duration such as 30s%s", value, hint(value))
				}
				w.Timeout = caddy.Duration(timeout)
			}
		case "max_stream":
			var value string
			if value, err = one(d, "workflow exec: max_stream"); err == nil {
				if w.MaxStream, err = parseBytes(value); err != nil || w.MaxStream < 1 {
					return d.Errf("workflow exec: max_stream: %q is not an amount of bytes such as 1MiB", value)
				}
			}
		default:
			return d.Errf("workflow exec: unknown setting %q; allowed are allow, dir, env, max_stream, timeout", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func words(d *caddyfile.Dispenser, word string, into *[]string) error {
	values := d.RemainingArgs()
	if len(values) == 0 {
		return d.Errf("workflow exec: %s: a value is missing", word)
	}
	*into = append(*into, values...)
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*ExecWorkflow)(nil)
	_ caddy.Validator       = (*ExecWorkflow)(nil)
	_ caddyfile.Unmarshaler = (*ExecWorkflow)(nil)
	_ workflow.Workflow     = (*ExecWorkflow)(nil)
	_ workflow.Described    = (*ExecWorkflow)(nil)
)
