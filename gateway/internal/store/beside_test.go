package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBeside(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for name, want := range map[string]string{"smithers.db": "smithers.gateway.db", "a": "a.gateway", "x.y.sqlite": "x.y.gateway.sqlite"} {
		require.Equal(t, filepath.Join(dir, want), Beside(filepath.Join(dir, name)))
	}
	foreign(t, filepath.Join(dir, "smithers.db"))
	link := filepath.Join(t.TempDir(), "link.db")
	require.NoError(t, os.Symlink(filepath.Join(dir, "smithers.db"), link))
	require.Equal(t, filepath.Join(dir, "smithers.gateway.db"), Beside(link))
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

func TestRestorePair(t *testing.T) {
	dir := t.TempDir()
	live, copied := filepath.Join(dir, "live.db"), filepath.Join(dir, "copy.db")
	foreign(t, live)
	s := openAt(t, Beside(live))
	c, err := dial(live, "rw") // the other program is at work
	require.NoError(t, err)
	require.NoError(t, s.Backup(t.Context(), Beside(copied), nil))
	require.NoError(t, CopyForeign(t.Context(), live, copied, nil))
	require.Equal(t, tables(t, live), tables(t, copied))
	require.NoFileExists(t, copied+"-wal")
	require.NoError(t, c.script("INSERT INTO other VALUES (NULL)"))
	require.NoError(t, c.Close())

	require.ErrorIs(t, RestorePair(t.Context(), copied, live, time.Now()), ErrOwned)
	before := s.StateVersion()
	require.NoError(t, s.Close())
	rows := func() (n int64) {
		t.Helper()
		r, err := openReader(live)
		require.NoError(t, err)
		n, err = r.number("SELECT count(*) FROM other")
		require.NoError(t, err)
		require.NoError(t, r.Close())
		return n
	}
	require.EqualValues(t, 2, rows(), "a refused restore changes nothing")

	require.NoError(t, RestorePair(t.Context(), copied, live, time.Now()))
	require.EqualValues(t, 1, rows())
	require.FileExists(t, live+asideSuffix)
	require.FileExists(t, Beside(live)+asideSuffix)
	s = openAt(t, Beside(live))
	require.GreaterOrEqual(t, s.StateVersion(), before+1_000_000)
	require.NoError(t, s.Close())

	require.NoError(t, os.WriteFile(copied, []byte("no database at all, but long enough to be looked at as one, one hundred bytes and more of it ..."), 0o600))
	require.ErrorIs(t, RestorePair(t.Context(), copied, live, time.Now()), ErrCorrupt)
	left, err := filepath.Glob(filepath.Join(dir, ".*.partial"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, os.Remove(copied))
	require.NoError(t, RestorePair(t.Context(), copied, live, time.Now()), "the other program had no database yet")
	require.Error(t, CopyForeign(t.Context(), filepath.Join(dir, "gone.db"), copied, nil))
}
