package store

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// A wait this long for a lock means that a foreign program holds it.
const busyTimeout = 5 * time.Second

// openWriter opens or creates the database for writing and migrates it. It looks
// before it writes: a damaged or newer file stays as it is.
func openWriter(path, durability string, now time.Time) (_ *conn, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is not a regular file", path, ErrUnwritable)
	}
	create(path)
	if err := registerVFS(); err != nil {
		return nil, openError(path, err)
	}
	c, err := dialRaw(path, url.Values{"mode": {"rwc"}, "vfs": {logVFS}})
	if err != nil {
		return nil, openError(path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := setup(c); err != nil {
		return nil, openError(path, err)
	}
	version, err := checkSchema(c, path)
	if err != nil {
		return nil, err
	}
	if readOnly(c) {
		return nil, fmt.Errorf("%s: %w: the file is read-only; make it writable by this user", path, ErrUnwritable)
	}
	mode, err := c.text("PRAGMA journal_mode = WAL")
	if err != nil {
		return nil, openError(path, err)
	}
	if mode != "wal" {
		return nil, fmt.Errorf("%s: %w: the file system does not allow a write-ahead log (journal mode stays %q)", path, ErrUnwritable, mode)
	}
	if err := writerPragmas(c, durability); err != nil {
		return nil, openError(path, err)
	}
	if err := migrate(c, version, now); err != nil {
		return nil, openError(path, err)
	}
	// From now on the log is written by commits only. Of pages that leave the cache before
	// one, logFile would hold some back that a rollback has made worthless.
	if err := c.script("PRAGMA cache_spill = OFF"); err != nil {
		return nil, openError(path, err)
	}
	return c, nil
}

// create makes a database that is not there yet readable for its user alone: it
// will hold what workflows were given and made. SQLite would follow the umask; its
// companion files have the mode of the database. Nobody in this process has the file
// open by now, so that closing it drops no lock. SQLite reports what goes wrong.
func create(path string) {
	if f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_ = f.Close()
	}
}

// connPragmas set what every connection needs.
var connPragmas = fmt.Sprintf(`
	PRAGMA busy_timeout = %d;
	PRAGMA temp_store = MEMORY;
	PRAGMA foreign_keys = ON;
	PRAGMA trusted_schema = OFF;`, busyTimeout.Milliseconds())

func setup(c *conn) error {
	return c.script(connPragmas)
}

func writerPragmas(c *conn, durability string) error {
	return c.script(fmt.Sprintf(`
		PRAGMA synchronous = %s;
		PRAGMA wal_autocheckpoint = 0;
		PRAGMA cache_size = -65536;`, durability)) // both words are SQLite's own
}

// openReader opens a connection that can be copied from: the driver knows how.
func openReader(path string) (*conn, error) {
	c, err := dial(path, "rw")
	if err != nil {
		return nil, err
	}
	return onlyReads(c)
}

// openRawReader opens a connection for View.
func openRawReader(path string) (*conn, error) {
	c, err := dialRaw(path, url.Values{"mode": {"rw"}})
	if err != nil {
		return nil, err
	}
	return onlyReads(c)
}

func onlyReads(c *conn) (*conn, error) {
	err := setup(c)
	if err == nil {
		err = c.script("PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -8192; PRAGMA query_only = ON;")
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// readOnly reports whether SQLite could open the file for reading only, which it
// does without complaint.
func readOnly(c *conn) bool { return c.raw.readOnly() }
