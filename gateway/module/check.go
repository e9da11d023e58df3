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
}

// Report is what a module registers.
type Report struct {
	Path      string     `json:"path"`
	Hash      string     `json:"hash"`  // of the bundle, by which runs name their version
	Bytes     int        `json:"bytes"` // of the bundle
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

// Check bundles the module at path and calls its register function in a throwaway
// VM. Its errors name file, line and message.
func Check(ctx context.Context, path string, o Options) (*Report, error) {
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
	report := &Report{Path: path, Hash: bundle.Hash, Bytes: len(bundle.Source), Workflows: make([]Workflow, 0, len(module.Workflows))}
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
