package gateway

import (
	"context"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/worktree"
)

// recordedTrees are the work trees that the settings in force want recorded.
type recordedTrees struct {
	*worktree.Git
	g *Gateway
}

func (t recordedTrees) Find(dir string) string {
	if s := t.g.settings.Load(); s != nil && s.WorkTrees == "off" {
		return ""
	}
	return t.Git.Find(dir)
}

// forgetTrees lets git collect what it keeps of runs that are gone. What cannot be
// removed now, because git or the disk of the work tree is away, is tried again later.
func (r *running) forgetTrees(ctx context.Context) error {
	for last := int64(0); ; {
		var stale []*store.StaleTree
		err := r.store.View(ctx, func(v *store.View) (err error) {
			stale, err = v.StaleTrees(last, retentionBatch)
			return err
		})
		if err != nil || len(stale) == 0 {
			return err
		}
		for _, t := range stale {
			last = t.ID
			if err := r.trees.Forget(ctx, t.Root, t.Keep); err != nil {
				r.logger.Warn("git keeps what was recorded of a run that is gone", zap.String("root", t.Root), zap.Error(err))
				continue
			}
			if err := r.store.Update(ctx, func(tx *store.Tx) error { return tx.DropStaleTree(t.ID) }); err != nil {
				return err
			}
		}
	}
}
