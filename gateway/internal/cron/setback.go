package cron

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/schedule"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// setBack is how far a clock must have been set back for schedules to follow it, as
// cron(8) has it: within less, the ticks of the repeated time have been and are not
// launched again.
const setBack = 3 * time.Hour

// follow brings forward the ticks that were reckoned by a clock that was ahead:
// otherwise a schedule would rest until that time comes again. It looks once at the
// start and whenever the time of day has gone back.
func (s *Scheduler) follow(ctx context.Context) error {
	now := s.clock.Now().Round(0)
	before := s.looked
	s.looked = now
	if !before.IsZero() && !now.Before(before) {
		return nil
	}
	stale := 0
	err := s.opts.Store.View(ctx, func(v *store.View) error {
		rows, err := v.Crons()
		for _, row := range rows {
			if _, yes := nearer(row, before, now); yes {
				stale++
			}
		}
		return err
	})
	if err != nil || stale == 0 {
		return err
	}
	s.log.Warn("the clock was set back: schedules are reckoned anew", zap.Int("schedules", stale))
	return s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		rows, err := tx.Crons()
		if err != nil {
			return err
		}
		for _, row := range rows {
			next, yes := nearer(row, before, now)
			if !yes {
				continue
			}
			row.NextRunAtMs = next
			if err := tx.PutCron(row); err != nil {
				return err
			}
		}
		return nil
	})
}

// nearer is the tick of a schedule that comes next after now, if it comes before the
// stored one and the clock was far ahead: when it was looked at before, or when the
// schedule last launched a run or was made.
func nearer(row *store.Cron, before, now time.Time) (next int64, yes bool) {
	ahead := max(before.UnixMilli(), row.LastRunAtMs, row.CreatedAtMs) - now.UnixMilli()
	if row.NextRunAtMs == 0 || row.Removed || ahead < setBack.Milliseconds() {
		return 0, false
	}
	p, err := schedule.Parse(row.Pattern, row.TimeZone)
	if err != nil {
		return 0, false
	}
	at, err := p.Next(now)
	if err != nil || at.UnixMilli() >= row.NextRunAtMs {
		return 0, false
	}
	return at.UnixMilli(), true
}
