package gateway

import (
	"context"
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/jsmod"
)

// loader returns what loads the module once, and begins with it at once where it is a
// script, so that the database is opened meanwhile. A Smithers process may own a database
// that has to be copied before, and is started by the call.
func (r *running) loader(ctx context.Context, s Settings, inspection *jsmod.Inspection) func() (*workflows, error) {
	load := sync.OnceValues(func() (*workflows, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(r.ctx, cancel)()
		return r.scripts.prepare(ctx, s, inspection, nil)
	})
	if inspection == nil {
		r.work.Go(func() { _, _ = load() })
	}
	return load
}
