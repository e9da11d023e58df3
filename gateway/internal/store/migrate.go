package store

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations returns the SQL texts in order; the first brings schema version 1.
func migrations() ([]string, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql") // sorted by name
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(names))
	for i, name := range names {
		b, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts[i] = string(b)
	}
	return texts, nil
}

// schemaVersion returns the version of the gateway's tables in the file, 0 when it
// has none. It writes nothing. The version is kept in a table and not in
// user_version, because the file may belong to somebody else as well.
func schemaVersion(c *conn) (int, error) {
	n, err := c.number("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'gateway_schema'")
	if err != nil || n == 0 {
		return 0, err
	}
	v, err := c.number("SELECT max(version) FROM gateway_schema")
	return int(v), err
}

// checkSchema refuses a file that this program is too old for.
func checkSchema(c *conn, path string) (version int, err error) {
	texts, err := migrations()
	if err != nil {
		return 0, err
	}
	version, err = schemaVersion(c)
	if err != nil {
		return 0, openError(path, err)
	}
	if version > len(texts) {
		return version, fmt.Errorf("%s: %w: it has schema %d, this program knows up to %d; upgrade the program or restore an older backup",
			path, ErrNewerSchema, version, len(texts))
	}
	return version, nil
}

// migrate brings the gateway's tables to the newest version, each step in its own
// transaction. Tables of others are not looked at.
func migrate(c *conn, from int, now time.Time) error {
	texts, err := migrations()
	if err != nil {
		return err
	}
	for i := from; i < len(texts); i++ {
		if err := migrateStep(c, i+1, texts[i], now); err != nil {
			return fmt.Errorf("migrate to schema %d: %w", i+1, err)
		}
	}
	return nil
}

func migrateStep(c *conn, version int, text string, now time.Time) error {
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := c.script(`CREATE TABLE IF NOT EXISTS gateway_schema (
		version    INTEGER PRIMARY KEY,
		applied_at INTEGER NOT NULL
	)`)
	if err == nil {
		err = c.script(text)
	}
	if err == nil {
		_, err = c.exec("INSERT INTO gateway_schema (version, applied_at) VALUES (?, ?)", version, now.UnixMilli())
	}
	if err == nil {
		err = c.script("COMMIT")
	}
	if err != nil {
		return errors.Join(err, ignoreNoTransaction(c.script("ROLLBACK")))
	}
	return nil
}

// ignoreNoTransaction drops the error of a ROLLBACK that SQLite did by itself.
func ignoreNoTransaction(err error) error {
	if code(err) == codeError {
		return nil
	}
	return err
}

const sqlSetMeta = `INSERT INTO gateway_meta (key, value) VALUES (?, ?)
	ON CONFLICT (key) DO UPDATE SET value = excluded.value`

func setMeta(c *conn, key, value string) error {
	_, err := c.exec(sqlSetMeta, key, value)
	return err
}

// Keys of gateway_meta besides "owner".
const (
	metaStateVersion = "state_version"
	metaProbe        = "probe"
)

func readStateVersion(c *conn) (int64, error) {
	t, err := c.text("SELECT value FROM gateway_meta WHERE key = 'state_version'")
	if err != nil || t == "" {
		return 0, err
	}
	return strconv.ParseInt(t, 10, 64)
}
