package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A rollback leaves nothing behind that would be written later, over what somebody else,
// such as a replication, has committed since.
func TestRollbackLeavesNothingInTheLog(t *testing.T) {
	path := t.TempDir() + "/x.db"
	writer, err := openWriter(path, "FULL", time.Now())
	require.NoError(t, err)
	defer writer.Close()
	require.NoError(t, writer.script("PRAGMA cache_size = 10; CREATE TABLE big (x); CREATE TABLE small (x)"))
	other, err := dial(path, "rw")
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.script("PRAGMA wal_checkpoint(TRUNCATE)"))
	require.NoError(t, writer.script("BEGIN IMMEDIATE; INSERT INTO big VALUES (randomblob(120000)); ROLLBACK"))
	for range 60 {
		require.NoError(t, other.script("INSERT INTO small VALUES (randomblob(3000))"))
	}
	for _, c := range []*conn{writer, other} {
		n, err := c.number("SELECT count(*) FROM small")
		require.NoError(t, err)
		require.EqualValues(t, 60, n)
		sound, err := c.text("PRAGMA integrity_check")
		require.NoError(t, err)
		require.Equal(t, "ok", sound)
	}
}
