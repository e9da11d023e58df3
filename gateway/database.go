package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// DatabaseBeside is the gateway's own database when the one at path belongs to a
// Smithers process: smithers.gateway.db beside smithers.db.
func DatabaseBeside(path string) string { return store.Beside(path) }

// besideInUse reports that the gateway's tables are in the file beside path. Once they
// are, they stay there, whatever runs the workflows later: its numbers must go on.
func besideInUse(path string) bool {
	_, err := os.Stat(store.Beside(path))
	return err == nil
}

// placeDatabase returns the file of the gateway's tables: db_path, unless that belongs
// to a Smithers process. What the gateway has in db_path from the time before is copied
// then.
func placeDatabase(ctx context.Context, s Settings, smithers bool, logger *zap.Logger) (string, error) {
	beside := store.Beside(s.DBPath)
	switch {
	case besideInUse(s.DBPath):
		return beside, nil
	case !smithers:
		return s.DBPath, nil
	}
	former, err := store.HasGateway(s.DBPath)
	if err != nil || !former {
		return beside, err
	}
	if err := store.MoveBeside(ctx, s.DBPath, beside); err != nil {
		return "", err
	}
	logger.Info("db_path belongs to the Smithers process from now on; the gateway's runs were copied and go on in a database of their own",
		zap.String("db_path", s.DBPath), zap.String("gateway_db", beside))
	return beside, nil
}

// errNeedsRestart refuses a reload that would make two programs write one file.
func errNeedsRestart(s Settings) error {
	return fmt.Errorf("%w: %s imports smithers-orchestrator, whose process must have db_path for itself, and this gateway works on it: "+
		"restart the gateway, which then copies its own tables to %s", ErrModule, s.Module, filepath.Base(store.Beside(s.DBPath)))
}

// BackupFile writes a consistent copy of the database at path to dest, whether or
// not a gateway, in this or another process, works on it. When the gateway's tables
// are in a file beside path, that is copied to the file beside dest, and before the
// other: a gateway that is behind catches up with its Smithers process, one that is
// ahead could not. progress, which may be nil, is called now and then with the pages
// copied and their total, of one file after the other.
func BackupFile(ctx context.Context, path, dest string, progress func(done, total int)) error {
	if !besideInUse(path) {
		if besideInUse(dest) {
			return fmt.Errorf("backup to %s: %s lies beside it, of an earlier backup of two files; remove it or choose another name",
				dest, filepath.Base(store.Beside(dest)))
		}
		return store.BackupFile(ctx, path, dest, progress)
	}
	if err := store.BackupFile(ctx, store.Beside(path), store.Beside(dest), progress); err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return store.CopyForeign(ctx, path, dest, progress)
}

// BackupFiles lists what BackupFile has written to dest.
func BackupFiles(dest string) (files []string) {
	for _, file := range []string{dest, store.Beside(dest)} {
		if _, err := os.Stat(file); err == nil {
			files = append(files, file)
		}
	}
	return files
}

// RestoreFile puts the backup src in place of the database at path, on which no
// gateway may run: both files of it when there are two. What was there stays beside it
// as <file>.before-restore. The numbers of all runs go on 1,000,000 higher, so that a
// client's older cursor is told what it missed instead of meeting a number twice.
// It returns the files that were replaced.
func RestoreFile(ctx context.Context, src, path string) (files []string, err error) {
	now := time.Now()
	switch {
	case besideInUse(src):
		return []string{path, store.Beside(path)}, store.RestorePair(ctx, src, path, now)
	case besideInUse(path): // of the time before there was a Smithers process
		return []string{store.Beside(path)}, store.Restore(ctx, src, store.Beside(path), now)
	}
	return []string{path}, store.Restore(ctx, src, path, now)
}
