package store

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func fails(t *testing.T, s *Store, want error, do func(tx *Tx) error) {
	t.Helper()
	require.ErrorIs(t, s.Update(context.Background(), do), want)
}

func same(t *testing.T, want, got any) {
	t.Helper()
	require.Empty(t, cmp.Diff(want, got))
}

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
		children, err := v.Children("p")
		require.NoError(t, err)
		require.Len(t, children, 1)
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
				r.FinishedAtMs = int64(i)
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
			{RunFilter{Workflow: "other"}, "[r4]"},
			{RunFilter{ParentRunID: "r0"}, "[r4]"},
		} {
			got, err := v.Runs(c.f)
			require.NoError(t, err)
			require.Equal(t, c.want, ids(got), "%+v", c.f)
		}
		open, err := v.OpenRuns()
		require.NoError(t, err)
		require.Equal(t, "[r0 r2 r3 r5 r6 r8 r9]", ids(open))
		counts, err := v.CountRuns()
		require.NoError(t, err)
		same(t, map[string]int{"running": 3, "finished": 3, "waiting-timer": 3}, counts)
		ended, err := v.EndedBefore(7, 10)
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
		counts, err := v.NodeCounts("r")
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

func TestApprovals(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	other := aRun("s")
	other.WorkflowKey = "other"
	a := &Approval{
		RunID: "r", WorkflowKey: "deploy", NodeID: "gate", Iteration: 1, Status: "requested", Mode: "select",
		Request: json.RawMessage(`{"t":1}`), Title: "Ship?", Summary: "sum", RequestedAtMs: 50,
	}
	update(t, s, func(tx *Tx) error {
		for _, err := range []error{
			tx.InsertRun(other), tx.InsertApproval("r", a),
			tx.InsertApproval("s", &Approval{NodeID: "g", Status: "requested", Mode: "gate", Title: "t", RequestedAtMs: 40}),
			tx.InsertApproval("s", &Approval{NodeID: "auto", Status: "approved", Mode: "gate", Title: "t", RequestedAtMs: 30}),
		} {
			if err != nil {
				return err
			}
		}
		for i := range 1500 { // old approvals stay in the list however many runs come later
			if err := tx.InsertRun(aRun(fmt.Sprint("new", i))); err != nil {
				return err
			}
		}
		return nil
	})
	list := func(f ApprovalFilter) (out []string) {
		view(t, s, func(v *View) {
			got, err := v.Approvals(f)
			require.NoError(t, err)
			for _, a := range got {
				out = append(out, a.RunID+"/"+a.NodeID)
			}
		})
		return out
	}
	same(t, []string{"s/g", "r/gate"}, list(ApprovalFilter{}))
	same(t, []string{"s/g"}, list(ApprovalFilter{Limit: 1}))
	same(t, []string{"r/gate"}, list(ApprovalFilter{RunID: "r"}))
	same(t, []string{"s/g"}, list(ApprovalFilter{Workflow: "other"}))
	require.Empty(t, list(ApprovalFilter{RunID: "r", Workflow: "other"}))
	view(t, s, func(v *View) {
		got, err := v.Approval("r", "gate", 1)
		require.NoError(t, err)
		same(t, a, got)
		all, err := v.ApprovalsOf("s")
		require.NoError(t, err)
		require.Len(t, all, 2)
	})
	fails(t, s, ErrExists, func(tx *Tx) error { return tx.InsertApproval("r", a) })
	a.Status, a.DecidedAtMs, a.DecidedBy, a.Note, a.Decision = "denied", 60, "bob", "no", json.RawMessage(`{"k":1}`)
	update(t, s, func(tx *Tx) error { return tx.DecideApproval("r", a) })
	fails(t, s, ErrDecided, func(tx *Tx) error { return tx.DecideApproval("r", a) })
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.DecideApproval("r", &Approval{NodeID: "gate"}) })
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.DecideApproval("none", a) })
	same(t, []string{"s/g"}, list(ApprovalFilter{}))
	view(t, s, func(v *View) {
		got, err := v.Approval("r", "gate", 1)
		require.NoError(t, err)
		same(t, a, got)
	})
}

func TestSignalsAndWaits(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	withRun(t, s, "s")
	one := &Signal{Name: "go", CorrelationID: "x", Payload: json.RawMessage(`{"p":1}`), ReceivedAtMs: 5, ReceivedBy: "alice", ByKey: true}
	two := &Signal{Name: "go"}
	update(t, s, func(tx *Tx) error {
		for _, err := range []error{
			tx.InsertSignal("r", one), tx.InsertSignal("r", two),
			tx.InsertWait("r", &Wait{NodeID: "w", Name: "go", CorrelationID: "x"}),
			tx.InsertWait("s", &Wait{NodeID: "w", Name: "go", CorrelationID: "x"}),
			tx.InsertWait("s", &Wait{NodeID: "w", Iteration: 1, Name: "old"}),
			tx.InsertWait("s", &Wait{NodeID: "w", Iteration: 1, Name: "go"}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	require.EqualValues(t, 1, two.Seq)
	update(t, s, func(tx *Tx) error { return tx.ConsumeSignal("r", 0, "w::0") })
	fails(t, s, ErrConsumed, func(tx *Tx) error { return tx.ConsumeSignal("r", 0, "w::0") })
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.ConsumeSignal("r", 9, "w::0") })
	one.ConsumedBy, two.Payload = "w::0", json.RawMessage("null")
	waits := func(name, id string) (out []string) {
		view(t, s, func(v *View) {
			got, err := v.Waits(name, id)
			require.NoError(t, err)
			for _, w := range got {
				out = append(out, fmt.Sprintf("%s/%s/%d", w.RunID, w.NodeID, w.Iteration))
			}
		})
		return out
	}
	view(t, s, func(v *View) {
		all, err := v.Signals("r")
		require.NoError(t, err)
		same(t, []*Signal{one, two}, all)
		left, err := v.UnconsumedSignals("r")
		require.NoError(t, err)
		same(t, []*Signal{two}, left)
		of, err := v.WaitsOf("s")
		require.NoError(t, err)
		require.Len(t, of, 2)
	})
	same(t, []string{"r/w/0", "s/w/0"}, waits("go", "x"))
	same(t, []string{"s/w/1"}, waits("go", ""))
	require.Empty(t, waits("old", ""))
	update(t, s, func(tx *Tx) error { return tx.DeleteWait("r", "w", 0) })
	same(t, []string{"s/w/0"}, waits("go", "x"))
}

func TestBundles(t *testing.T) {
	s := open(t)
	b := &Bundle{Hash: "used", Path: "m.mjs", Source: []byte("src"), SourceMap: []byte("map"), CreatedAtMs: 3}
	update(t, s, func(tx *Tx) error {
		r := aRun("r")
		r.Version = "used"
		ended := aRun("ended")
		ended.Version, ended.Status = "old", "finished"
		for _, err := range []error{
			tx.InsertRun(r), tx.InsertRun(ended), tx.PutBundle(b), tx.PutBundle(&Bundle{Hash: "used", Source: []byte("other")}),
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
		_, err = v.Bundle("current")
		require.NoError(t, err)
		_, err = v.Bundle("old")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestMemory(t *testing.T) {
	s := open(t)
	set := func(ns, key, value string, at, expires int64) {
		update(t, s, func(tx *Tx) error {
			return tx.MemorySet(&MemoryEntry{Namespace: ns, Key: key, Value: json.RawMessage(value), UpdatedAtMs: at, ExpiresAtMs: expires})
		})
	}
	set("n", "a", `1`, 10, 0)
	set("n", "a", `2`, 20, 0)
	set("n", "b", `3`, 10, 15)
	set("m", "c", `4`, 10, 0)
	view(t, s, func(v *View) {
		e, err := v.Memory("n", "a", 20)
		require.NoError(t, err)
		same(t, &MemoryEntry{Namespace: "n", Key: "a", Value: json.RawMessage(`2`), CreatedAtMs: 10, UpdatedAtMs: 20}, e)
		_, err = v.Memory("n", "b", 14)
		require.NoError(t, err)
		_, err = v.Memory("n", "b", 15)
		require.ErrorIs(t, err, ErrNotFound)
		all, err := v.MemoryAll("", 20)
		require.NoError(t, err)
		require.Len(t, all, 2)
		of, err := v.MemoryAll("n", 14)
		require.NoError(t, err)
		require.Len(t, of, 2)
	})
	set("n", "b", `5`, 30, 0) // had expired: a new entry
	view(t, s, func(v *View) {
		e, err := v.Memory("n", "b", 30)
		require.NoError(t, err)
		require.EqualValues(t, 30, e.CreatedAtMs)
	})
	update(t, s, func(tx *Tx) error {
		was, err := tx.MemoryDelete("n", "b")
		require.True(t, was)
		return err
	})
	set("n", "x", `6`, 1, 2)
	update(t, s, func(tx *Tx) error {
		n, err := tx.MemoryExpire(2)
		require.EqualValues(t, 1, n)
		return err
	})
}

func TestScoresAndAudit(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	score := &Score{
		ScoreID: "s1", RunID: "r", NodeID: "n", Iteration: 1, Attempt: 2, ScorerID: "id", ScorerName: "name", Source: "live",
		Score: 0.5, Reason: "why", Detail: json.RawMessage(`{"d":1}`), ScoredAtMs: 9,
	}
	entry := &AuditEntry{AtMs: 5, Action: "launch", RunID: "r", Actor: "alice", TokenID: "t", Remote: "127.0.0.1", Detail: json.RawMessage(`{}`)}
	update(t, s, func(tx *Tx) error {
		for _, err := range []error{
			tx.InsertScore("r", score), tx.InsertScore("r", &Score{ScoreID: "s2", Score: 1}),
			tx.InsertAudit(entry), tx.InsertAudit(&AuditEntry{AtMs: 9, Action: "cancel"}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	fails(t, s, ErrExists, func(tx *Tx) error { return tx.InsertScore("r", score) })
	view(t, s, func(v *View) {
		got, err := v.Score("s1")
		require.NoError(t, err)
		same(t, score, got)
		all, err := v.Scores("r")
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.Equal(t, 1.0, all[0].Score)
		for _, c := range []struct {
			f AuditFilter
			n int
		}{{AuditFilter{}, 2}, {AuditFilter{RunID: "r"}, 1}, {AuditFilter{Action: "cancel"}, 1}, {AuditFilter{SinceMs: 6}, 1},
			{AuditFilter{BeforeID: 2}, 1}, {AuditFilter{Limit: 1}, 1}, {AuditFilter{RunID: "none"}, 0}} {
			got, err := v.Audit(c.f)
			require.NoError(t, err)
			require.Len(t, got, c.n, "%+v", c.f)
		}
		got1, err := v.Audit(AuditFilter{RunID: "r"})
		require.NoError(t, err)
		same(t, entry, got1[0])
	})
}
