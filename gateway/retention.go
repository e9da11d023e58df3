package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Retention looks for what is due this often, or more often if the setting is shorter,
// and for so many at a time.
const (
	retentionEvery  = time.Minute
	retentionLeast  = time.Second
	retentionBatch  = 100
	retentionAudits = 1_000
	retentionAsked  = 100 // copies of runs of Smithers that it is asked about each time
)

// startRetention removes ended runs and audit entries once they are older than the
// settings.
func (r *running) startRetention() {
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		timer := time.NewTimer(0)
		defer timer.Stop()
		asked := "" // the copy after which the next look goes on
		for {
			select {
			case <-timer.C:
			case <-r.ctx.Done():
				return
			}
			s := r.g.settings.Load()
			wait := retentionEvery
			if s.RunRetention > 0 {
				wait = min(wait, s.RunRetention)
				if err := r.removeEnded(r.ctx, time.Now().Add(-s.RunRetention)); err != nil && r.ctx.Err() == nil {
					r.logger.Error("removing old runs", zap.Error(err))
				}
				var err error
				if asked, err = r.removeGone(r.ctx, time.Now().Add(-s.RunRetention), asked); err != nil && r.ctx.Err() == nil {
					r.logger.Error("removing old runs of Smithers", zap.Error(err))
				}
			}
			if s.AuditRetention > 0 {
				wait = min(wait, s.AuditRetention)
				if err := r.removeAudits(r.ctx, time.Now().Add(-s.AuditRetention)); err != nil && r.ctx.Err() == nil {
					r.logger.Error("removing old audit entries", zap.Error(err))
				}
			}
			if err := r.forgetTrees(r.ctx); err != nil && r.ctx.Err() == nil {
				r.logger.Error("removing what git keeps of old runs", zap.Error(err))
			}
			timer.Reset(max(wait, retentionLeast))
		}
	}()
}

// removeAudits removes entries from before a time, in small units.
func (r *running) removeAudits(ctx context.Context, limit time.Time) error {
	for {
		var removed int64
		err := r.store.Update(ctx, func(tx *store.Tx) (err error) {
			removed, err = tx.DeleteAudit(limit.UnixMilli(), retentionAudits)
			return err
		})
		if err != nil || removed < retentionAudits {
			return err
		}
	}
}

// removeEnded removes runs that ended before a time, each in a unit of its own, so
// that other work gets in between.
func (r *running) removeEnded(ctx context.Context, limit time.Time) error {
	removed := 0
	for {
		var ids []string
		err := r.store.View(ctx, func(v *store.View) (err error) {
			ids, err = v.EndedBefore(limit.UnixMilli(), retentionBatch)
			return err
		})
		if err != nil {
			return err
		}
		before := removed
		for _, id := range ids {
			err := r.removeRun(id)
			switch {
			case err == nil:
				removed++
				r.metrics.removedRuns.Inc()
			case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrOpenRun): // changed meanwhile
			default:
				return err
			}
		}
		if len(ids) < retentionBatch || removed == before {
			break
		}
	}
	if removed == 0 {
		return nil
	}
	r.logger.Info("removed old runs", zap.Int("runs", removed))
	return nil
}

// removeGone removes copies of runs that ended before a time and that Smithers does not
// have any more. Those that it has stay, whole: they are its own to keep, and one that
// was copied again would be numbered again. It looks at some each time, in turn, and
// returns where to go on. While Smithers is away nothing is removed.
func (r *running) removeGone(ctx context.Context, limit time.Time, after string) (next string, err error) {
	if r.federation == nil || !r.federation.Active() {
		return "", nil
	}
	var ids []string
	err = r.store.View(ctx, func(v *store.View) (err error) {
		ids, err = v.EndedUpstreamBefore(limit.UnixMilli(), after, retentionAsked)
		return err
	})
	if err != nil {
		return after, err
	}
	kept, removed := after, 0
	for _, id := range ids {
		gone, err := r.federation.Gone(ctx, id)
		if err != nil {
			r.logger.Debug("Smithers cannot be asked about an old run", zap.String("run", id), zap.Error(err))
			return id, nil // it is still there; should it be the matter, the others have their turn
		}
		if gone {
			switch err := r.removeRun(id); {
			case err == nil:
				removed++
				r.metrics.removedRuns.Inc()
				continue
			case errors.Is(err, store.ErrNotFound):
				continue
			case !errors.Is(err, store.ErrOpenRun): // changed meanwhile
				return kept, err
			}
		}
		kept = id // a cursor must be there at the next look
	}
	if removed > 0 {
		r.logger.Info("removed copies of old runs that Smithers does not have any more", zap.Int("runs", removed))
	}
	if len(ids) < retentionAsked {
		return "", nil
	}
	return kept, nil
}

// removeRun removes a run with its window. The window goes on the committer's
// goroutine: a run of the same id may be launched right behind.
func (r *running) removeRun(id string) error {
	result := make(chan error, 1)
	r.store.Submit(func(tx *store.Tx) error { return tx.DeleteRun(id) }, func(err error) {
		if err == nil {
			r.log.Forget(id)
			r.frames.Forget(id)
			if r.federation != nil {
				r.federation.Forget(id)
			}
		}
		result <- err
	})
	return <-result
}

// keepOnly stores the bundle of w and removes those that no open run needs, in one commit.
// Only before the engine starts: later a launch on a module that is just being replaced
// could lose its own.
func (r *running) keepOnly(ctx context.Context, w *workflows) error {
	return r.store.Update(ctx, func(tx *store.Tx) error {
		if err := w.put(tx); err != nil {
			return err
		}
		if _, err := tx.DropUnusedBundles(w.hash); err != nil {
			return fmt.Errorf("remove unused bundles: %w", err)
		}
		return nil
	})
}
