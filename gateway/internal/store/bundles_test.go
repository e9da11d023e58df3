package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBundles(t *testing.T) {
	s := open(t)
	b := &Bundle{Hash: "used", Path: "m.mjs", Source: []byte("src"), SourceMap: []byte("map"), CreatedAtMs: 3}
	update(t, s, func(tx *Tx) error {
		r := aRun("r")
		r.Version = "used"
		asleep := aRun("asleep")
		asleep.Version, asleep.Status = "needed", "waiting-timer"
		ended := aRun("ended")
		ended.Version, ended.Status = "old", "finished"
		for _, err := range []error{
			tx.InsertRun(r), tx.InsertRun(asleep), tx.InsertRun(ended), tx.PutBundle(&Bundle{Hash: "needed"}), tx.PutBundle(b), tx.PutBundle(&Bundle{Hash: "used", Source: []byte("other")}),
			tx.PutBundle(&Bundle{Hash: "old"}), tx.PutBundle(&Bundle{Hash: "current"}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	update(t, s, func(tx *Tx) error {
		n, err := tx.DropUnusedBundles("current")
		require.EqualValues(t, 1, n)
		return err
	})
	view(t, s, func(v *View) {
		got, err := v.Bundle("used")
		require.NoError(t, err)
		same(t, b, got)
		for _, hash := range []string{"current", "needed"} {
			_, err = v.Bundle(hash)
			require.NoError(t, err)
		}
		_, err = v.Bundle("old")
		require.ErrorIs(t, err, ErrNotFound)
	})
}
