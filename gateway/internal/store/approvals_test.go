package store

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

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
