package gateway

import (
	"context"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// BackupFile writes a consistent copy of the database at path to dest, whether or
// not a gateway, in this or another process, works on it. progress, which may be
// nil, is called now and then with the pages copied and their total.
func BackupFile(ctx context.Context, path, dest string, progress func(done, total int)) error {
	return store.BackupFile(ctx, path, dest, progress)
}

// RestoreFile puts the backup src in place of the database at path, on which no
// gateway may run. What was there stays beside it as <path>.before-restore. The
// numbers of all runs go on 1,000,000 higher, so that a client's older cursor is
// told what it missed instead of meeting a number twice.
func RestoreFile(ctx context.Context, src, path string) error {
	return store.Restore(ctx, src, path, time.Now())
}
