package rpc

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxOffset bounds listRuns' offset, so that skipping cannot be made to scan
// without end.
const maxOffset = 1_000_000

func (r *Router) resumeRun(ctx context.Context, c *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	status, err := r.deps.Engine.Resume(ctx, id, actor(c))
	if err != nil {
		return nil, err
	}
	if status == wire.ControlResumeRequested {
		c.widen(id)
	}
	return wire.RunStatus{RunID: id, Status: status}, nil
}

func (r *Router) pauseRun(ctx context.Context, c *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	status, err := r.deps.Engine.Pause(ctx, id, actor(c))
	if err != nil {
		return nil, err
	}
	return wire.RunStatus{RunID: id, Status: status}, nil
}

func (r *Router) cancelRun(ctx context.Context, c *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	res, err := r.deps.Engine.Cancel(ctx, id, actor(c))
	if err != nil {
		return nil, err
	}
	return wire.Cancelled{Won: res.Won, Status: res.Status, TerminalStatus: res.TerminalStatus,
		Repaired: res.Repaired, RunID: id}, nil
}

func (r *Router) getRun(ctx context.Context, _ *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	var row *runDetail
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		run, err := loadRun(v, id, notFound)
		if err != nil {
			return err
		}
		row, err = r.detail(v, run)
		return err
	})
	return row, err
}

func (r *Router) listRuns(ctx context.Context, _ *Call, p params) (any, error) {
	filter, _, werr := runFilter(p)
	if werr != nil {
		return nil, werr
	}
	rows := []wire.RunRow{}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		runs, err := v.Runs(filter)
		rows = slices.Grow(rows, len(runs)) // half a kilobyte each
		for _, run := range runs {
			rows = append(rows, r.row(run))
		}
		return err
	})
	return rows, err
}

// runFilter reads the filter of listRuns.
func runFilter(p params) (filter store.RunFilter, limit int, _ *wire.Error) {
	f := p.object("filter")
	limit, werr := f.positiveInt("limit", wire.DefaultListLimit, wire.MaxListLimit)
	if werr != nil {
		return filter, 0, werr
	}
	offset := 0
	if raw, ok := f["offset"]; ok && string(raw) != "null" {
		n, isNumber := f.number("offset")
		if !isNumber || n < 0 || n != math.Trunc(n) {
			return filter, 0, wire.Errorf(wire.CodeInvalidRequest, "offset must be a non-negative integer")
		}
		offset = int(min(n, maxOffset))
	}
	filter = store.RunFilter{Limit: limit, Offset: offset, Workflow: f.str("workflow"), ParentRunID: f.str("parentRunId")}
	filter.IncludeSystem, _ = f.boolean("includeSystem")
	if s := f.str("status"); s != "" {
		filter.Statuses = []string{s}
	}
	return filter, limit, nil
}

// maxDescendants bounds listRunDescendants (Q41).
const maxDescendants = 10_000

// listRunDescendants walks children and continue-as-new successors breadth first,
// a successor standing under its predecessor.
func (r *Router) listRunDescendants(ctx context.Context, _ *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	limit, werr := p.positiveInt("limit", wire.DefaultDescendants, maxDescendants)
	if werr != nil {
		return nil, werr
	}
	var found []wire.Descendant
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		root, err := loadRun(v, id, notFound)
		if err != nil {
			return err
		}
		found = append(found, wire.Descendant{RunID: root.RunID, ParentRunID: optional(root.ParentRunID)})
		seen := map[string]bool{root.RunID: true}
		runs := []*store.Run{root}
		for i := 0; i < len(runs) && len(found) < limit; i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			next, err := v.Children(runs[i].RunID, limit)
			if err != nil {
				return err
			}
			if to := runs[i].ContinuedTo; to != "" {
				successor, err := v.Run(to)
				if err == nil {
					next = append(next, successor)
				} else if !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
			for _, run := range next {
				if seen[run.RunID] || len(found) == limit {
					continue
				}
				seen[run.RunID] = true
				runs = append(runs, run)
				found = append(found, wire.Descendant{RunID: run.RunID, ParentRunID: optional(runs[i].RunID), Depth: found[i].Depth + 1})
			}
		}
		return nil
	})
	return found, err
}
