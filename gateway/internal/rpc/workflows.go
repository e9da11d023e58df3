package rpc

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func (r *Router) listWorkflows(_ context.Context, _ *Call, p params) (any, error) {
	f := p.object("filter")
	first := func(name string) (value, ok bool) {
		if value, ok = p.boolean(name); ok {
			return value, ok
		}
		return f.boolean(name)
	}
	withSystem, _ := first("includeSystem")
	rows := r.workflowRows(withSystem)
	if hasUI, ok := first("hasUi"); ok && hasUI {
		rows = []wire.WorkflowRow{} // workflows have no pages of their own yet
	}
	return rows, nil
}

func (r *Router) workflowRows(withSystem bool) []wire.WorkflowRow {
	rows := []wire.WorkflowRow{}
	if up := r.deps.Upstream; up != nil {
		for _, w := range up.Workflows() {
			if !w.System || withSystem {
				rows = append(rows, *w)
			}
		}
	}
	for _, d := range r.deps.Engine.Workflows() {
		if d.System && !withSystem {
			continue
		}
		rows = append(rows, wire.WorkflowRow{Key: d.Key, ReadableName: d.ReadableName, Description: d.Description, System: d.System})
	}
	slices.SortFunc(rows, func(a, b wire.WorkflowRow) int { return cmp.Compare(a.Key, b.Key) })
	return rows
}

// Workflows is the body of the public list: {"workflows":[…]} without system ones.
func (r *Router) Workflows() (json.RawMessage, error) {
	return encode(struct {
		Workflows []wire.WorkflowRow `json:"workflows"`
	}{r.workflowRows(false)})
}
