package module

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/jsmod"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/host"
)

// Values of Options.Runtime and Report.Runtime; package gateway has the same.
const (
	runtimeScript   = "script"
	runtimeSmithers = "smithers"
)

// checkSmithers registers the module's workflows in a Smithers process that ends then.
func checkSmithers(ctx context.Context, path string, in *jsmod.Inspection, o Options) (_ *Report, err error) {
	dir, err := os.MkdirTemp("", "smithers-check-")
	if err != nil {
		return nil, fmt.Errorf("a folder for the throwaway database: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	workflows, version, err := host.Check(ctx, host.Options{
		Module: path, Root: in.Root, Command: o.Command, DBPath: filepath.Join(dir, "smithers.db"), Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, err
	}
	report := &Report{Path: path, Hash: in.Hash, Runtime: runtimeSmithers, Smithers: version, Workflows: make([]Workflow, 0, len(workflows))}
	for _, w := range workflows {
		report.Workflows = append(report.Workflows, Workflow{
			Key: w.Key, ReadableName: w.ReadableName, Description: w.Description, Schedule: w.Schedule, Webhook: w.Webhook, System: w.System,
		})
	}
	return report, nil
}
