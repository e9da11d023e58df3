package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/schedule"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// sourceCron is the source of runs that schedules launch.
const sourceCron = "cron"

// trigger launches the run of a due schedule. An error means that the storage or the
// engine is away, so that the tick is still to come.
func (s *Scheduler) trigger(ctx context.Context, c *store.Cron) error {
	ctx, span := s.opts.Tracer.Tick(ctx, c.WorkflowKey, c.CronID)
	defer span.End()
	_, err := s.opts.Engine.Launch(ctx, engine.Launch{
		Workflow: c.WorkflowKey, Input: json.RawMessage("{}"), Source: sourceCron, CronID: c.CronID,
		By: program.Auth{TriggeredBy: "cron:gateway", Role: "system", Scopes: []string{wire.GrantAll}},
		Within: func(tx *store.Tx, _ string, insert func() error) error {
			row, err := s.claim(tx, c)
			if err != nil {
				return err
			}
			if err := insert(); err != nil {
				return err
			}
			now := s.clock.Now()
			row.LastRunAtMs, row.Error = now.UnixMilli(), ""
			if row.NextRunAtMs, err = after(row, now); err != nil {
				return err
			}
			return tx.PutCron(row)
		},
	})
	var refused *wire.Error
	if err != nil && !errors.Is(err, errTaken) {
		code := wire.CodeServerError
		if errors.As(err, &refused) {
			code = refused.Code
		}
		span.Failed(code, err.Error(), true)
	}
	switch {
	case err == nil:
		s.told(c.WorkflowKey, nil)
		return nil
	case errors.Is(err, errTaken):
		return nil
	case errors.As(err, &refused) && !wire.Retryable(refused.Code):
		s.told(c.WorkflowKey, err)
		return s.postpone(ctx, c, refused.Message)
	}
	return fmt.Errorf("launch of schedule %s: %w", c.CronID, err)
}

// claim makes sure, in the unit that acts on it, that the tick is still due.
func (s *Scheduler) claim(tx *store.Tx, c *store.Cron) (*store.Cron, error) {
	row, err := tx.Cron(c.CronID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errTaken
	}
	if err != nil {
		return nil, err
	}
	if row.ID != c.ID || row.NextRunAtMs != c.NextRunAtMs || row.WorkflowKey != c.WorkflowKey || !row.Enabled || row.Removed || row.Idle {
		return nil, errTaken
	}
	return row, nil
}

// postpone notes why a tick launched nothing and tries again later.
func (s *Scheduler) postpone(ctx context.Context, c *store.Cron, why string) error {
	s.log.Warn("a schedule could not launch its workflow", zap.String("cron", c.CronID), zap.String("workflow", c.WorkflowKey),
		zap.String("error", why))
	err := s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		row, err := s.claim(tx, c)
		if err != nil {
			return err
		}
		row.Error, row.NextRunAtMs = why, s.nowMs()+afterError.Milliseconds()
		return tx.PutCron(row)
	})
	if errors.Is(err, errTaken) {
		return nil
	}
	return err
}

// after is the tick that follows a launch at now. Ticks that have passed are made up
// for by that one launch.
func after(c *store.Cron, now time.Time) (int64, error) {
	s, err := schedule.Parse(c.Pattern, c.TimeZone)
	if err != nil { // a time zone that the system has lost
		return 0, wire.Errorf(wire.CodeInvalidRequest, "%s", err.Error())
	}
	next, err := s.Next(time.UnixMilli(c.NextRunAtMs))
	if err == nil && !next.After(now) {
		next, err = s.Next(now)
	}
	switch {
	case errors.Is(err, schedule.ErrOver):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return next.UnixMilli(), nil
}

func (s *Scheduler) told(workflow string, err error) {
	if s.opts.Triggered != nil {
		s.opts.Triggered(workflow, err)
	}
}
