package store

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRuns(t *testing.T) {
	s := open(t)
	full := &Run{
		RunID: "full", ParentRunID: "p", ParentNodeID: "n", ParentIteration: 2, Depth: 1, WorkflowKey: "w", WorkflowName: "W",
		Version: "hash", Status: "running", Queued: true, System: true, Input: json.RawMessage(`{"i":1}`),
		Output: json.RawMessage(`1`), Error: json.RawMessage(`{"message":"e"}`), Config: json.RawMessage(`{"c":1}`),
		CreatedBy: json.RawMessage(`{"u":1}`), Source: "child", IdempotencyKey: "key", LaunchHash: "lh", Seed: -5, SeqBase: 9,
		LastPosition: 3, Generation: 1, ContinuedTo: "next", CreatedAtMs: 10, StartedAtMs: 11, FinishedAtMs: 12,
		HeartbeatAtMs: 13, Owner: "o", CancelRequestedMs: 14, PauseRequestedMs: 15, FailedChildren: json.RawMessage(`["a::0"]`),
	}
	update(t, s, func(tx *Tx) error { return tx.InsertRun(full) })
	view(t, s, func(v *View) {
		got, err := v.Run("full")
		require.NoError(t, err)
		same(t, full, got)
		got, err = v.RunByIdempotency("w", "key")
		require.NoError(t, err)
		same(t, full, got)
		_, err = v.RunByIdempotency("other", "key")
		require.ErrorIs(t, err, ErrNotFound)
		children, err := v.Children("p", 10)
		require.NoError(t, err)
		require.Len(t, children, 1)
		listed := *full
		listed.Input, listed.Output = nil, nil
		same(t, &listed, children[0])
	})
	fails(t, s, ErrExists, func(tx *Tx) error { return tx.InsertRun(aRun("full")) })
	fails(t, s, ErrExists, func(tx *Tx) error {
		r := aRun("twin")
		r.WorkflowKey, r.IdempotencyKey = "w", "key"
		return tx.InsertRun(r)
	})
	changed := *full
	changed.Version, changed.Status, changed.Queued, changed.Output, changed.Error = "h2", "failed", false, nil, nil
	changed.Config, changed.LastPosition, changed.Generation, changed.ContinuedTo = json.RawMessage(`{}`), 8, 2, ""
	changed.StartedAtMs, changed.FinishedAtMs, changed.HeartbeatAtMs, changed.Owner = 0, 22, 0, ""
	changed.CancelRequestedMs, changed.PauseRequestedMs, changed.FailedChildren = 0, 0, nil
	update(t, s, func(tx *Tx) error { return tx.UpdateRun(&changed) })
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.UpdateRun(&Run{RID: 999}) })
	view(t, s, func(v *View) {
		got, err := v.Run("full")
		require.NoError(t, err)
		same(t, &changed, got)
		_, err = v.Run("none")
		require.ErrorIs(t, err, ErrNotFound)
	})
	// SeqBase holds for the first event.
	var ev *Event
	update(t, s, func(tx *Tx) error { ev = pushed(1); return tx.Append("full", ev) })
	require.EqualValues(t, 9, ev.Seq)
	require.True(t, ev.System)
}

func TestRunLists(t *testing.T) {
	s := open(t)
	update(t, s, func(tx *Tx) error {
		for i := range 10 {
			r := aRun(fmt.Sprint("r", i))
			r.CreatedAtMs = int64(100 + i/2) // pairs of equal times
			r.System = i == 9
			r.Status = []string{"running", "finished", "waiting-timer"}[i%3]
			if r.Status == "finished" {
				r.FinishedAtMs = int64(200 + i)
			}
			if i == 4 {
				r.WorkflowKey, r.ParentRunID = "other", "r0"
			}
			if err := tx.InsertRun(r); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(v *View) {
		for _, c := range []struct {
			f    RunFilter
			want string
		}{
			{RunFilter{}, "[r8 r7 r6 r5 r4 r3 r2 r1 r0]"},
			{RunFilter{IncludeSystem: true, Limit: 2}, "[r9 r8]"},
			{RunFilter{Limit: 2, Offset: 1}, "[r7 r6]"},
			{RunFilter{Statuses: []string{"finished"}}, "[r7 r4 r1]"},
			{RunFilter{Statuses: []string{"finished", "waiting-timer"}, Limit: 3}, "[r8 r7 r5]"},
			{RunFilter{Statuses: []string{"finished", "waiting-timer", "finished"}, Limit: 2, Offset: 3}, "[r4 r2]"},
			{RunFilter{Statuses: []string{"finished", "waiting-timer"}, Offset: 99}, "[]"},
			{RunFilter{Statuses: []string{"running", "waiting-timer"}, Workflow: "deploy"}, "[r8 r6 r5 r3 r2 r0]"},
			{RunFilter{Workflow: "other"}, "[r4]"},
			{RunFilter{ParentRunID: "r0"}, "[r4]"},
		} {
			got, err := v.Runs(c.f)
			require.NoError(t, err)
			require.Equal(t, c.want, ids(got), "%+v", c.f)
		}
		working, err := v.RunningRuns()
		require.NoError(t, err)
		require.Equal(t, "[r0 r3 r6 r9]", ids(working))
		first, err := v.Children("r0", 0)
		require.NoError(t, err)
		require.Empty(t, first)
		counts, err := v.CountRuns()
		require.NoError(t, err)
		same(t, map[string]int{"running": 3, "finished": 3, "waiting-timer": 3}, counts)
		ended, err := v.EndedBefore(207, 10)
		require.NoError(t, err)
		same(t, []string{"r1", "r4"}, ended)
		ended, err = v.EndedBefore(300, 2)
		require.NoError(t, err)
		same(t, []string{"r1", "r4"}, ended)
	})
}

func ids(runs []*Run) string {
	var out []string
	for _, r := range runs {
		out = append(out, r.RunID)
	}
	return fmt.Sprint(out)
}

func TestDeleteRun(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	update(t, s, func(tx *Tx) error {
		for _, err := range []error{
			tx.Append("r", pushed(1)), tx.UpsertNode("r", &Node{NodeID: "n"}), tx.UpsertAttempt("r", &Attempt{NodeID: "n"}),
			tx.InsertApproval("r", &Approval{NodeID: "n"}), tx.InsertSignal("r", &Signal{}), tx.InsertWait("r", &Wait{NodeID: "n"}),
			tx.InsertScore("r", &Score{ScoreID: "s"}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	version := s.StateVersion()
	fails(t, s, ErrOpenRun, func(tx *Tx) error { return tx.DeleteRun("r") })
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.DeleteRun("none") })
	update(t, s, func(tx *Tx) error {
		r, err := tx.Run("r")
		if err != nil {
			return err
		}
		r.Status = "finished"
		if err := tx.UpdateRun(r); err != nil {
			return err
		}
		return tx.DeleteRun("r")
	})
	require.Equal(t, version, s.StateVersion())
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.Append("r", pushed(1)) })
	view(t, s, func(v *View) {
		for _, table := range []string{"runs", "events", "nodes", "attempts", "approvals", "signals", "waits", "scores"} {
			n, err := v.c.number("SELECT count(*) FROM gateway_" + table)
			require.NoError(t, err)
			require.Zero(t, n, table)
		}
	})
	require.NoError(t, s.Close())
	require.Equal(t, version, openAt(t, s.Path()).StateVersion(), "does not go back with its events gone")
}
