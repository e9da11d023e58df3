package rpc

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/schedule"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of schedules.
const (
	maxCrons  = 10_000
	maxCronID = 256 // bytes
)

func (r *Router) cronList(ctx context.Context, _ *Call, p params) (any, error) {
	workflow := p.object("filter").str("workflow")
	rows := []wire.CronRow{}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		crons, err := v.Crons()
		for _, c := range crons {
			if !c.Removed && (workflow == "" || c.WorkflowKey == workflow) {
				rows = append(rows, cronRow(c))
			}
		}
		return err
	})
	return rows, err
}

func cronRow(c *store.Cron) wire.CronRow {
	return wire.CronRow{CronID: c.CronID, Pattern: c.Pattern, WorkflowPath: wire.CronOfWorkflow(c.WorkflowKey), Enabled: c.Enabled,
		CreatedAtMs: c.CreatedAtMs, LastRunAtMs: optionalMs(c.LastRunAtMs), NextRunAtMs: optionalMs(c.NextRunAtMs),
		ErrorJSON: optional(c.Error), Workflow: c.WorkflowKey, TimeZone: c.TimeZone}
}

// cronCreate stores a schedule in place of one with the same id. A workflow's own
// schedule may be changed so, and stays as the operator made it.
func (r *Router) cronCreate(ctx context.Context, c *Call, p params) (any, error) {
	workflow, pattern, id := p.str("workflow"), p.str("pattern"), p.str("cronId")
	if workflow == "" || pattern == "" {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "workflow and pattern are required")
	}
	if len(id) > maxCronID {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "cronId must have at most %d characters", maxCronID)
	}
	if _, ok := r.deps.Engine.Workflow(workflow); !ok {
		return nil, wire.Errorf(wire.CodeNotFound, "Unknown workflow: %s", workflow)
	}
	zone := p.str("timeZone")
	s, err := schedule.Parse(pattern, zone)
	if err != nil {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "%s", err.Error())
	}
	if id == "" {
		id = uuid.NewString()
	}
	enabled := true
	if v, ok := p.boolean("enabled"); ok {
		enabled = v
	}
	var row *store.Cron
	err = r.deps.Store.Update(ctx, func(tx *store.Tx) error {
		now := r.now()
		row = &store.Cron{CronID: id, WorkflowKey: workflow, CreatedAtMs: now.UnixMilli()}
		old, err := tx.Cron(id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			n, err := tx.CountCrons()
			if err != nil {
				return err
			}
			if n >= maxCrons {
				return wire.Errorf(wire.CodeQuotaExceeded, "There are %d schedules already; remove some.", n)
			}
		case err != nil:
			return err
		case old.WorkflowKey != workflow:
			return wire.Errorf(wire.CodeInvalidRequest, "Cron %s belongs to workflow %s", id, old.WorkflowKey)
		default:
			row = old
		}
		row.Pattern, row.TimeZone, row.Enabled, row.Error, row.Removed = pattern, zone, enabled, "", false
		row.Changed = row.Registered
		if row.NextRunAtMs, err = nextTick(s, now); err != nil {
			return err
		}
		if err := tx.PutCron(row); err != nil {
			return err
		}
		return r.auditCron(tx, c, "cron.create", row)
	})
	if err != nil {
		return nil, err
	}
	r.cronsChanged()
	return cronRow(row), nil
}

// cronDelete removes a schedule. A workflow's own is remembered as removed, or it
// would be back at the next start.
func (r *Router) cronDelete(ctx context.Context, c *Call, p params) (any, error) {
	id := p.str("cronId")
	if id == "" {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "cronId is required")
	}
	err := r.deps.Store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.Cron(id)
		if err != nil || row.Removed {
			return notFoundCron(id, err)
		}
		if err := r.auditCron(tx, c, "cron.delete", row); err != nil {
			return err
		}
		if !row.Registered {
			return tx.DeleteCron(id)
		}
		row.Removed, row.Changed = true, true
		return tx.PutCron(row)
	})
	if err != nil {
		return nil, err
	}
	r.cronsChanged()
	return wire.CronRemoved{CronID: id, Removed: true}, nil
}

// notFoundCron is the answer to an id that nobody has; another error stays.
func notFoundCron(id string, err error) error {
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return wire.Errorf(wire.CodeNotFound, "Cron not found: %s", id)
	}
	return err
}

// cronRun launches the workflow of a schedule now, or any workflow. The schedule
// counts it as a run of its own.
func (r *Router) cronRun(ctx context.Context, c *Call, p params) (any, error) {
	id, workflow := p.str("cronId"), p.str("workflow")
	if id != "" {
		err := r.deps.Store.View(ctx, func(v *store.View) error {
			row, err := v.Cron(id)
			if errors.Is(err, store.ErrNotFound) || err == nil && row.Removed {
				if workflow == "" {
					return wire.Errorf(wire.CodeInvalidRequest, "cronId or workflow is required")
				}
				return notFoundCron(id, nil) // not another workflow instead (Q36)
			}
			if err == nil {
				workflow = row.WorkflowKey
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if workflow == "" {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "cronId or workflow is required")
	}
	source := "user"
	if c.Principal.UserID == "" {
		source = "gateway"
	}
	launch := engine.Launch{Workflow: workflow, Input: p.raw("input"), Source: source, By: launcher(c.Principal), Remote: c.Remote}
	if id != "" {
		launch.Within = func(tx *store.Tx, _ string, insert func() error) error {
			row, err := tx.Cron(id)
			if err != nil || row.Removed {
				return notFoundCron(id, err)
			}
			if err := insert(); err != nil {
				return err
			}
			return r.ranByHand(tx, row)
		}
	}
	l, err := r.deps.Engine.Launch(ctx, launch)
	if err != nil {
		return nil, err
	}
	if r.deps.Counters.Launched != nil {
		r.deps.Counters.Launched(l.Workflow, source)
	}
	if id != "" {
		r.cronsChanged()
	}
	c.widen(l.RunID)
	return wire.Launched{RunID: l.RunID, Workflow: l.Workflow, System: l.System}, nil
}

func (r *Router) ranByHand(tx *store.Tx, row *store.Cron) error {
	now := r.now()
	row.LastRunAtMs = now.UnixMilli()
	s, err := schedule.Parse(row.Pattern, row.TimeZone)
	if err == nil {
		if row.NextRunAtMs, err = nextTick(s, now); err != nil {
			return err
		}
	}
	return tx.PutCron(row)
}

// nextTick is the tick after a time in epoch milliseconds, 0 when none is left.
func nextTick(s *schedule.Schedule, after time.Time) (int64, error) {
	next, err := s.Next(after)
	switch {
	case errors.Is(err, schedule.ErrOver):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return next.UnixMilli(), nil
}

func (r *Router) auditCron(tx *store.Tx, c *Call, action string, row *store.Cron) error {
	return r.note(tx, c, action, "", map[string]any{"cronId": row.CronID, "workflow": row.WorkflowKey, "pattern": row.Pattern,
		"enabled": row.Enabled})
}

func (r *Router) cronsChanged() {
	if r.deps.CronsChanged != nil {
		r.deps.CronsChanged()
	}
}
