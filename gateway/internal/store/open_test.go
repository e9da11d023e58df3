package store

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func tryOpen(path string) error {
	s, err := Open(context.Background(), Options{Path: path})
	if err == nil {
		err = s.Close()
	}
	return err
}

func TestOpenCreatesFileAndFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data?#%25 x", "gateway.db")
	s := openAt(t, path)
	info, err := os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	require.EqualValues(t, 0o700, info.Mode().Perm())
	require.FileExists(t, path)
	withRun(t, s, "r")
}

// What workflows were given and made is nobody else's business, whatever the umask.
func TestDatabaseIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such modes there")
	}
	path := filepath.Join(t.TempDir(), "gateway.db")
	s := openAt(t, path)
	withRun(t, s, "r")
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), suffix)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	junk := filepath.Join(dir, "junk.db")
	require.NoError(t, os.WriteFile(junk, bytes.Repeat([]byte("this is no database "), 500), 0o600))
	folder := filepath.Join(dir, "folder.db")
	require.NoError(t, os.Mkdir(folder, 0o700))

	for _, c := range []struct {
		name, path string
		want       error
		text       string
	}{
		{"no database", junk, ErrCorrupt, junk},
		{"folder is a file", filepath.Join(file, "g.db"), ErrUnwritable, "folder"},
		{"two folders missing", filepath.Join(dir, "a", "b", "g.db"), ErrUnwritable, filepath.Join(dir, "a", "b")},
		{"is a folder", folder, ErrUnwritable, "not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := tryOpen(c.path)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.text)
		})
	}
	b, err := os.ReadFile(junk)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte("this is no database "), 500), b)
	require.ErrorContains(t, tryOpen(""), "no path")
	_, err = Open(context.Background(), Options{Path: "x", Durability: "maybe"})
	require.ErrorContains(t, err, `"full" and "normal"`)
	_, err = Open(context.Background(), Options{Path: "x", Checkpoint: "never"})
	require.ErrorContains(t, err, `"auto" and "external"`)
}

func TestOpenDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	require.NoError(t, tryOpen(path))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 100; i < 4096; i++ { // the page of the schema, behind the file header
		b[i] = 0xa5
	}
	require.NoError(t, os.WriteFile(path, b, 0o600))
	require.ErrorIs(t, tryOpen(path), ErrCorrupt)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, b, after)
}

func TestOpenNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	s := openAt(t, path)
	update(t, s, func(tx *Tx) error {
		_, err := tx.write("INSERT INTO gateway_schema VALUES (99, 1)")
		return err
	})
	require.NoError(t, s.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	err = tryOpen(path)
	require.ErrorIs(t, err, ErrNewerSchema)
	require.ErrorContains(t, err, "schema 99")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestOpenLeavesForeignTablesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared.db")
	c, err := dial(path, "rwc")
	require.NoError(t, err)
	require.NoError(t, c.script("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (42); PRAGMA user_version = 7"))
	require.NoError(t, c.Close())

	s := openAt(t, path)
	view(t, s, func(v *View) {
		n, err := v.c.number("SELECT x FROM theirs")
		require.NoError(t, err)
		require.EqualValues(t, 42, n)
		n, err = v.c.number("PRAGMA user_version")
		require.NoError(t, err)
		require.EqualValues(t, 7, n)
		n, err = v.c.number("SELECT max(version) FROM gateway_schema")
		require.NoError(t, err)
		require.EqualValues(t, newestSchema(t), n)
	})
}

func TestSecondOpenOfOneFile(t *testing.T) {
	s := open(t, func(o *Options) { o.Owner = "first" })
	link := filepath.Join(t.TempDir(), "link.db")
	require.NoError(t, os.Symlink(s.Path(), link))
	for _, path := range []string{s.Path(), link} {
		err := tryOpen(path)
		require.ErrorIs(t, err, ErrOwned)
		require.ErrorContains(t, err, "first, process")
	}
	require.NoError(t, s.Close())
	require.NoError(t, tryOpen(link))
}

func TestPragmas(t *testing.T) {
	for _, c := range []struct {
		durability string
		want       int64
	}{{"", 2}, {DurabilityFull, 2}, {DurabilityNormal, 1}} {
		s := open(t, func(o *Options) { o.Durability = c.durability })
		update(t, s, func(tx *Tx) error {
			for pragma, want := range map[string]int64{
				"PRAGMA synchronous": c.want, "PRAGMA wal_autocheckpoint": 0, "PRAGMA foreign_keys": 1,
			} {
				got, err := tx.c.number(pragma)
				require.NoError(t, err)
				require.Equal(t, want, got, pragma)
			}
			return nil
		})
	}
}

func TestAdoptRaisesNumbers(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	withRun(t, s, "empty")
	update(t, s, func(tx *Tx) error { return tx.Append("r", pushed(1)) })
	require.NoError(t, s.Close())

	s = openAt(t, s.Path(), func(o *Options) { o.Adopt = true })
	checkRaised(t, s, "adopt", 2)
}

// checkRaised expects run r with one event of seq 1 and state version 1, raised.
func checkRaised(t *testing.T, s *Store, action string, events int64) {
	t.Helper()
	require.EqualValues(t, 1+raiseBy, s.StateVersion())
	var ev, first *Event
	update(t, s, func(tx *Tx) error {
		ev, first = pushed(2), pushed(1)
		if err := tx.Append("r", ev); err != nil {
			return err
		}
		return tx.Append("empty", first)
	})
	require.EqualValues(t, 2+raiseBy, ev.Seq)
	require.EqualValues(t, 1, ev.LogSeq)
	require.EqualValues(t, 1+raiseBy, first.Seq)
	require.EqualValues(t, 2+raiseBy, ev.StateVersion)
	view(t, s, func(v *View) {
		b, err := v.EventBounds("r")
		require.NoError(t, err)
		require.Equal(t, EventBounds{First: 1, Last: 2 + raiseBy, Next: 3 + raiseBy, Count: events, NextLog: events}, b)
		entries, err := v.Audit(AuditFilter{Action: action})
		require.NoError(t, err)
		require.Len(t, entries, 1)
		start, err := v.WindowStart("r", 1)
		require.NoError(t, err)
		require.EqualValues(t, 2+raiseBy, start)
		start, err = v.WindowStart("r", 2)
		require.NoError(t, err)
		require.EqualValues(t, 1, start)
		got, err := s.EventsAfterSeq(t.Context(), "r", 1, 10)
		require.NoError(t, err)
		require.Equal(t, 1, got.Len())
	})
}
