package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Times of waiting for a run that was launched a moment ago: Smithers answers before
// it has written the run (Q25).
const (
	seenWait  = 3 * time.Second
	seenFirst = 10 * time.Millisecond
	seenMost  = 200 * time.Millisecond
)

// Seen waits, for a while, until the upstream has a run that it was told to launch. What
// is asked about it before that would be answered as if there were no such run.
func (f *Federation) Seen(ctx context.Context, runID string) error {
	for pause, end := seenFirst, time.Now().Add(seenWait); ; pause = min(2*pause, seenMost) {
		at, err := f.position(ctx, runID)
		if errors.Is(err, store.ErrNotFound) || err == nil && at.Seen || time.Now().After(end) {
			return ignoreNotFound(err)
		}
		if err == nil {
			once, cancel := context.WithDeadline(ctx, end)
			err = f.Sync(once, runID)
			cancel()
			if errors.Is(once.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
				return nil // it hangs: the call about the run may wait longer
			}
			if err == nil {
				if at, err = f.position(ctx, runID); err == nil && at.Seen {
					return nil
				}
			}
		}
		if err != nil {
			return ignoreNotFound(err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// Ready prepares a run for a stream or a look at its log: one that is not known is
// taken over, and the log of one that was met when it was over is read now. A run of
// this gateway, and one that nobody has, need nothing.
func (f *Federation) Ready(ctx context.Context, runID string) error {
	at, err := f.position(ctx, runID)
	if errors.Is(err, store.ErrNotFound) {
		owned, err := f.Owns(ctx, runID)
		if err != nil || !owned {
			return err
		}
		at = &store.UpstreamRun{}
	} else if err != nil {
		return err
	}
	if at.NextSeq > 0 || !at.Seen && at.RunID != "" {
		return nil // read, or being launched: the stream waits for events
	}
	_, leave, err := f.enter()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	return f.Sync(ctx, runID)
}
