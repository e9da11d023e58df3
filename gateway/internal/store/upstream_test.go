package store

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func withUpstreamRun(t *testing.T, s *Store, id string, change func(*Run, *UpstreamRun)) {
	r, u := aRun(id), &UpstreamRun{Launch: json.RawMessage(`{"workflow":"w"}`)}
	if change != nil {
		change(r, u)
	}
	update(t, s, func(tx *Tx) error { return tx.InsertUpstreamRun(r, u) })
}

// Runs of an upstream are listed and streamed like others, but neither recovery nor
// the retention of our own touches them.
func TestUpstreamRunsAreNotTheEngines(t *testing.T) {
	s := open(t)
	withRun(t, s, "own")
	withUpstreamRun(t, s, "theirs", nil)
	withUpstreamRun(t, s, "ended", func(r *Run, u *UpstreamRun) {
		r.Status, r.FinishedAtMs, u.Seen, u.Launch = "finished", 5, true, nil
	})
	view(t, s, func(v *View) {
		running, err := v.RunningRuns()
		require.NoError(t, err)
		require.Len(t, running, 1)
		require.Equal(t, "own", running[0].RunID)
		ended, err := v.EndedBefore(2000, 10)
		require.NoError(t, err)
		require.Empty(t, ended)
		ended, err = v.EndedUpstreamBefore(1000, "", 10)
		require.NoError(t, err)
		require.Equal(t, []string{"ended"}, ended)
		for after, ms := range map[string]int64{"ended": 1000, "": 5} {
			ended, err = v.EndedUpstreamBefore(ms, after, 10)
			require.NoError(t, err)
			require.Empty(t, ended)
		}
		all, err := v.Runs(RunFilter{})
		require.NoError(t, err)
		require.Len(t, all, 3)
		own, err := v.Runs(RunFilter{Own: true})
		require.NoError(t, err)
		require.Len(t, own, 2, "one that the upstream has not seen is listed by nobody else")
		open, err := v.OpenUpstreamRuns("", 10)
		require.NoError(t, err)
		require.Len(t, open, 1)
		require.Equal(t, "theirs", open[0].RunID)
		open, err = v.OpenUpstreamRuns("theirs", 10)
		require.NoError(t, err)
		require.Empty(t, open)
		_, err = v.UpstreamRun("own")
		require.ErrorIs(t, err, ErrNotFound)
		run, err := v.Run("theirs")
		require.NoError(t, err)
		require.True(t, run.Upstream)
	})
	fails(t, s, ErrExists, func(tx *Tx) error { return tx.InsertUpstreamRun(aRun("own"), &UpstreamRun{}) })
}

// The position commits with the events or not at all.
func TestUpstreamPosition(t *testing.T) {
	s := open(t)
	withUpstreamRun(t, s, "r", nil)
	fails(t, s, ErrNotFound, func(tx *Tx) error {
		if err := tx.Append("r", pushed(1)); err != nil {
			return err
		}
		if err := tx.UpdateUpstreamRun(&UpstreamRun{RunID: "r", NextSeq: 9}); err != nil {
			return err
		}
		return ErrNotFound
	})
	view(t, s, func(v *View) {
		u, err := v.UpstreamRun("r")
		require.NoError(t, err)
		require.Equal(t, &UpstreamRun{RunID: "r", Status: "running", Launch: json.RawMessage(`{"workflow":"w"}`)}, u)
	})
	want := &UpstreamRun{RunID: "r", Status: "running", NextSeq: 4, Last: "x", Seen: true}
	update(t, s, func(tx *Tx) error { return tx.UpdateUpstreamRun(want) })
	view(t, s, func(v *View) {
		u, err := v.UpstreamRun("r")
		require.NoError(t, err)
		require.Equal(t, want, u)
	})
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.UpdateUpstreamRun(&UpstreamRun{RunID: "none"}) })
}

// Only a run that nobody can have heard of is removed.
func TestDeleteUnseenRun(t *testing.T) {
	s := open(t)
	for _, id := range []string{"refused", "told"} {
		withUpstreamRun(t, s, id, nil)
	}
	withUpstreamRun(t, s, "seen", func(_ *Run, u *UpstreamRun) { u.Seen = true })
	withRun(t, s, "own")
	update(t, s, func(tx *Tx) error { return tx.Append("told", pushed(1)) })
	update(t, s, func(tx *Tx) error { return tx.DeleteUnseenRun("refused") })
	for _, id := range []string{"refused", "told", "seen", "own"} {
		fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.DeleteUnseenRun(id) })
	}
}

func TestCopiesOfApprovals(t *testing.T) {
	s := open(t)
	withUpstreamRun(t, s, "r", nil)
	withRun(t, s, "own")
	gate := &Approval{NodeID: "gate", Status: "requested", Mode: "decision", Title: "T", RequestedAtMs: 1}
	again := *gate
	again.Title = "again"
	update(t, s, func(tx *Tx) error { return tx.PutApproval("r", gate) })
	update(t, s, func(tx *Tx) error { return tx.PutApproval("r", &again) })
	update(t, s, func(tx *Tx) error { return tx.InsertApproval("own", gate) })
	pending := func(f ApprovalFilter) (ids []string) {
		view(t, s, func(v *View) {
			rows, err := v.Approvals(f)
			require.NoError(t, err)
			for _, a := range rows {
				ids = append(ids, a.RunID+" "+a.Title)
			}
		})
		return ids
	}
	require.Equal(t, []string{"r again", "own T"}, pending(ApprovalFilter{}))
	require.Equal(t, []string{"own T"}, pending(ApprovalFilter{Own: true}))
	require.Empty(t, pending(ApprovalFilter{RunID: "r", Own: true}))
	update(t, s, func(tx *Tx) error { return tx.DropPendingApprovals("r") })
	require.Equal(t, []string{"own T"}, pending(ApprovalFilter{}))
}

func TestEventKeys(t *testing.T) {
	s := open(t)
	withUpstreamRun(t, s, "r", nil)
	ev := func(typ, payload string, at int64) *Event {
		return &Event{Type: typ, Payload: json.RawMessage(payload), AtMs: at}
	}
	update(t, s, func(tx *Tx) error {
		for _, e := range []*Event{ev("A", `{"nodeId":"n","iteration":2,"attempt":1}`, 7), ev("A", `{"nodeId":"n","iteration":2,"attempt":1}`, 7), ev("B", `{}`, 8)} {
			if err := tx.Append("r", e); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(v *View) {
		keys, err := v.EventKeys("r")
		require.NoError(t, err)
		require.Equal(t, map[EventKey]int{{Type: "A", AtMs: 7, NodeID: "n", Iteration: 2, Attempt: 1}: 2, {Type: "B", AtMs: 8}: 1}, keys)
		_, err = v.EventKeys("none")
		require.ErrorIs(t, err, ErrNotFound)
	})
}
