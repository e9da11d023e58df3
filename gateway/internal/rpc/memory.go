package rpc

import (
	"context"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxFacts bounds listMemoryFacts (Q41).
const maxFacts = 10_000

func (r *Router) listMemoryFacts(ctx context.Context, _ *Call, p params) (any, error) {
	rows := []wire.MemoryFactRow{}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		facts, err := v.MemoryAll(p.str("namespace"), r.now().UnixMilli(), maxFacts)
		for _, f := range facts {
			row := wire.MemoryFactRow{Namespace: f.Namespace, Key: f.Key, ValueJSON: string(f.Value),
				CreatedAtMs: f.CreatedAtMs, UpdatedAtMs: f.UpdatedAtMs}
			if f.ExpiresAtMs > 0 {
				ttl := f.ExpiresAtMs - f.UpdatedAtMs
				row.TTLMs = &ttl
			}
			rows = append(rows, row)
		}
		return err
	})
	return rows, err
}
