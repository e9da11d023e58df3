package gateway

import (
	"context"
	"path/filepath"
)

// Backup copies the database of the running gateway to dest while it works, as
// BackupFile does. Progress, which may be nil, is told of pages copied and pages in all.
func (g *Gateway) Backup(ctx context.Context, dest string, progress func(done, total int)) error {
	run, release := g.acquire()
	if run == nil {
		return ErrNotRunning
	}
	defer release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(run.ctx, cancel)()
	if err := BackupFile(ctx, run.dbPath, dest, progress); err != nil {
		return err
	}
	run.audit(ctx, "backup", map[string]any{"file": filepath.Base(dest)})
	return nil
}
