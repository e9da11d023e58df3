package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBeside(t *testing.T) {
	for path, want := range map[string]string{"/d/smithers.db": "/d/smithers.gateway.db", "a": "a.gateway", "x.y.sqlite": "x.y.gateway.sqlite"} {
		require.Equal(t, want, Beside(path))
	}
}

// foreign makes a database that is no gateway's, or adds to one.
func foreign(t *testing.T, path string) {
	t.Helper()
	c, err := dial(path, "rwc")
	require.NoError(t, err)
	require.NoError(t, setup(c))
	require.NoError(t, c.script(`PRAGMA journal_mode = WAL; CREATE TABLE "_smithers ""runs" (id INTEGER PRIMARY KEY, t TEXT);
		CREATE TABLE other (r REFERENCES "_smithers ""runs"(id)); CREATE INDEX i ON other(r); CREATE VIEW v AS SELECT * FROM other;
		CREATE TRIGGER tr AFTER INSERT ON other BEGIN SELECT 1; END;
		INSERT INTO "_smithers ""runs" VALUES (1, 'one'); INSERT INTO other VALUES (1);`))
	require.NoError(t, c.Close())
}

func tables(t *testing.T, path string) (names []string) {
	t.Helper()
	c, err := openReader(path)
	require.NoError(t, err)
	require.NoError(t, c.each("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' AND name NOT LIKE 'gateway%' ORDER BY name", nil,
		func(r row) error { names = append(names, r.str(0)); return nil }))
	require.NoError(t, c.Close())
	return names
}

func TestMoveBeside(t *testing.T) {
	from := filepath.Join(t.TempDir(), "smithers.db")
	to := Beside(from)
	has := func(path string) bool {
		t.Helper()
		is, err := HasGateway(path)
		require.NoError(t, err)
		return is
	}
	require.False(t, has(from), "missing")
	foreign(t, from)
	require.False(t, has(from))

	s := openAt(t, from)
	require.ErrorIs(t, MoveBeside(t.Context(), from, to), ErrOwned)
	want := s.StateVersion()
	require.NoError(t, s.Update(t.Context(), func(tx *Tx) error {
		return tx.InsertAudit(&AuditEntry{AtMs: time.Now().UnixMilli(), Action: "here", Actor: "me"})
	}))
	require.NoError(t, s.Close())
	require.True(t, has(from))
	before := tables(t, from)

	require.NoError(t, MoveBeside(t.Context(), from, to))
	require.Equal(t, before, tables(t, from), "the other program's database stays as it is")
	require.Empty(t, tables(t, to), "only the gateway's tables are copied")
	require.True(t, has(to))
	require.ErrorContains(t, MoveBeside(t.Context(), from, to), "the file exists")
	info, err := os.Stat(to)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	moved := openAt(t, to)
	require.GreaterOrEqual(t, moved.StateVersion(), want)
	require.NoError(t, moved.Close())
	c, err := openReader(to)
	require.NoError(t, err)
	n, err := c.number("SELECT count(*) FROM gateway_audit WHERE action = 'here'")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.NoError(t, c.Close())
}

func TestForeignCopyAndReplace(t *testing.T) {
	dir := t.TempDir()
	live, copied := filepath.Join(dir, "live.db"), filepath.Join(dir, "copy.db")
	foreign(t, live)
	c, err := dial(live, "rw") // the other program is at work
	require.NoError(t, err)
	require.NoError(t, CopyForeign(t.Context(), live, copied, nil))
	require.NoError(t, c.script("INSERT INTO other VALUES (NULL)"))
	require.NoError(t, c.Close())
	require.Equal(t, tables(t, live), tables(t, copied))
	require.NoFileExists(t, copied+"-wal")

	require.NoError(t, ReplaceForeign(t.Context(), copied, live))
	r, err := openReader(live)
	require.NoError(t, err)
	n, err := r.number("SELECT count(*) FROM other")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.NoError(t, r.Close())
	require.FileExists(t, live+asideSuffix)

	require.NoError(t, os.WriteFile(copied, []byte("no database at all, but long enough to be looked at as one, one hundred bytes and more of it ..."), 0o600))
	require.ErrorIs(t, ReplaceForeign(t.Context(), copied, live), ErrCorrupt)
	require.Error(t, CopyForeign(t.Context(), filepath.Join(dir, "gone.db"), copied, nil))
}
