package store

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNodesAndAttempts(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	n := &Node{
		NodeID: "b", Iteration: 1, Kind: "task", ArgsHash: "h", Ordinal: 1, Label: "B", Blocks: json.RawMessage(`[]`),
		Options: json.RawMessage(`{"o":1}`), State: "in-progress", Attempt: 2, Cuts: 1, Position: 4, SettledAtMs: 5,
		Output: json.RawMessage(`{"x":1}`), Error: json.RawMessage(`{}`), WakeAtMs: 77, CreatedAtMs: 1, UpdatedAtMs: 2,
	}
	first := &Node{NodeID: "z", Kind: "effect", State: "finished"}
	a := &Attempt{
		NodeID: "b", Iteration: 1, Attempt: 1, State: "failed", StartedAtMs: 1, FinishedAtMs: 2, HeartbeatAtMs: 3,
		Heartbeat: json.RawMessage(`{"h":1}`), Error: json.RawMessage(`{"e":1}`), Meta: json.RawMessage(`{"m":1}`),
	}
	update(t, s, func(tx *Tx) error {
		for _, err := range []error{tx.UpsertNode("r", n), tx.UpsertNode("r", first), tx.UpsertAttempt("r", a)} {
			if err != nil {
				return err
			}
		}
		got, err := tx.Node("r", "b", 1) // a unit sees its own writes
		require.NoError(t, err)
		same(t, n, got)
		return nil
	})
	view(t, s, func(v *View) {
		nodes, err := v.Nodes("r")
		require.NoError(t, err)
		same(t, []*Node{first, n}, nodes)
		light := *n
		light.Blocks, light.Output = nil, nil
		states, err := v.NodeStates("r")
		require.NoError(t, err)
		same(t, []*Node{first, &light}, states)
		run, err := v.Run("r")
		require.NoError(t, err)
		counts, err := v.NodeCounts(run.RID)
		require.NoError(t, err)
		same(t, map[string]int{"in-progress": 1}, counts)
		attempts, err := v.Attempts("r", "b", 1)
		require.NoError(t, err)
		same(t, []*Attempt{a}, attempts)
		attempts, err = v.AttemptsOf("r")
		require.NoError(t, err)
		require.Len(t, attempts, 1)
		none, err := v.Nodes("none")
		require.NoError(t, err)
		require.Empty(t, none)
		_, err = v.Node("r", "b", 0)
		require.ErrorIs(t, err, ErrNotFound)
	})
	n.State, n.WakeAtMs, n.Output, n.UpdatedAtMs = "finished", 0, nil, 9
	a.State = "finished"
	update(t, s, func(tx *Tx) error {
		if err := tx.UpsertAttempt("r", a); err != nil {
			return err
		}
		return tx.UpsertNode("r", n)
	})
	view(t, s, func(v *View) {
		got, err := v.Node("r", "b", 1)
		require.NoError(t, err)
		same(t, n, got)
	})
	update(t, s, func(tx *Tx) error { return tx.DeleteNode("r", "b", 1) })
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.DeleteNode("r", "b", 1) })
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.UpsertNode("none", n) })
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.UpsertAttempt("none", a) })
	view(t, s, func(v *View) {
		left, err := v.AttemptsOf("r")
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestNextWakes(t *testing.T) {
	s := open(t)
	update(t, s, func(tx *Tx) error {
		for id, wakes := range map[string][]int64{"a": {30, 10}, "b": {20}, "c": {40}, "ended": {5}, "paused": {6}} {
			r := aRun(id)
			switch id {
			case "ended":
				r.Status = "cancelled"
			case "paused":
				r.Status = "paused"
			}
			if err := tx.InsertRun(r); err != nil {
				return err
			}
			for i, at := range wakes {
				if err := tx.UpsertNode(id, &Node{NodeID: "t", Iteration: i, WakeAtMs: at}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	view(t, s, func(v *View) {
		for _, c := range []struct {
			limit  int
			before int64
			want   []Wake
		}{
			{10, 0, []Wake{{"a", 10}, {"b", 20}, {"c", 40}}},
			{2, 0, []Wake{{"a", 10}, {"b", 20}}},
			{10, 20, []Wake{{"a", 10}, {"b", 20}}},
			{10, 9, nil},
		} {
			got, err := v.NextWakes(c.limit, c.before)
			require.NoError(t, err)
			same(t, c.want, got)
		}
	})
}
