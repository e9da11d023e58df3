package rpc

import (
	"context"
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func (r *Router) retryTask(ctx context.Context, c *Call, p params) (any, error) {
	runID, nodeID := p.str("runId"), p.str("nodeId")
	if runID == "" || nodeID == "" {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "runId and nodeId are required")
	}
	dependents, given := p.boolean("resetDependents")
	iteration := p.iteration()
	reset, err := r.deps.Engine.RetryTask(ctx, engine.RetryTask{RunID: runID, NodeID: nodeID, Iteration: iteration,
		KeepDependents: given && !dependents, By: actor(c)})
	if err != nil {
		return nil, err
	}
	c.widen(runID)
	return wire.TaskRetried{RunID: runID, NodeID: nodeID, Iteration: iteration, ResetNodes: reset, Status: wire.ControlRetryRequested}, nil
}

// rerun launches the workflow of a run again, with its input and its limits.
func (r *Router) rerun(ctx context.Context, c *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	var run *store.Run
	err := r.deps.Store.View(ctx, func(v *store.View) (err error) {
		run, err = loadRun(v, id, notFound)
		return err
	})
	if err != nil {
		return nil, err
	}
	l := engine.Launch{Workflow: run.WorkflowKey, Input: run.Input, RunID: p.str("newRunId"),
		Config: configOf(run.Config), By: launcher(c.Principal), Remote: c.Remote}
	return r.launch(ctx, c, l)
}

// configOf is what a launch said of the limits of its run.
func configOf(config json.RawMessage) engine.LaunchConfig {
	return launchConfig(parseParams(config))
}
