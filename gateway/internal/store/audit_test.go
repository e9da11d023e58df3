package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Entries go in the order in which they were made, whatever a wrong clock said meanwhile.
func TestDeleteAudit(t *testing.T) {
	now := time.UnixMilli(1_000)
	s := open(t, func(o *Options) { o.Now = func() time.Time { return now } })
	update(t, s, func(tx *Tx) error {
		for _, at := range []int64{10, 9_000, 20, 30, 500, 40} {
			if err := tx.InsertAudit(&AuditEntry{AtMs: at, Action: "launch"}); err != nil {
				return err
			}
		}
		return nil
	})
	removed := func(before int64, limit int) (n int64) {
		update(t, s, func(tx *Tx) (err error) {
			n, err = tx.DeleteAudit(before, limit)
			return err
		})
		return n
	}
	require.Zero(t, removed(10, 100))
	require.EqualValues(t, 2, removed(100, 2))
	require.EqualValues(t, 1, removed(100, 2), "the next one is to stay")
	require.Zero(t, removed(100, 2))
	view(t, s, func(v *View) {
		left, err := v.Audit(AuditFilter{})
		require.NoError(t, err)
		var times []int64
		for _, e := range left {
			times = append(times, e.AtMs)
		}
		require.Equal(t, []int64{40, 500, 9_000}, times)
	})
	require.EqualValues(t, 2, removed(600, 100))
	require.Zero(t, removed(600, 100))
}
