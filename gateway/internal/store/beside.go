package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// besideMark goes between the stem of a database file and its extension.
const besideMark = ".gateway"

// Beside returns the name of the database that the gateway keeps beside one that is
// another program's: smithers.gateway.db beside smithers.db. Two names of one file
// have one beside it.
func Beside(path string) string {
	if real, err := realPath(path); err == nil {
		path = real
	}
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + besideMark + ext
}

// HasGateway reports whether the file at path is a database with the gateway's tables
// in it. A missing or empty file has none.
func HasGateway(path string) (bool, error) {
	if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return false, nil
	}
	c, err := openReader(path)
	if err != nil {
		return false, openError(path, err)
	}
	version, err := schemaVersion(c)
	if err != nil {
		err = openError(path, err)
	}
	return version > 0, errors.Join(err, c.Close())
}

// MoveBeside copies the gateway's tables of the database at from to the database to,
// which must not exist, while no gateway runs on from (else ErrOwned). Tables of others
// are not copied. Nothing is changed at from: what is there is what the gateway had
// when it left.
func MoveBeside(ctx context.Context, from, to string) error {
	from, err := realPath(from)
	if err != nil {
		return err
	}
	if to, err = realPath(to); err != nil {
		return err
	}
	lock, err := lockDatabase(from)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if _, err := os.Stat(to); err == nil {
		return fmt.Errorf("move the gateway's tables to %s: the file exists", to)
	}
	c, err := openReader(from)
	if err != nil {
		return openError(from, err)
	}
	defer func() { _ = c.Close() }()
	if _, err := checkSchema(c, from); err != nil {
		return err
	}
	temp, err := copyDatabase(ctx, c, to, nil, dropForeign)
	if err != nil {
		return fmt.Errorf("move the gateway's tables to %s: %w", to, err)
	}
	if err := os.Rename(temp, to); err != nil {
		return errors.Join(err, removeDatabase(temp))
	}
	return syncFolder(filepath.Dir(to))
}

// dropForeign removes everything that is not the gateway's from a copy.
func dropForeign(c *conn) error {
	if err := c.script("PRAGMA foreign_keys = OFF"); err != nil {
		return err
	}
	for _, kind := range []string{"trigger", "view", "table"} {
		var names []string
		err := c.each(`SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
			AND tbl_name NOT LIKE 'gateway\_%' ESCAPE '\'`, []any{kind},
			func(r row) error { names = append(names, r.str(0)); return nil })
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := c.script("DROP " + strings.ToUpper(kind) + ` IF EXISTS "` + strings.ReplaceAll(name, `"`, `""`) + `"`); err != nil {
				return err
			}
		}
	}
	_, err := c.exec("DELETE FROM gateway_meta WHERE key = 'owner'")
	return errors.Join(err, c.script("VACUUM"))
}

// CopyForeign copies a database of another program to dest, which it replaces, while
// that program works on it. progress is as for Backup.
func CopyForeign(ctx context.Context, path, dest string, progress func(done, total int)) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	c, err := openReader(path)
	if err != nil {
		return openError(path, err)
	}
	defer func() { _ = c.Close() }()
	temp, err := copyDatabase(ctx, c, dest, progress, func(*conn) error { return nil })
	if err != nil {
		return fmt.Errorf("backup of %s: %w", path, openError(path, err))
	}
	if err := os.Rename(temp, dest); err != nil {
		return errors.Join(fmt.Errorf("backup: %w", err), removeDatabase(temp))
	}
	return syncFolder(filepath.Dir(dest))
}
