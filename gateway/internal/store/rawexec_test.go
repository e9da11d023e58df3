package store

import (
	"bytes"
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bothConns calls fn with a connection of the driver and with one without.
func bothConns(t *testing.T, fn func(t *testing.T, c *conn)) {
	for name, open := range map[string]func(path string) (*conn, error){
		"driver": func(path string) (*conn, error) { return dial(path, "rwc") },
		"raw":    func(path string) (*conn, error) { return dialRaw(path, url.Values{"mode": {"rwc"}}) },
	} {
		t.Run(name, func(t *testing.T) {
			c, err := open(filepath.Join(t.TempDir(), "a.db"))
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Close()) }()
			fn(t, c)
		})
	}
}

func TestValuesComeBackAsTheyWere(t *testing.T) {
	long := strings.Repeat("é\x00x", keptBuffer)
	bothConns(t, func(t *testing.T, c *conn) {
		require.NoError(t, c.script("CREATE TABLE t (id INTEGER PRIMARY KEY, v)"))
		for _, k := range []struct{ in, out any }{
			{nil, nil}, {int64(-5), int64(-5)}, {7, int64(7)}, {true, int64(1)}, {false, int64(0)}, {1.5, 1.5},
			{"", ""}, {"tëxt", "tëxt"}, {long, long}, {"again", "again"},
			{[]byte(nil), nil}, {[]byte{}, []byte(nil)}, {[]byte{0, 1}, []byte{0, 1}}, {[]byte(long), []byte(long)},
			{json.RawMessage(nil), nil}, {json.RawMessage(`{}`), []byte(`{}`)},
		} {
			id, err := c.insert("INSERT INTO t (v) VALUES (?)", k.in)
			require.NoError(t, err)
			var got any
			require.NoError(t, c.one("SELECT v FROM t WHERE id = ?", []any{id}, func(r row) { got = r[0] }))
			require.Equal(t, k.out, got)
		}
		changed, err := c.exec("UPDATE t SET v = 0 WHERE id > ?", 4)
		require.NoError(t, err)
		require.EqualValues(t, 12, changed)
	})
}

// A file that is somebody else's, too, may keep its text otherwise.
func TestTextOfAnotherEncoding(t *testing.T) {
	bothConns(t, func(t *testing.T, c *conn) {
		require.NoError(t, c.script("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (v)"))
		_, err := c.insert("INSERT INTO t (v) VALUES (?)", "tëxt")
		require.NoError(t, err)
		_, err = c.insert("INSERT INTO t (v) VALUES (?)", []byte{0, 'x'})
		require.NoError(t, err)
		var got []any
		require.NoError(t, c.each("SELECT v FROM t ORDER BY rowid", nil, func(r row) error { got = append(got, r[0]); return nil }))
		require.Equal(t, []any{"tëxt", []byte{0, 'x'}}, got)
		mode, err := c.text("PRAGMA journal_mode = WAL")
		require.NoError(t, err)
		require.Equal(t, "wal", mode)
	})
}

// A statement keeps its parameters while another runs between its rows.
func TestStatementsNest(t *testing.T) {
	bothConns(t, func(t *testing.T, c *conn) {
		require.NoError(t, c.script("CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('aaa'), ('abc'), ('bbb'), ('acc')"))
		var got []string
		require.NoError(t, c.each("SELECT v FROM t WHERE v LIKE ? || '%'", []any{"a"}, func(r row) error {
			_, err := c.exec("UPDATE t SET v = v WHERE v = ?", strings.Repeat("z", 100))
			got = append(got, r.str(0))
			return err
		}))
		require.Equal(t, []string{"aaa", "abc", "acc"}, got)
		n := 0
		require.NoError(t, c.each("SELECT v FROM t", nil, func(row) error { n++; return errStop }))
		require.NoError(t, c.each("SELECT v FROM t", nil, func(row) error { n++; return nil }))
		require.Equal(t, 1+4, n)
	})
}

func TestErrorsOfStatements(t *testing.T) {
	bothConns(t, func(t *testing.T, c *conn) {
		require.NoError(t, c.script("CREATE TABLE t (id TEXT PRIMARY KEY) WITHOUT ROWID"))
		const insert = "INSERT INTO t (id) VALUES (?)"
		_, err := c.exec(insert, "a")
		require.NoError(t, err)
		_, err = c.exec(insert, "a")
		require.ErrorIs(t, asExists(err), ErrExists)
		require.ErrorContains(t, err, "UNIQUE constraint failed: t.id")
		_, err = c.exec(insert)
		require.Error(t, err, "a parameter is missing")
		_, err = c.exec(insert, struct{}{})
		require.Error(t, err)
		_, err = c.exec("INSERT INTO nowhere VALUES (?)", 1)
		require.ErrorContains(t, err, "no such table")
		require.Error(t, c.script("SELECT 1; nonsense"))
		require.NoError(t, c.broken)
		_, err = c.exec(insert, "b")
		require.NoError(t, err, "the statement works after its failures")
	})
}

// What a statement keeps for its next use is bounded.
func TestStatementsGiveLargeBuffersBack(t *testing.T) {
	c, err := dialRaw(filepath.Join(t.TempDir(), "a.db"), url.Values{"mode": {"rwc"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for _, size := range []int{1, keptBuffer - 1, keptBuffer, 1 << 20, 3} {
		n, err := c.number("SELECT length(?)", bytes.Repeat([]byte("a"), size))
		require.NoError(t, err)
		require.EqualValues(t, size, n)
		require.LessOrEqual(t, c.stmts["SELECT length(?)"].raw.size, keptBuffer)
	}
}
