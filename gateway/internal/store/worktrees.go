package store

import "encoding/json"

// WorkTree is the git work tree that the first program of a run ran in.
type WorkTree struct {
	Root     string `json:"root"`
	Keep     string `json:"keep"`               // of the references, below refs/smithers
	Revision string `json:"revision,omitempty"` // commit that was checked out then
	Base     string `json:"base"`               // git tree, before that program
}

// AttemptTree is what the programs of an attempt made of a work tree: git trees of
// before and after, or why there is none.
type AttemptTree struct {
	Root   string `json:"root"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Error  string `json:"error,omitempty"`
}

// decoded reads a JSON column; nil when it is NULL or unreadable.
func decoded[T any](raw json.RawMessage) *T {
	v := new(T)
	if len(raw) == 0 || json.Unmarshal(raw, v) != nil {
		return nil
	}
	return v
}

// encoded is the opposite of decoded.
func encoded[T any](v *T) json.RawMessage {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil { // texts only
		return nil
	}
	return b
}

// SetAttemptTree notes what an attempt made of a work tree. It does nothing if there is
// no such attempt.
func (tx *Tx) SetAttemptTree(runID, nodeID string, iteration, attempt int, t AttemptTree) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	_, err = tx.write("UPDATE gateway_attempts SET work_tree = ? WHERE rid = ? AND node_id = ? AND iteration = ? AND attempt = ?",
		encoded(&t), rid, nodeID, iteration, attempt)
	return err
}

// KeepTree notes that git keeps captures of a run at root, once.
func (tx *Tx) KeepTree(runID, root, keep string) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	_, err = tx.write("INSERT INTO gateway_kept_trees (rid, root, keep) VALUES (?,?,?) ON CONFLICT DO NOTHING", rid, root, keep)
	return err
}

// StaleTree is what git keeps of a run that is gone.
type StaleTree struct {
	ID   int64
	Root string
	Keep string
}

// StaleTrees returns what may go, oldest first, at most limit of it, with an ID above
// after.
func (v *View) StaleTrees(after int64, limit int) ([]*StaleTree, error) {
	return list(v, "SELECT id, root, keep FROM gateway_kept_trees WHERE rid IS NULL AND id > ? ORDER BY id LIMIT ?",
		[]any{after, limit}, func(r row) *StaleTree { return &StaleTree{r.num(0), r.str(1), r.str(2)} })
}

// DropStaleTree forgets what is gone from git.
func (tx *Tx) DropStaleTree(id int64) error {
	_, err := tx.write("DELETE FROM gateway_kept_trees WHERE id = ? AND rid IS NULL", id)
	return err
}
