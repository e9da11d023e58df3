// Package goworkflow is a workflow written in Go and compiled into the gateway:
//
//	go run ./xcaddy build --with github.com/smithersai/caddy-smithers/examples/go-workflow=./examples/go-workflow
//
// and in the Caddyfile:
//
//	smithers {
//	    workflow release {
//	        regions eu us
//	        soak    5s
//	    }
//	}
//
// Launch it with {"workflow":"release","input":{"version":"1.2.3"}}.
package goworkflow

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func init() {
	caddy.RegisterModule(new(Release))
}

// Release builds a version, asks whether to ship it, and rolls it out to all regions
// side by side.
type Release struct {
	// Regions to roll out to. Default: eu and us.
	Regions []string `json:"regions,omitempty"`
	// Time between building and asking. Default: 1s.
	Soak caddy.Duration `json:"soak,omitempty"`
}

// CaddyModule names the workflow: what follows smithers.workflows. is its key.
func (*Release) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smithers.workflows.release",
		New: func() caddy.Module { return new(Release) },
	}
}

// Provision fills in the defaults.
func (r *Release) Provision(caddy.Context) error {
	if len(r.Regions) == 0 {
		r.Regions = []string{"eu", "us"}
	}
	if r.Soak == 0 {
		r.Soak = caddy.Duration(time.Second)
	}
	return nil
}

// Describe is shown in the list of workflows.
func (*Release) Describe() (readableName, description string) {
	return "Release", "Builds a version, asks, and rolls it out."
}

type input struct {
	Version string `json:"version"`
}

type artifact struct {
	Image string `json:"image"`
	Bytes int    `json:"bytes"`
}

type result struct {
	Shipped bool     `json:"shipped"`
	Image   string   `json:"image"`
	Regions []string `json:"regions"`
	By      string   `json:"by,omitempty"`
}

// Run executes one release. After a crash it runs again from here; what is finished
// returns its stored result, so that nothing is built or rolled out twice.
func (r *Release) Run(ctx workflow.Context) (any, error) {
	var in input
	if err := ctx.Bind(&in); err != nil {
		return nil, err
	}
	if in.Version == "" {
		in.Version = "0.0.1"
	}

	var built artifact
	err := ctx.Task("build", func(t workflow.Task) (any, error) {
		t.Log("building " + in.Version)
		if t.Attempt() == 1 {
			return nil, errors.New("the builder was busy") // tried again after the back-off
		}
		return artifact{Image: "app:" + in.Version, Bytes: 1 << 20}, nil
	}, &built, workflow.Retries(3, 200*time.Millisecond), workflow.Timeout(time.Minute), workflow.Label("Build"))
	if err != nil {
		return nil, err
	}

	if err := ctx.Sleep("soak", time.Duration(r.Soak)); err != nil {
		return nil, err
	}

	decision, err := ctx.Approval("ship", workflow.Approval{
		Title:   "Ship " + built.Image + "?",
		Summary: fmt.Sprintf("%d bytes to %d regions", built.Bytes, len(r.Regions)),
	})
	if err != nil {
		return nil, err
	}
	if !decision.Approved {
		return result{Image: built.Image, By: decision.DecidedBy}, nil
	}

	done := make([]string, len(r.Regions))
	branches := make([]func(workflow.Context) error, len(r.Regions))
	for i, region := range r.Regions {
		branches[i] = func(ctx workflow.Context) error {
			return ctx.Task("roll-out-"+region, func(t workflow.Task) (any, error) {
				t.Log("rolling out " + built.Image + " to " + region)
				return region, nil
			}, &done[i])
		}
	}
	if err := ctx.Parallel(2, branches...); err != nil {
		return nil, err
	}
	return result{Shipped: true, Image: built.Image, Regions: done, By: decision.DecidedBy}, nil
}

// UnmarshalCaddyfile reads the block after workflow release.
func (r *Release) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	for d.NextBlock(d.Nesting()) {
		switch word := d.Val(); word {
		case "regions":
			r.Regions = append(r.Regions, d.RemainingArgs()...)
			if len(r.Regions) == 0 {
				return d.ArgErr()
			}
		case "soak":
			if !d.NextArg() {
				return d.ArgErr()
			}
			soak, err := caddy.ParseDuration(d.Val())
			if err != nil || soak <= 0 {
				return d.Errf("soak: %q is not a duration such as 5s", d.Val())
			}
			r.Soak = caddy.Duration(soak)
		default:
			return d.Errf("unknown setting %q of workflow release; allowed are regions, soak", word)
		}
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Release)(nil)
	_ caddyfile.Unmarshaler = (*Release)(nil)
	_ workflow.Workflow     = (*Release)(nil)
	_ workflow.Described    = (*Release)(nil)
)
