package engine

import (
	"context"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// recover queues every run that was working when the last process ended. Waiting
// and paused ones stay on disk: the waker finds those whose event came, since each
// decision, signal and ended child leaves its mark in wake_at.
func (e *Engine) recover(ctx context.Context) error {
	var rows []*store.Run
	err := e.store.View(ctx, func(v *store.View) (err error) {
		rows, err = v.RunningRuns()
		return err
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		e.wake(row.RunID, e.registry.shareOf(row), nil)
	}
	return nil
}
