package store

import "errors"

const approvalColumns = `r.run_id, r.workflow_key, a.node_id, a.iteration, a.status, a.mode, a.request, a.title,
	a.summary, a.requested_at, a.decided_at, a.decided_by, a.note, a.decision`

func scanApproval(r row) *Approval {
	return &Approval{
		RunID: r.str(0), WorkflowKey: r.str(1), NodeID: r.str(2), Iteration: r.int(3), Status: r.str(4), Mode: r.str(5),
		Request: r.json(6), Title: r.str(7), Summary: r.str(8), RequestedAtMs: r.num(9), DecidedAtMs: r.num(10),
		DecidedBy: r.str(11), Note: r.str(12), Decision: r.json(13),
	}
}

const sqlInsertApproval = `INSERT INTO gateway_approvals (rid, node_id, iteration, status, mode, request, title, summary,
	requested_at, decided_at, decided_by, note, decision) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)`

// InsertApproval stores an approval, asked for or (auto-approved) decided. ErrExists
// if the node has one, ErrNotFound if there is no such run.
func (tx *Tx) InsertApproval(runID string, a *Approval) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	tx.Touch(CollectionApprovals)
	_, err = tx.write(sqlInsertApproval, rid, a.NodeID, a.Iteration, a.Status, a.Mode, orEmpty(a.Request), a.Title,
		orNull(a.Summary), a.RequestedAtMs, orNull(a.DecidedAtMs), orNull(a.DecidedBy), orNull(a.Note), a.Decision)
	return asExists(err)
}

const sqlDecideApproval = `UPDATE gateway_approvals SET status = ?, decided_at = ?, decided_by = ?, note = ?, decision = ?
	WHERE rid = ? AND node_id = ? AND iteration = ? AND status = 'requested'`

// DecideApproval stores Status, DecidedAtMs, DecidedBy, Note and Decision of a for
// the approval it names by NodeID and Iteration. ErrDecided if that is not pending
// any more, ErrNotFound if there is none.
func (tx *Tx) DecideApproval(runID string, a *Approval) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	tx.Touch(CollectionApprovals)
	err = tx.mustWrite(sqlDecideApproval, a.Status, orNull(a.DecidedAtMs), orNull(a.DecidedBy), orNull(a.Note),
		a.Decision, rid, a.NodeID, a.Iteration)
	if errors.Is(err, ErrNotFound) {
		if _, err := tx.Approval(runID, a.NodeID, a.Iteration); err != nil {
			return err
		}
		return ErrDecided
	}
	return err
}

// Approval returns the approval of a node, or ErrNotFound.
func (v *View) Approval(runID, nodeID string, iteration int) (*Approval, error) {
	return get(v, "SELECT "+approvalColumns+` FROM gateway_approvals a JOIN gateway_runs r ON r.rid = a.rid
		WHERE r.run_id = ? AND a.node_id = ? AND a.iteration = ?`, []any{runID, nodeID, iteration}, scanApproval)
}

// ApprovalsOf returns all approvals of a run, decided ones included, oldest first.
func (v *View) ApprovalsOf(runID string) ([]*Approval, error) {
	return list(v, "SELECT "+approvalColumns+` FROM gateway_approvals a JOIN gateway_runs r ON r.rid = a.rid
		WHERE r.run_id = ? ORDER BY a.requested_at, a.node_id, a.iteration`, []any{runID}, scanApproval)
}

// ApprovalFilter selects pending approvals. Zero fields do not restrict.
type ApprovalFilter struct {
	RunID    string
	Workflow string
	Own      bool // without those of an upstream
	Limit    int  // 0: no limit
}

// Approvals returns the pending approvals, oldest first, however old their runs
// are: they have an index of their own.
func (v *View) Approvals(f ApprovalFilter) ([]*Approval, error) {
	if f.Limit <= 0 {
		f.Limit = -1
	}
	const order = " ORDER BY a.requested_at, a.rid, a.node_id, a.iteration LIMIT ?"
	if f.RunID != "" {
		return list(v, "SELECT "+approvalColumns+` FROM gateway_runs r CROSS JOIN gateway_approvals a ON a.rid = r.rid
			WHERE r.run_id = ?1 AND a.status = 'requested' AND (?2 = '' OR r.workflow_key = ?2) AND (?3 = 0 OR r.upstream = 0)`+order,
			[]any{f.RunID, f.Workflow, f.Own, f.Limit}, scanApproval)
	}
	return list(v, "SELECT "+approvalColumns+` FROM gateway_approvals a INDEXED BY gateway_approvals_open
		CROSS JOIN gateway_runs r ON r.rid = a.rid
		WHERE a.status = 'requested' AND (?1 = '' OR r.workflow_key = ?1) AND (?2 = 0 OR r.upstream = 0)`+order,
		[]any{f.Workflow, f.Own, f.Limit}, scanApproval)
}
