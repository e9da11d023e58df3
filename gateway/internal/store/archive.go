package store

import (
	"fmt"
	"strings"
)

// Archive is one time that a journal was set back.
type Archive struct {
	LogSeq       int64 // of the event that says so
	LastPosition int64 // the highest that was given until then
}

// ArchivedNode is a journal row as it was at every event before LogSeq, back to the
// archive before.
type ArchivedNode struct {
	Node
	LogSeq    int64
	SignalSeq int64 // of the signal that it had consumed, -1 for none
}

// GoneArgs are the arguments of a row that only counts the attempts of a node which a
// rewind took out of the journal. Reads of single nodes and their states do not see it.
const GoneArgs = "-"

const notGone = " AND args_hash <> '" + GoneArgs + "'"

// OpenArchive begins to set a run's journal back: the next event of the run will say
// so. It must come before any other write to the journal in its unit.
func (tx *Tx) OpenArchive(runID string, lastPosition int64) (*Archive, error) {
	c, err := tx.counter(runID)
	if err != nil {
		return nil, err
	}
	a := &Archive{LogSeq: c.nextLog, LastPosition: lastPosition}
	_, err = tx.write("INSERT INTO gateway_archives (rid, log_seq, last_position) VALUES (?,?,?)", c.rid, a.LogSeq, a.LastPosition)
	return a, err
}

const (
	approvalCopies = `node_id, iteration, status, mode, request, title, summary, requested_at, decided_at, decided_by, note, decision`
	ofNode         = " WHERE rid = ? AND node_id = ? AND iteration = ?"

	sqlArchiveNode = "INSERT INTO gateway_archived_nodes (log_seq, rid, " + nodeColumns + ", signal_seq) SELECT ?, rid, " + nodeColumns + `,
		(SELECT min(s.seq) FROM gateway_signals s WHERE s.rid = gateway_nodes.rid AND s.consumed_by = node_id || '::' || iteration)
		FROM gateway_nodes` + ofNode
	sqlArchiveApproval = "INSERT INTO gateway_archived_approvals (log_seq, rid, " + approvalCopies + ") SELECT ?, rid, " + approvalCopies +
		" FROM gateway_approvals" + ofNode
	sqlRestoreApproval = "INSERT OR REPLACE INTO gateway_approvals (rid, " + approvalCopies + ") SELECT rid, " + approvalCopies +
		" FROM gateway_archived_approvals" + ofNode + " AND log_seq = ?"
)

// ArchiveNode copies a row of the journal, with its approval, as it is now.
func (tx *Tx) ArchiveNode(runID string, a *Archive, nodeID string, iteration int) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	for _, query := range []string{sqlArchiveNode, sqlArchiveApproval} {
		if _, err := tx.write(query, a.LogSeq, rid, nodeID, iteration); err != nil {
			return err
		}
	}
	return nil
}

// RestoreNode puts an archived row back into the journal, with its approval and its
// claim on a signal that nobody else has consumed. The archive keeps it, too. n.Node is
// what is written.
func (tx *Tx) RestoreNode(runID string, n *ArchivedNode) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	tx.Touch(CollectionApprovals)
	if _, err := tx.write(sqlRestoreApproval, rid, n.NodeID, n.Iteration, n.LogSeq); err != nil {
		return err
	}
	if n.SignalSeq >= 0 {
		if _, err := tx.write("UPDATE gateway_signals SET consumed_by = ? WHERE rid = ? AND seq = ? AND consumed_by IS NULL",
			fmt.Sprintf("%s::%d", n.NodeID, n.Iteration), rid, n.SignalSeq); err != nil {
			return err
		}
	}
	return tx.UpsertNode(runID, &n.Node)
}

// ArchiveAfter returns the first time after an event that a run's journal was set back;
// nil for never.
func (v *View) ArchiveAfter(runID string, logSeq int64) (*Archive, error) {
	list, err := listOf(v, runID, "SELECT log_seq, last_position FROM gateway_archives WHERE rid = ? AND log_seq > ? ORDER BY log_seq LIMIT 1",
		func(r row) *Archive { return &Archive{LogSeq: r.num(0), LastPosition: r.num(1)} }, logSeq)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

var sqlArchivedNodes = "SELECT " + nodeColumns + `, log_seq, ifnull(signal_seq, -1) FROM gateway_archived_nodes a
	WHERE rid = ? AND log_seq = (SELECT min(b.log_seq) FROM gateway_archived_nodes b
		WHERE b.rid = a.rid AND b.node_id = a.node_id AND b.iteration = a.iteration AND b.log_seq > ?)`

// ArchivedNodes returns the rows of the journal as of an event, of those nodes whose
// rows were set back since.
func (v *View) ArchivedNodes(runID string, logSeq int64) ([]*ArchivedNode, error) {
	columns := strings.Count(nodeColumns, ",") + 1
	return listOf(v, runID, sqlArchivedNodes, func(r row) *ArchivedNode {
		return &ArchivedNode{Node: *scanNode(r), LogSeq: r.num(columns), SignalSeq: r.num(columns + 1)}
	}, logSeq)
}
