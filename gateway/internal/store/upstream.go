package store

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// UpstreamRun says how far the log of an upstream's run is merged into ours.
type UpstreamRun struct {
	RunID   string // filled by reads
	Status  string // of the run; filled by reads
	NextSeq int64  // of the next event in the upstream's own log
	Last    string // identity of the newest merged event; "" before the first
	Seen    bool   // the upstream has the run
	// Launch is what launches the run again as long as it is not seen; nil for one that
	// the upstream launched by itself.
	Launch json.RawMessage
}

const upstreamColumns = "r.run_id, r.status, u.next_seq, u.last, u.seen, u.launch"

func scanUpstream(r row) *UpstreamRun {
	return &UpstreamRun{RunID: r.str(0), Status: r.str(1), NextSeq: r.num(2), Last: r.str(3), Seen: r.bool(4), Launch: r.json(5)}
}

// UpstreamRun returns the position in a run's upstream log, or ErrNotFound when there
// is no such run or this gateway executes it.
func (v *View) UpstreamRun(runID string) (*UpstreamRun, error) {
	return get(v, "SELECT "+upstreamColumns+` FROM gateway_runs r JOIN gateway_upstream_runs u ON u.rid = r.rid
		WHERE r.run_id = ?`, []any{runID}, scanUpstream)
}

// HasUpstreamRuns reports whether there is any run that an upstream executes.
func (v *View) HasUpstreamRuns() (bool, error) {
	n, err := v.c.number("SELECT EXISTS (SELECT 1 FROM gateway_upstream_runs)")
	return n > 0, err
}

// OpenUpstreamRuns returns the upstream's runs that have not ended, oldest first and at
// most limit of them, from the run after the one named; "" begins.
func (v *View) OpenUpstreamRuns(after string, limit int) ([]*UpstreamRun, error) {
	return list(v, "SELECT "+upstreamColumns+` FROM gateway_runs r JOIN gateway_upstream_runs u ON u.rid = r.rid
		WHERE r.upstream = 1 AND r.`+openRun+` AND r.rid > coalesce((SELECT rid FROM gateway_runs WHERE run_id = ?), 0)
		ORDER BY r.rid LIMIT ?`, []any{after, limit}, scanUpstream)
}

// EndedUpstreamBefore returns the ids of the upstream's runs that ended before a time and
// have no launch to look after, oldest copy first and at most limit of them, from the run
// after the one named; "" begins.
func (v *View) EndedUpstreamBefore(ms int64, after string, limit int) (ids []string, err error) {
	err = v.c.each(`SELECT r.run_id FROM gateway_runs r JOIN gateway_upstream_runs u ON u.rid = r.rid
		WHERE r.finished_at < ? AND NOT r.`+openRun+` AND u.launch IS NULL
		AND r.rid > coalesce((SELECT rid FROM gateway_runs WHERE run_id = ?), 0)
		ORDER BY r.rid LIMIT ?`, []any{ms, after, limit}, func(r row) error {
		ids = append(ids, r.str(0))
		return nil
	})
	return ids, err
}

// InsertUpstreamRun stores a run that an upstream executes, as InsertRun does, and the
// position in its log.
func (tx *Tx) InsertUpstreamRun(r *Run, u *UpstreamRun) error {
	r.Upstream = true
	if err := tx.InsertRun(r); err != nil {
		return err
	}
	_, err := tx.write("INSERT INTO gateway_upstream_runs (rid, next_seq, last, seen, launch) VALUES (?,?,?,?,?)",
		r.RID, u.NextSeq, u.Last, u.Seen, u.Launch)
	return err
}

// UpdateUpstreamRun stores NextSeq, Last, Seen and Launch. ErrNotFound as UpstreamRun.
func (tx *Tx) UpdateUpstreamRun(u *UpstreamRun) error {
	rid, err := tx.rid(u.RunID)
	if err != nil {
		return err
	}
	return tx.mustWrite("UPDATE gateway_upstream_runs SET next_seq = ?, last = ?, seen = ?, launch = ? WHERE rid = ?",
		u.NextSeq, u.Last, u.Seen, u.Launch, rid)
}

// DeleteUnseenRun removes a run that its upstream refused to launch and that has no
// event, so that no number of it was ever given out. ErrNotFound if there is no such.
func (tx *Tx) DeleteUnseenRun(runID string) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	err = tx.mustWrite(`DELETE FROM gateway_runs WHERE rid = ?1
		AND EXISTS (SELECT 1 FROM gateway_upstream_runs WHERE rid = ?1 AND seen = 0)
		AND NOT EXISTS (SELECT 1 FROM gateway_events WHERE rid = ?1)`, rid)
	if err != nil {
		return err
	}
	tx.Touch(CollectionRuns | CollectionRunEvents)
	tx.s.counters.drop(runID)
	tx.s.runs.drop(runID)
	return nil
}

// PutApproval stores the copy of an approval that an upstream keeps, in place of the
// one before. ErrNotFound if there is no such run.
func (tx *Tx) PutApproval(runID string, a *Approval) error {
	if err := tx.dropApprovals(runID, "AND node_id = ? AND iteration = ?", a.NodeID, a.Iteration); err != nil {
		return err
	}
	return tx.InsertApproval(runID, a)
}

// DropPendingApprovals forgets the copies of approvals that nobody can decide any
// more, because their run has ended.
func (tx *Tx) DropPendingApprovals(runID string) error {
	return tx.dropApprovals(runID, "AND status = 'requested'")
}

func (tx *Tx) dropApprovals(runID, where string, args ...any) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	n, err := tx.write("DELETE FROM gateway_approvals WHERE rid = ? "+where, append([]any{rid}, args...)...)
	if n > 0 {
		tx.Touch(CollectionApprovals)
	}
	return err
}

// EventKey is what tells the events of one run apart without their numbers.
type EventKey struct {
	Type      string
	AtMs      int64
	NodeID    string
	Iteration int
	Attempt   int
}

// EventKeys counts the events of a run by their keys. ErrNotFound if there is no such
// run.
func (v *View) EventKeys(runID string) (map[EventKey]int, error) {
	rid, err := v.rid(runID)
	if err != nil {
		return nil, err
	}
	keys := map[EventKey]int{}
	err = v.c.each(`SELECT type, at, coalesce(json_extract(CAST(payload AS TEXT), '$.nodeId'), ''),
		coalesce(json_extract(CAST(payload AS TEXT), '$.iteration'), 0), coalesce(json_extract(CAST(payload AS TEXT), '$.attempt'), 0)
		FROM gateway_events WHERE rid = ?`, []any{rid}, func(r row) error {
		keys[EventKey{Type: r.str(0), AtMs: r.num(1), NodeID: r.str(2), Iteration: r.int(3), Attempt: r.int(4)}]++
		return nil
	})
	return keys, err
}

// Ended reports whether the run was over when it was read.
func (u *UpstreamRun) Ended() bool { return wire.RunTerminal(u.Status) }
