package gateway

import (
	"context"
	"errors"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// backend lets the event log read what is durable.
type backend struct{ store *store.Store }

func (b backend) Bounds(ctx context.Context, runID string) (out eventlog.Bounds, err error) {
	err = b.store.View(ctx, func(v *store.View) error {
		e, err := v.EventBounds(runID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		out = eventlog.Bounds{First: e.First, Last: e.Last, Next: e.Next, Exists: err == nil}
		return err
	})
	return out, err
}

func (b backend) WindowStart(ctx context.Context, runID string, window int) (seq int64, err error) {
	err = b.store.View(ctx, func(v *store.View) error {
		seq, err = v.WindowStart(runID, window)
		return err
	})
	return seq, err
}

func (b backend) After(ctx context.Context, runID string, after int64, limit int) (*store.EventChunk, error) {
	return b.store.EventsAfterSeq(ctx, runID, after, limit)
}

var _ eventlog.Backend = backend{}
