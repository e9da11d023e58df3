package store

import (
	"context"
	"fmt"
	"os"
)

// BackupFile does what Backup does for a database that this process does not own:
// one that a running gateway works on, or one at rest. It takes no owner lock.
// Errors: ErrNoGateway, ErrNewerSchema, ErrCorrupt, ErrUnwritable.
func BackupFile(ctx context.Context, path, dest string, progress func(done, total int)) error {
	path, err := realPath(path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	c, err := openReader(path)
	if err != nil {
		return openError(path, err)
	}
	version, err := checkSchema(c, path)
	if closeErr := c.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err != nil:
		return err
	case version == 0:
		return fmt.Errorf("%s: %w", path, ErrNoGateway)
	}
	return (&Store{path: path}).Backup(ctx, dest, progress)
}
