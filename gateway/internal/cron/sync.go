package cron

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/schedule"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Sync makes the schedules of the registered workflows known. What an operator has
// changed or removed stays so, and ticks that are due stay due (Q46). Schedules of
// workflows that are not there at the moment rest until these come back. It does not
// wait for the database.
func (s *Scheduler) Sync(defs []engine.Definition) {
	registered := make(map[string]engine.Definition, len(defs))
	for _, d := range defs {
		registered[d.Key] = d
	}
	s.opts.Store.Submit(func(tx *store.Tx) error { return syncAll(tx, registered, s.clock.Now()) }, func(err error) {
		if err != nil && !errors.Is(err, store.ErrClosed) {
			s.log.Error("the schedules of workflows could not be stored", zap.Error(err))
			return
		}
		s.Changed()
	})
}

func syncAll(tx *store.Tx, registered map[string]engine.Definition, now time.Time) error {
	rows, err := tx.Crons()
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(rows))
	for _, row := range rows {
		known[row.CronID] = true
		if !row.Registered {
			continue
		}
		d, there := registered[row.WorkflowKey]
		if err := syncRow(tx, row, d, there, now); err != nil {
			return err
		}
	}
	for key, d := range registered {
		id := wire.CronOfWorkflow(key)
		if d.Schedule == "" || known[id] {
			continue
		}
		row := &store.Cron{CronID: id, WorkflowKey: key, Enabled: true, Registered: true, CreatedAtMs: now.UnixMilli()}
		if err := give(row, d, now); err != nil {
			return err
		}
		if err := tx.PutCron(row); err != nil {
			return err
		}
	}
	return nil
}

// syncRow brings a workflow's own schedule up to date.
func syncRow(tx *store.Tx, row *store.Cron, d engine.Definition, there bool, now time.Time) error {
	before := *row
	row.Idle = !there
	switch {
	case !there, row.Changed:
	case d.Schedule == "":
		return tx.DeleteCron(row.CronID)
	case d.Schedule != row.Pattern || d.TimeZone != row.TimeZone:
		if err := give(row, d, now); err != nil {
			return err
		}
	}
	if *row == before {
		return nil
	}
	return tx.PutCron(row)
}

// give puts the workflow's pattern into its schedule.
func give(row *store.Cron, d engine.Definition, now time.Time) error {
	s, err := schedule.Parse(d.Schedule, d.TimeZone)
	if err != nil { // refused when the workflow was loaded
		return err
	}
	row.Pattern, row.TimeZone, row.Error = d.Schedule, d.TimeZone, ""
	next, err := s.Next(now)
	switch {
	case errors.Is(err, schedule.ErrOver):
		row.NextRunAtMs = 0
	case err != nil:
		return err
	default:
		row.NextRunAtMs = next.UnixMilli()
	}
	return nil
}
