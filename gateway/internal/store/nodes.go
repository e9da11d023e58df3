package store

import "strings"

const nodeColumns = `node_id, iteration, kind, args_hash, ordinal, label, blocks, options, state, attempt, cuts,
	position, settled_at, output, error, wake_at, created_at, updated_at`

func scanNode(r row) *Node {
	return &Node{
		NodeID: r.str(0), Iteration: r.int(1), Kind: r.str(2), ArgsHash: r.str(3), Ordinal: r.num(4), Label: r.str(5),
		Blocks: r.json(6), Options: r.json(7), State: r.str(8), Attempt: r.int(9), Cuts: r.int(10),
		Position: r.num(11), SettledAtMs: r.num(12), Output: r.json(13), Error: r.json(14), WakeAtMs: r.num(15),
		CreatedAtMs: r.num(16), UpdatedAtMs: r.num(17),
	}
}

const sqlUpsertNode = `INSERT INTO gateway_nodes (rid, node_id, iteration, kind, args_hash, ordinal, label, blocks,
	options, state, attempt, cuts, position, settled_at, output, error, wake_at, created_at, updated_at)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
	ON CONFLICT (rid, node_id, iteration) DO UPDATE SET
	kind = excluded.kind, args_hash = excluded.args_hash, ordinal = excluded.ordinal, label = excluded.label,
	blocks = excluded.blocks, options = excluded.options, state = excluded.state, attempt = excluded.attempt,
	cuts = excluded.cuts, position = excluded.position, settled_at = excluded.settled_at, output = excluded.output,
	error = excluded.error, wake_at = excluded.wake_at, updated_at = excluded.updated_at,
	created_at = CASE WHEN args_hash IN ('', '-') THEN excluded.created_at ELSE created_at END`

// UpsertNode stores a node of the journal. An existing row keeps its creation time
// only, and not even that if it had no arguments: it was reset. ErrNotFound if there is no such run.
func (tx *Tx) UpsertNode(runID string, n *Node) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	tx.Touch(CollectionNodes)
	if n.Output != nil {
		tx.Touch(CollectionNodeOutputs)
	}
	_, err = tx.write(sqlUpsertNode, rid, n.NodeID, n.Iteration, n.Kind, n.ArgsHash, n.Ordinal, orNull(n.Label), n.Blocks,
		n.Options, n.State, n.Attempt, n.Cuts, orNull(n.Position), orNull(n.SettledAtMs), n.Output, n.Error,
		orNull(n.WakeAtMs), n.CreatedAtMs, n.UpdatedAtMs)
	return err
}

// DeleteNode removes a node with its attempts, approval and wait, as a rewind does.
func (tx *Tx) DeleteNode(runID, nodeID string, iteration int) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	const where = " WHERE rid = ? AND node_id = ? AND iteration = ?"
	for _, query := range []string{
		"DELETE FROM gateway_attempts" + where,
		"DELETE FROM gateway_approvals" + where,
		"DELETE FROM gateway_waits" + where,
	} {
		if _, err := tx.write(query, rid, nodeID, iteration); err != nil {
			return err
		}
	}
	return tx.mustWrite("DELETE FROM gateway_nodes"+where, rid, nodeID, iteration)
}

// Nodes returns the journal of a run in order of request; none for an unknown run.
func (v *View) Nodes(runID string) ([]*Node, error) {
	return listOf(v, runID, "SELECT "+nodeColumns+" FROM gateway_nodes WHERE rid = ? ORDER BY ordinal", scanNode)
}

// nodeStateColumns are nodeColumns without what may be large and no list shows.
var nodeStateColumns = strings.NewReplacer("blocks", "NULL", "output", "NULL").Replace(nodeColumns)

// NodeStates is Nodes without Blocks and Output, for those who show where the nodes
// stand: the outputs of a run together may be larger than memory.
func (v *View) NodeStates(runID string) ([]*Node, error) {
	return listOf(v, runID, "SELECT "+nodeStateColumns+" FROM gateway_nodes WHERE rid = ?"+notGone+" ORDER BY ordinal", scanNode)
}

// Node returns one node, or ErrNotFound.
func (v *View) Node(runID, nodeID string, iteration int) (*Node, error) {
	return getOf(v, runID, "SELECT "+nodeColumns+" FROM gateway_nodes WHERE rid = ? AND node_id = ? AND iteration = ?"+notGone,
		scanNode, nodeID, iteration)
}

// NodeCounts returns how many nodes of a run have each state, effects excepted. It counts
// here, since SQLite would sort them first.
func (v *View) NodeCounts(rid int64) (map[string]int, error) {
	counts := map[string]int{}
	err := v.c.each("SELECT state FROM gateway_nodes WHERE rid = ? AND kind <> 'effect'"+notGone, []any{rid}, func(r row) error {
		counts[r.str(0)]++
		return nil
	})
	return counts, err
}

const attemptColumns = `node_id, iteration, attempt, state, started_at, finished_at, heartbeat_at, heartbeat, error, meta, work_tree`

func scanAttempt(r row) *Attempt {
	return &Attempt{
		NodeID: r.str(0), Iteration: r.int(1), Attempt: r.int(2), State: r.str(3), StartedAtMs: r.num(4),
		FinishedAtMs: r.num(5), HeartbeatAtMs: r.num(6), Heartbeat: r.json(7), Error: r.json(8), Meta: r.json(9),
		Tree: decoded[AttemptTree](r.json(10)),
	}
}

const sqlUpsertAttempt = `INSERT INTO gateway_attempts (rid, node_id, iteration, attempt, state, started_at, finished_at,
	heartbeat_at, heartbeat, error, meta, work_tree) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
	ON CONFLICT (rid, node_id, iteration, attempt) DO UPDATE SET
	state = excluded.state, started_at = excluded.started_at, finished_at = excluded.finished_at,
	heartbeat_at = excluded.heartbeat_at, heartbeat = excluded.heartbeat, error = excluded.error, meta = excluded.meta,
	work_tree = coalesce(excluded.work_tree, work_tree)`

// UpsertAttempt stores an attempt. ErrNotFound if there is no such run.
func (tx *Tx) UpsertAttempt(runID string, a *Attempt) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	_, err = tx.write(sqlUpsertAttempt, rid, a.NodeID, a.Iteration, a.Attempt, a.State, a.StartedAtMs,
		orNull(a.FinishedAtMs), orNull(a.HeartbeatAtMs), a.Heartbeat, a.Error, a.Meta, encoded(a.Tree))
	return err
}

// Attempts returns the attempts of one node, first one first.
func (v *View) Attempts(runID, nodeID string, iteration int) ([]*Attempt, error) {
	return listOf(v, runID, "SELECT "+attemptColumns+` FROM gateway_attempts
		WHERE rid = ? AND node_id = ? AND iteration = ? ORDER BY attempt`, scanAttempt, nodeID, iteration)
}

// AttemptsOf returns all attempts of a run, ordered by start.
func (v *View) AttemptsOf(runID string) ([]*Attempt, error) {
	return listOf(v, runID, "SELECT "+attemptColumns+` FROM gateway_attempts
		WHERE rid = ? ORDER BY started_at, node_id, iteration, attempt`, scanAttempt)
}

// NextWakes returns the runs whose earliest wake time is not after before, soonest
// first, at most limit of them; before 0 means any time. Ended and paused runs are
// left out.
func (v *View) NextWakes(limit int, before int64) ([]Wake, error) {
	if before == 0 {
		before = 1<<63 - 1
	}
	var wakes []Wake
	seen := map[string]bool{}
	err := v.c.each(`SELECT r.run_id, n.wake_at FROM gateway_nodes n INDEXED BY gateway_nodes_wake
		CROSS JOIN gateway_runs r ON r.rid = n.rid
		WHERE n.wake_at IS NOT NULL AND n.wake_at <= ? AND r.`+openRun+` AND r.status <> 'paused'
		ORDER BY n.wake_at`, []any{before}, func(r row) error {
		if len(wakes) == limit {
			return errStop
		}
		if id := r.str(0); !seen[id] {
			seen[id] = true
			wakes = append(wakes, Wake{RunID: id, AtMs: r.num(1)})
		}
		return nil
	})
	return wakes, err
}
