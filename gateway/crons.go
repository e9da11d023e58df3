package gateway

import (
	"fmt"

	"github.com/smithersai/caddy-smithers/gateway/internal/cron"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/schedule"
)

func (r *running) openCrons() {
	r.crons = cron.New(cron.Options{
		Store: r.store, Engine: r.engine, Logger: r.logger.Named("cron"), Tracer: &r.g.tracer,
		Triggered: func(workflow string, err error) {
			outcome := "launched"
			if err != nil {
				outcome = "failed"
			} else {
				r.metrics.runsStarted.WithLabelValues(workflow, "cron", "false").Inc()
			}
			r.metrics.cronTriggers.WithLabelValues("schedule", outcome).Inc()
		},
	})
}

// checkSchedules refuses workflows whose schedule nobody can follow.
func checkSchedules(defs []engine.Definition) error {
	for _, d := range defs {
		if d.Schedule == "" {
			continue
		}
		if _, err := schedule.Parse(d.Schedule, d.TimeZone); err != nil {
			return fmt.Errorf("schedule of workflow %q: %w", d.Key, err)
		}
	}
	return nil
}
