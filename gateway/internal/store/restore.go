package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// asideSuffix names what Restore keeps of the database it replaces.
const asideSuffix = ".before-restore"

// Restore replaces the database at dest by the backup src, while no gateway runs on
// dest (else ErrOwned). The backup itself is not changed. The restored database is
// migrated, every run's next seq and the state version are raised by 1,000,000, so
// that no number given out after the backup is given out again, and an audit entry
// is written. What was at dest stays beside it as <dest>.before-restore.
//
// Errors: ErrOwned, ErrNoGateway, ErrNewerSchema, ErrCorrupt, ErrUnwritable. Up to
// the last step, a failure leaves dest as it was.
func Restore(ctx context.Context, src, dest string, now time.Time) error {
	src, err := realPath(src)
	if err != nil {
		return err
	}
	if dest, err = realPath(dest); err != nil {
		return err
	}
	if src == dest {
		return fmt.Errorf("restore %s: source and destination are the same file", src)
	}
	if err := ensureFolder(dest); err != nil {
		return err
	}
	lock, err := lockDatabase(dest)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	temp, err := prepareRestore(ctx, src, dest, now)
	if err != nil {
		return fmt.Errorf("restore %s: %w", src, err)
	}
	if err := replaceDatabase(temp, dest); err != nil {
		return errors.Join(fmt.Errorf("restore %s: %w", src, err), removeDatabase(temp))
	}
	return nil
}

// prepareRestore makes the database that is to be put in place.
func prepareRestore(ctx context.Context, src, dest string, now time.Time) (temp string, err error) {
	c, err := openSource(src)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	version, err := checkSchema(c, src)
	if err != nil {
		return "", err
	}
	if version == 0 {
		return "", fmt.Errorf("%s: %w", src, ErrNoGateway)
	}
	return copyDatabase(ctx, c, dest, nil, func(copied *conn) error {
		result, err := copied.text("PRAGMA quick_check(1)")
		if err != nil {
			return openError(src, err)
		}
		if result != "ok" {
			return fmt.Errorf("%s: %w: %s", src, ErrCorrupt, result)
		}
		if err := migrate(copied, version, now); err != nil {
			return err
		}
		return raiseNumbers(copied, "restore", filepath.Base(src), now)
	})
}

// openSource opens a backup for reading. One with a write-ahead log on a medium
// that cannot be written is read as it stands.
func openSource(src string) (*conn, error) {
	if info, err := os.Stat(src); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", src)
	}
	for _, query := range []string{"mode=ro", "mode=ro&immutable=1"} {
		c, err := dialURI(uri(src, query))
		if err != nil {
			return nil, openError(src, err)
		}
		if err = setup(c); err == nil {
			_, err = c.number("SELECT count(*) FROM sqlite_schema")
		}
		if err == nil {
			return c, nil
		}
		err = errors.Join(openError(src, err), c.Close())
		if code(err) != codeCantOpen {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: cannot be opened", src)
}

// replaceDatabase puts temp at dest. The write-ahead log of the old database must
// be gone before: SQLite would play it into the new one.
func replaceDatabase(temp, dest string) error {
	if _, err := os.Stat(dest); errors.Is(err, os.ErrNotExist) {
		if err := removeDatabase(dest); err != nil {
			return err
		}
	} else if err != nil {
		return err
	} else if err := setAside(dest); err != nil {
		return err
	}
	if err := os.Rename(temp, dest); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(dest))
}

// setAside keeps the old database under another name, in a way that dest, if it
// stays for a moment, is complete without a log.
func setAside(dest string) error {
	aside := dest + asideSuffix
	if err := removeDatabase(aside); err != nil {
		return err
	}
	if mergeLog(dest) == nil && os.Link(dest, aside) == nil {
		return nil
	}
	// Damaged, or a file system without links: move it away, log first.
	for _, suffix := range []string{"-wal", "-journal", ""} {
		err := os.Rename(dest+suffix, aside+suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	err := os.Remove(dest + "-shm")
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, syncFolder(filepath.Dir(dest)))
}

// mergeLog brings the write-ahead log of a database into the file and removes it.
func mergeLog(path string) error {
	c, err := dial(path, "rw")
	if err != nil {
		return err
	}
	err = setup(c)
	if err == nil {
		var mode string
		mode, err = c.text("PRAGMA journal_mode = DELETE")
		if err == nil && mode != "delete" {
			err = fmt.Errorf("journal mode of %s stays %q", path, mode)
		}
	}
	return errors.Join(err, c.Close())
}
