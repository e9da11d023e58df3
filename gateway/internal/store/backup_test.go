package store

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackupWhileWriting(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = s.Update(context.Background(), func(tx *Tx) error {
				for i := range 50 {
					if err := tx.Append("r", pushed(i)); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}()
	require.Eventually(t, func() bool { return s.StateVersion() > 2000 }, time.Minute, time.Millisecond)
	dest := filepath.Join(t.TempDir(), "backup.db")
	calls := 0
	require.NoError(t, s.Backup(context.Background(), dest, func(done, total int) {
		calls++
		require.LessOrEqual(t, done, total)
	}))
	close(stop)
	wg.Wait()
	require.Positive(t, calls)
	entries, err := os.ReadDir(filepath.Dir(dest))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing but the backup")
	info, err := os.Stat(dest)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())

	copied := openAt(t, dest)
	view(t, copied, func(v *View) {
		checkLog(t, v, "r")
		b, err := v.EventBounds("r")
		require.NoError(t, err)
		require.Zero(t, b.Count%50, "a unit is whole or absent")
		require.Equal(t, copied.StateVersion(), b.Last)
	})
	err = s.Backup(context.Background(), dest, nil)
	require.ErrorIs(t, err, ErrOwned)
}

func TestBackupRefusals(t *testing.T) {
	s := open(t)
	require.ErrorContains(t, s.Backup(context.Background(), s.Path(), nil), "itself")
	ctx, cancel := context.WithCancel(context.Background())
	dest := filepath.Join(t.TempDir(), "b.db")
	cancel()
	require.ErrorIs(t, s.Backup(ctx, dest, nil), context.Canceled)
	require.ErrorIs(t, s.Backup(context.Background(), filepath.Join(t.TempDir(), "no", "b.db"), nil), ErrUnwritable)
	require.NoFileExists(t, dest)
}

func TestRestore(t *testing.T) {
	ctx := context.Background()
	s := open(t)
	withRun(t, s, "r")
	withRun(t, s, "empty")
	update(t, s, func(tx *Tx) error { return tx.Append("r", pushed(1)) })
	backup := filepath.Join(t.TempDir(), "backup.db")
	require.NoError(t, s.Backup(ctx, backup, nil))
	update(t, s, func(tx *Tx) error { return tx.Append("r", pushed(2)) })
	require.ErrorIs(t, Restore(ctx, backup, s.Path(), time.Now()), ErrOwned)
	require.NoError(t, s.Close())

	before, err := os.ReadFile(backup)
	require.NoError(t, err)
	require.NoError(t, Restore(ctx, backup, s.Path(), time.Now()))
	after, err := os.ReadFile(backup)
	require.NoError(t, err)
	require.Equal(t, before, after)
	s = openAt(t, s.Path())
	checkRaised(t, s, "restore", 2)
	require.NoError(t, s.Close())

	aside := openAt(t, s.Path()+asideSuffix)
	view(t, aside, func(v *View) {
		b, err := v.EventBounds("r")
		require.NoError(t, err)
		require.EqualValues(t, 2, b.Last)
	})
}

func TestRestoreToNewPlaceAndOverDamage(t *testing.T) {
	ctx := context.Background()
	s := open(t)
	withRun(t, s, "r")
	withRun(t, s, "empty")
	update(t, s, func(tx *Tx) error { return tx.Append("r", pushed(1)) })
	dir := t.TempDir()
	backup := filepath.Join(dir, "backup.db")
	require.NoError(t, s.Backup(ctx, backup, nil))

	fresh := filepath.Join(dir, "new", "gateway.db")
	require.NoError(t, Restore(ctx, backup, fresh, time.Now()))
	checkRaised(t, openAt(t, fresh), "restore", 2)

	damaged := filepath.Join(dir, "damaged.db")
	require.NoError(t, os.WriteFile(damaged, []byte("not a database, and long enough to be seen as one ......................................................"), 0o600))
	require.NoError(t, os.WriteFile(damaged+"-wal", []byte("old log"), 0o600))
	require.NoError(t, Restore(ctx, backup, damaged, time.Now()))
	require.NoFileExists(t, damaged+"-wal")
	require.FileExists(t, damaged+asideSuffix)
	checkRaised(t, openAt(t, damaged), "restore", 2)
}

func TestRestoreRefusesBadSources(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	dest := filepath.Join(dir, "dest.db")
	s := openAt(t, dest)
	withRun(t, s, "kept")
	require.NoError(t, s.Close())

	junk := filepath.Join(dir, "junk")
	require.NoError(t, os.WriteFile(junk, make([]byte, 5000), 0o600))
	foreign := filepath.Join(dir, "foreign")
	c, err := dial(foreign, "rwc")
	require.NoError(t, err)
	require.NoError(t, c.script("CREATE TABLE theirs (x)"))
	require.NoError(t, c.Close())

	require.ErrorIs(t, Restore(ctx, junk, dest, time.Now()), ErrCorrupt)
	require.ErrorIs(t, Restore(ctx, foreign, dest, time.Now()), ErrNoGateway)
	require.ErrorIs(t, Restore(ctx, filepath.Join(dir, "none"), dest, time.Now()), os.ErrNotExist)
	require.ErrorContains(t, Restore(ctx, dest, dest, time.Now()), "same file")
	s = openAt(t, dest)
	view(t, s, func(v *View) {
		_, err := v.Run("kept")
		require.NoError(t, err)
	})
}
