package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
)

// backupStep is how many pages are copied between two looks at the context.
const backupStep = 1024

// Backup writes a consistent copy of the database to dest while the store goes on
// working. An older file at dest is replaced in one step, at the end. The copy is
// a single file without a write-ahead log. progress, which may be nil, is called
// now and then with the pages copied and their total. While a backup runs, the
// write-ahead log cannot shrink.
func (s *Store) Backup(ctx context.Context, dest string, progress func(done, total int)) error {
	dest, err := realPath(dest)
	if err != nil {
		return err
	}
	if dest == s.path {
		return fmt.Errorf("backup to %s: that is the database itself", dest)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Stat(dest + ".lock"); err == nil { // dest is, or was, the database of another gateway
		lock, err := lockDatabase(dest)
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		defer func() { _ = lock.Close() }()
	}
	src, err := openReader(s.path)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() { _ = src.Close() }()
	temp, err := copyDatabase(ctx, src, dest, progress, func(c *conn) error {
		_, err := c.exec("DELETE FROM gateway_meta WHERE key = 'owner'")
		return err
	})
	if err != nil {
		return fmt.Errorf("backup to %s: %w", dest, err)
	}
	if err := os.Rename(temp, dest); err != nil {
		return errors.Join(fmt.Errorf("backup: %w", err), removeDatabase(temp))
	}
	return syncFolder(filepath.Dir(dest))
}

// copyDatabase copies what src sees at its first read into a new, synced file
// beside dest and returns its name. finish changes the copy before it is closed.
func copyDatabase(ctx context.Context, src *conn, dest string, progress func(done, total int), finish func(*conn) error) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(dest), "."+filepath.Base(dest)+".*.partial") // mode 0600
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	temp = f.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, removeDatabase(temp))
		}
	}()
	if err := f.Close(); err != nil {
		return "", err
	}
	// A read transaction around the steps keeps them on one snapshot. Without it, each
	// commit in between would make the copying start again.
	if err := src.script("BEGIN"); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, ignoreNoTransaction(src.script("ROLLBACK"))) }()
	if _, err := src.number("SELECT count(*) FROM sqlite_schema"); err != nil {
		return "", err
	}
	copied, err := copyPages(ctx, src, temp, progress)
	if err != nil {
		return "", err
	}
	err = finishCopy(copied, finish)
	if err = errors.Join(err, copied.Close()); err != nil {
		return "", err
	}
	return temp, syncFile(temp)
}

// copyPages runs SQLite's backup interface and returns the copy, open.
func copyPages(ctx context.Context, src *conn, temp string, progress func(done, total int)) (*conn, error) {
	source, ok := src.dc.(interface {
		NewBackup(uri string) (*sqlite.Backup, error)
	})
	if !ok {
		return nil, errors.New("SQLite driver lacks backups")
	}
	b, err := source.NewBackup(uri(temp, ""))
	if err != nil {
		return nil, err
	}
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return nil, errors.Join(err, b.Finish())
		}
		if more, err = b.Step(backupStep); err != nil {
			return nil, errors.Join(err, ignoreCode(b.Finish()))
		}
		if progress != nil {
			progress(b.PageCount()-b.Remaining(), b.PageCount())
		}
	}
	dc, err := b.Commit()
	if err != nil {
		return nil, err
	}
	return &conn{dc: dc, stmts: map[string]*stmt{}}, nil
}

// ignoreCode drops the error that Finish repeats after a failed Step.
func ignoreCode(err error) error {
	if code(err) != 0 {
		return nil
	}
	return err
}

// finishCopy makes the copy a single file and lets finish change it.
func finishCopy(c *conn, finish func(*conn) error) error {
	if err := setup(c); err != nil {
		return err
	}
	mode, err := c.text("PRAGMA journal_mode = DELETE")
	if err != nil {
		return err
	}
	if mode != "delete" {
		return fmt.Errorf("journal mode of the copy stays %q", mode)
	}
	return finish(c)
}

// removeDatabase removes a file that no connection has open, and its companions.
func removeDatabase(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// syncFile makes a file durable. No connection of this process may have it open:
// closing any descriptor of a file drops the locks that SQLite holds on it.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
