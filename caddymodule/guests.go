package caddymodule

import (
	"errors"
	"fmt"
	"maps"

	"github.com/caddyserver/caddy/v2"

	"github.com/smithersai/caddy-smithers/gateway"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// guestNamespace is where workflows written in Go register, as Caddy modules that
// implement workflow.Workflow. The last part of a module's id is the workflow's key.
const guestNamespace = "smithers.workflows"

// Scheduled is an optional ability of a guest module: a cron pattern on which its
// workflow starts by itself.
type Scheduled interface {
	Schedule() string
}

// loadGuests loads the workflows that the handler names.
func loadGuests(ctx caddy.Context, h *Handler) (map[string]gateway.GoWorkflow, error) {
	if len(h.WorkflowsRaw) == 0 {
		return nil, nil
	}
	// LoadModule empties the field, and the claim compares it later.
	raw := maps.Clone(h.WorkflowsRaw)
	defer func() { h.WorkflowsRaw = raw }()
	loaded, err := ctx.LoadModule(h, "WorkflowsRaw")
	if err != nil {
		return nil, fmt.Errorf("loading workflows: %w", err)
	}
	modules, ok := loaded.(map[string]any)
	if !ok {
		return nil, errors.New("loading workflows: unexpected kind of module map")
	}
	guests := make(map[string]gateway.GoWorkflow, len(modules))
	for key, module := range modules {
		w, ok := module.(workflow.Workflow)
		if !ok {
			return nil, fmt.Errorf("module %s.%s (%T) does not implement workflow.Workflow", guestNamespace, key, module)
		}
		guest := gateway.GoWorkflow{Workflow: w}
		if d, ok := module.(workflow.Described); ok {
			guest.ReadableName, guest.Description = d.Describe()
		}
		if s, ok := module.(Scheduled); ok {
			guest.Schedule = s.Schedule()
		}
		guests[key] = guest
	}
	return guests, nil
}
