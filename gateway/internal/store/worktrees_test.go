package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWorkTreesOutliveTheirRun(t *testing.T) {
	s := open(t)
	id := withRun(t, s, "run-1")
	tree := &WorkTree{Root: "/srv/app", Keep: "k", Revision: "c0", Base: "t0"}
	change := AttemptTree{Root: "/srv/app", Before: "t0"}
	update(t, s, func(tx *Tx) error {
		run, err := tx.Run(id)
		require.NoError(t, err)
		require.Nil(t, run.WorkTree)
		run.WorkTree = tree
		require.NoError(t, tx.UpdateRun(run))
		require.NoError(t, tx.UpsertAttempt(id, &Attempt{NodeID: "a", Attempt: 1, State: "in-progress", StartedAtMs: 1}))
		require.NoError(t, tx.SetAttemptTree(id, "a", 0, 1, change))
		require.NoError(t, tx.SetAttemptTree(id, "nobody", 0, 1, change))
		require.NoError(t, tx.KeepTree(id, "/srv/app", "k"))
		return tx.KeepTree(id, "/srv/app", "k")
	})
	update(t, s, func(tx *Tx) error { // a later write of the row says nothing of the tree
		run, err := tx.Run(id) // from memory
		require.NoError(t, err)
		require.Equal(t, tree, run.WorkTree)
		run.Status = "finished"
		require.NoError(t, tx.UpdateRun(run))
		return tx.UpsertAttempt(id, &Attempt{NodeID: "a", Attempt: 1, State: "finished", StartedAtMs: 1})
	})
	view(t, s, func(v *View) {
		run, err := v.Run(id)
		require.NoError(t, err)
		require.Equal(t, tree, run.WorkTree)
		attempts, err := v.AttemptsOf(id)
		require.NoError(t, err)
		require.Equal(t, &change, attempts[0].Tree)
		stale, err := v.StaleTrees(0, 10)
		require.NoError(t, err)
		require.Empty(t, stale)
	})
	update(t, s, func(tx *Tx) error { return tx.DeleteRun(id) })
	var stale []*StaleTree
	view(t, s, func(v *View) {
		var err error
		stale, err = v.StaleTrees(0, 10)
		require.NoError(t, err)
		require.Equal(t, []*StaleTree{{ID: stale[0].ID, Root: "/srv/app", Keep: "k"}}, stale)
		later, err := v.StaleTrees(stale[0].ID, 10)
		require.NoError(t, err)
		require.Empty(t, later)
	})
	update(t, s, func(tx *Tx) error { return tx.DropStaleTree(stale[0].ID) })
	view(t, s, func(v *View) {
		stale, err := v.StaleTrees(0, 10)
		require.NoError(t, err)
		require.Empty(t, stale)
	})
}
