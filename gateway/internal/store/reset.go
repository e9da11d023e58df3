package store

import "fmt"

// ResetNode takes back what a node has come to, as a retry does: its approval, its
// wait and its claim on signals go, so that it can ask for all of them again. Its
// attempts stay, and so does the log. The row becomes n.
func (tx *Tx) ResetNode(runID string, n *Node) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	tx.Touch(CollectionApprovals | CollectionNodes | CollectionNodeOutputs)
	const where = " WHERE rid = ? AND node_id = ? AND iteration = ?"
	for _, query := range []string{"DELETE FROM gateway_approvals" + where, "DELETE FROM gateway_waits" + where} {
		if _, err := tx.write(query, rid, n.NodeID, n.Iteration); err != nil {
			return err
		}
	}
	if _, err := tx.write("UPDATE gateway_signals SET consumed_by = NULL WHERE rid = ? AND consumed_by = ?", rid,
		fmt.Sprintf("%s::%d", n.NodeID, n.Iteration)); err != nil {
		return err
	}
	return tx.UpsertNode(runID, n)
}
