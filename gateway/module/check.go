// Package module looks at workflow modules without running a gateway.
package module

import (
	"context"
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/jsmod"
	"github.com/smithersai/caddy-smithers/gateway/internal/schedule"
)

// Options tune Check.
type Options struct {
	Root string   // folder that imports may not leave; "": as a gateway finds it
	Env  []string // names of environment variables that the module may read
	// Runtime is what runs the module: "script", "smithers", or "" and "auto" for what
	// it imports.
	Runtime string
	// Command is the path or name of Bun for a module that needs the Smithers runtime;
	// "": as a gateway finds it.
	Command string
}

// Report is what a module registers.
type Report struct {
	Path      string     `json:"path"`
	Hash      string     `json:"hash"`            // of the bundle, by which runs name their version
	Bytes     int        `json:"bytes,omitempty"` // of the bundle; 0 for the Smithers runtime
	Runtime   string     `json:"runtime"`         // script or smithers
	Smithers  string     `json:"smithersVersion,omitempty"`
	Workflows []Workflow `json:"workflows"`
}

// Workflow is one registered workflow.
type Workflow struct {
	Key          string `json:"key"`
	ReadableName string `json:"readableName,omitempty"`
	Description  string `json:"description,omitempty"`
	Schedule     string `json:"schedule,omitempty"`
	TimeZone     string `json:"timeZone,omitempty"`
	Webhook      bool   `json:"webhook"`
	System       bool   `json:"system"`
}

// Check calls the register function of the module at path, bundled in a throwaway VM
// or, if it imports smithers-orchestrator, in a process of its own with a throwaway
// database. Its errors name file, line and message.
func Check(ctx context.Context, path string, o Options) (*Report, error) {
	if o.Runtime != runtimeScript {
		in, err := jsmod.Inspect(path, o.Root)
		if err != nil {
			return nil, err
		}
		if in.Smithers != nil || o.Runtime == runtimeSmithers {
			return checkSmithers(ctx, path, in, o)
		}
	}
	env := make(map[string]string, len(o.Env))
	for _, name := range o.Env {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	host, err := jsmod.NewHost(jsmod.HostOptions{Env: env, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("starting the script host: %w", err)
	}
	defer host.Close()
	bundle, err := host.Build(ctx, path, jsmod.BuildOptions{Root: o.Root})
	if err != nil {
		return nil, err
	}
	module, err := host.Load(ctx, *bundle)
	if err != nil {
		return nil, err
	}
	report := &Report{Path: path, Hash: bundle.Hash, Bytes: len(bundle.Source), Runtime: runtimeScript, Workflows: make([]Workflow, 0, len(module.Workflows))}
	for _, w := range module.Workflows {
		if w.Schedule != "" {
			if _, err := schedule.Parse(w.Schedule, w.TimeZone); err != nil {
				return nil, fmt.Errorf("%s: schedule of workflow %q: %w", path, w.Key, err)
			}
		}
		report.Workflows = append(report.Workflows, Workflow{
			Key: w.Key, ReadableName: w.ReadableName, Description: w.Description,
			Schedule: w.Schedule, TimeZone: w.TimeZone, Webhook: w.Webhook != nil, System: w.System,
		})
	}
	return report, nil
}
