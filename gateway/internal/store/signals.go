package store

import "errors"

const signalColumns = "seq, name, correlation_id, payload, received_at, received_by, consumed_by, by_key"

func scanSignal(r row) *Signal {
	return &Signal{
		Seq: r.num(0), Name: r.str(1), CorrelationID: r.str(2), Payload: r.json(3), ReceivedAtMs: r.num(4),
		ReceivedBy: r.str(5), ConsumedBy: r.str(6), ByKey: r.bool(7),
	}
}

// InsertSignal stores a signal and sets its Seq, which counts from 0 in each run.
// ErrNotFound if there is no such run.
func (tx *Tx) InsertSignal(runID string, sig *Signal) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	seq, err := tx.c.number("SELECT max(seq) + 1 FROM gateway_signals WHERE rid = ?", rid)
	if err != nil {
		return err
	}
	payload := sig.Payload
	if len(payload) == 0 {
		payload = []byte("null")
	}
	_, err = tx.write("INSERT INTO gateway_signals (rid, "+signalColumns+") VALUES (?,?,?,?,?,?,?,?,?)", rid, seq,
		sig.Name, orNull(sig.CorrelationID), payload, sig.ReceivedAtMs, orNull(sig.ReceivedBy), orNull(sig.ConsumedBy),
		sig.ByKey)
	if err == nil {
		tx.Touch(CollectionRuns | CollectionRunEvents | CollectionNodes)
		sig.Seq = seq
	}
	return err
}

// PendingSignals counts the signals of a run that no node has consumed, and the bytes
// of their payloads. ErrNotFound if there is no such run.
func (tx *Tx) PendingSignals(runID string) (count, bytes int64, err error) {
	rid, err := tx.rid(runID)
	if err != nil {
		return 0, 0, err
	}
	err = tx.c.one(`SELECT count(*), coalesce(sum(length(payload)), 0) FROM gateway_signals
		WHERE rid = ? AND consumed_by IS NULL`, []any{rid}, func(r row) { count, bytes = r.num(0), r.num(1) })
	return count, bytes, err
}

// ConsumeSignal marks a signal as consumed by a node, "<node>::<iteration>".
// ErrConsumed if it is already, ErrNotFound if there is none.
func (tx *Tx) ConsumeSignal(runID string, seq int64, by string) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	err = tx.mustWrite(`UPDATE gateway_signals SET consumed_by = ?
		WHERE rid = ? AND seq = ? AND consumed_by IS NULL`, by, rid, seq)
	if errors.Is(err, ErrNotFound) {
		n, err := tx.c.number("SELECT count(*) FROM gateway_signals WHERE rid = ? AND seq = ?", rid, seq)
		if err == nil && n > 0 {
			err = ErrConsumed
		} else if err == nil {
			err = ErrNotFound
		}
		return err
	}
	return err
}

// Signals returns all signals of a run in order of arrival.
func (v *View) Signals(runID string) ([]*Signal, error) {
	return listOf(v, runID, "SELECT "+signalColumns+" FROM gateway_signals WHERE rid = ? ORDER BY seq", scanSignal)
}

// UnconsumedSignals returns the signals of a run that no node has consumed, in
// order of arrival.
func (v *View) UnconsumedSignals(runID string) ([]*Signal, error) {
	return listOf(v, runID, "SELECT "+signalColumns+` FROM gateway_signals
		WHERE rid = ? AND consumed_by IS NULL ORDER BY seq`, scanSignal)
}

// InsertWait stores that a node waits for a signal; a wait of that node is
// replaced. ErrNotFound if there is no such run.
func (tx *Tx) InsertWait(runID string, w *Wait) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	_, err = tx.write(`INSERT INTO gateway_waits (rid, node_id, iteration, name, correlation_id) VALUES (?,?,?,?,?)
		ON CONFLICT (rid, node_id, iteration) DO UPDATE SET name = excluded.name, correlation_id = excluded.correlation_id`,
		rid, w.NodeID, w.Iteration, w.Name, orNull(w.CorrelationID))
	return err
}

// DeleteWait removes the wait of a node, if there is one.
func (tx *Tx) DeleteWait(runID, nodeID string, iteration int) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	_, err = tx.write("DELETE FROM gateway_waits WHERE rid = ? AND node_id = ? AND iteration = ?", rid, nodeID, iteration)
	return err
}

const sqlWaits = `SELECT r.run_id, r.workflow_key, w.node_id, w.iteration, w.name, w.correlation_id
	FROM gateway_waits w JOIN gateway_runs r ON r.rid = w.rid `

func scanWait(r row) *Wait {
	return &Wait{
		RunID: r.str(0), WorkflowKey: r.str(1), NodeID: r.str(2), Iteration: r.int(3), Name: r.str(4),
		CorrelationID: r.str(5),
	}
}

// Waits returns the waits for a signal with exactly this correlation id; "" means
// waits without one. Oldest run first.
func (v *View) Waits(name, correlation string) ([]*Wait, error) {
	return list(v, sqlWaits+"WHERE w.name = ? AND w.correlation_id IS ? ORDER BY w.rid, w.node_id, w.iteration",
		[]any{name, orNull(correlation)}, scanWait)
}

// WaitsOf returns all waits of a run.
func (v *View) WaitsOf(runID string) ([]*Wait, error) {
	return list(v, sqlWaits+"WHERE r.run_id = ? ORDER BY w.node_id, w.iteration", []any{runID}, scanWait)
}
