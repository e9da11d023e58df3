package store

import (
	"cmp"
	"slices"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

const runColumns = `rid, run_id, parent_run_id, parent_node_id, parent_iteration, depth, workflow_key, workflow_name,
	version, status, queued, system, input, output, error, config, created_by, source, idempotency_key, launch_hash,
	seed, seq_base, last_position, generation, continued_to, created_at, started_at, finished_at, heartbeat_at, owner,
	cancel_requested_at, pause_requested_at, failed_children, upstream, work_tree`

// listColumns are runColumns for lists: without input and output, which may be large
// and which no list shows.
var listColumns = strings.Replace(runColumns, "input, output", "NULL, NULL", 1)

// openRun is what queries ask of runs that have not ended.
const openRun = "status NOT IN ('finished','failed','cancelled','continued')"

func scanRun(r row) *Run {
	return &Run{
		RID: r.num(0), RunID: r.str(1), ParentRunID: r.str(2), ParentNodeID: r.str(3), ParentIteration: r.int(4),
		Depth: r.int(5), WorkflowKey: r.str(6), WorkflowName: r.str(7), Version: r.str(8), Status: r.str(9),
		Queued: r.bool(10), System: r.bool(11), Input: r.json(12), Output: r.json(13), Error: r.json(14),
		Config: r.json(15), CreatedBy: r.json(16), Source: r.str(17), IdempotencyKey: r.str(18), LaunchHash: r.str(19),
		Seed: r.num(20), SeqBase: r.num(21), LastPosition: r.num(22), Generation: r.num(23), ContinuedTo: r.str(24),
		CreatedAtMs: r.num(25), StartedAtMs: r.num(26), FinishedAtMs: r.num(27), HeartbeatAtMs: r.num(28),
		Owner: r.str(29), CancelRequestedMs: r.num(30), PauseRequestedMs: r.num(31), FailedChildren: r.json(32),
		Upstream: r.bool(33),
		WorkTree: decoded[WorkTree](r.json(34)),
	}
}

const sqlInsertRun = `INSERT INTO gateway_runs (
	run_id, parent_run_id, parent_node_id, parent_iteration, depth, workflow_key, workflow_name,
	version, status, queued, system, input, output, error, config, created_by, source, idempotency_key, launch_hash,
	seed, seq_base, last_position, generation, continued_to, created_at, started_at, finished_at, heartbeat_at, owner,
	cancel_requested_at, pause_requested_at, failed_children, upstream)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`

// InsertRun stores a new run and sets its RID. ErrExists if the id, or the
// idempotency key within the workflow, is taken.
func (tx *Tx) InsertRun(r *Run) error {
	rid, err := tx.insert(sqlInsertRun,
		r.RunID, orNull(r.ParentRunID), orNull(r.ParentNodeID), r.ParentIteration, r.Depth, r.WorkflowKey, r.WorkflowName,
		r.Version, r.Status, r.Queued, r.System, orEmpty(r.Input), r.Output, r.Error, orEmpty(r.Config), orEmpty(r.CreatedBy),
		sourceOr(r.Source), orNull(r.IdempotencyKey), r.LaunchHash,
		r.Seed, r.SeqBase, r.LastPosition, r.Generation, orNull(r.ContinuedTo), r.CreatedAtMs, orNull(r.StartedAtMs),
		orNull(r.FinishedAtMs), orNull(r.HeartbeatAtMs), orNull(r.Owner),
		orNull(r.CancelRequestedMs), orNull(r.PauseRequestedMs), r.FailedChildren, r.Upstream)
	if err != nil {
		return asExists(err)
	}
	tx.Touch(CollectionRuns | CollectionRunEvents)
	r.RID = rid
	tx.s.runs.inserted(r)
	tx.s.counters.add(r.RunID, counter{rid: rid, workflow: r.WorkflowKey, system: r.System, nextSeq: max(1, r.SeqBase)})
	return nil
}

func sourceOr(source string) string {
	if source == "" {
		return "gateway"
	}
	return source
}

const sqlUpdateRun = `UPDATE gateway_runs SET
	version = ?, status = ?, queued = ?, output = ?, error = ?, config = ?, last_position = ?, generation = ?,
	continued_to = ?, started_at = ?, finished_at = ?, heartbeat_at = ?, owner = ?, cancel_requested_at = ?,
	pause_requested_at = ?, failed_children = ?, work_tree = ?
	WHERE rid = ?`

// UpdateRun stores what may change of a run, found by RID: everything but its
// identity, its launch (parent, workflow, input, launcher, source, keys, seed,
// creation time, upstream) and SeqBase. ErrNotFound if it was deleted.
func (tx *Tx) UpdateRun(r *Run) error {
	tx.Touch(CollectionRuns)
	err := tx.mustWrite(sqlUpdateRun,
		r.Version, r.Status, r.Queued, r.Output, r.Error, orEmpty(r.Config), r.LastPosition, r.Generation,
		orNull(r.ContinuedTo), orNull(r.StartedAtMs), orNull(r.FinishedAtMs), orNull(r.HeartbeatAtMs), orNull(r.Owner),
		orNull(r.CancelRequestedMs), orNull(r.PauseRequestedMs), r.FailedChildren, encoded(r.WorkTree), r.RID)
	if err == nil {
		tx.s.runs.updated(r)
	}
	return err
}

// Run is View.Run with the help of the rows in memory. The texts of the result must
// not be changed in place.
func (tx *Tx) Run(runID string) (*Run, error) {
	if r := tx.s.runs.get(runID); r != nil {
		return r, nil
	}
	r, err := tx.View.Run(runID)
	if err == nil {
		tx.s.runs.put(r)
	}
	return r, err
}

// Run returns a run, or ErrNotFound.
func (v *View) Run(runID string) (*Run, error) {
	return get(v, "SELECT "+runColumns+" FROM gateway_runs WHERE run_id = ?", []any{runID}, scanRun)
}

// RunByIdempotency returns the run launched under a key, or ErrNotFound.
func (v *View) RunByIdempotency(workflow, key string) (*Run, error) {
	return get(v, "SELECT "+runColumns+" FROM gateway_runs WHERE workflow_key = ? AND idempotency_key = ?",
		[]any{workflow, key}, scanRun)
}

// Children returns the runs launched by a run, oldest first, at most limit of them
// and without input and output.
func (v *View) Children(runID string, limit int) ([]*Run, error) {
	return list(v, "SELECT "+listColumns+" FROM gateway_runs WHERE parent_run_id = ? ORDER BY rid LIMIT ?",
		[]any{runID, limit}, scanRun)
}

const sqlRunningRuns = `SELECT run_id, workflow_key, version FROM gateway_runs
	WHERE status = 'running' AND upstream = 0 ORDER BY created_at, rid`

// RunningRuns returns the runs of this gateway that were working, oldest first, with
// their RunID, WorkflowKey and Version alone. Waiting ones, of which there may be very
// many, are not read.
func (v *View) RunningRuns() ([]*Run, error) {
	return list(v, sqlRunningRuns, nil, func(r row) *Run {
		return &Run{RunID: r.str(0), WorkflowKey: r.str(1), Version: r.str(2), Status: wire.RunRunning}
	})
}

// RunFilter selects runs. Zero fields do not restrict.
type RunFilter struct {
	Limit         int // 0: no limit
	Offset        int
	Statuses      []string
	Workflow      string
	ParentRunID   string
	IncludeSystem bool
	Own           bool // without those that an upstream has, too
}

// Runs returns the selected runs, newest first, without input and output.
func (v *View) Runs(f RunFilter) ([]*Run, error) {
	if len(f.Statuses) < 2 {
		return v.runsOf(f)
	}
	// A query for each status walks an index that has them in order. One for several
	// would read every run there ever was to find the few that match.
	var all []*Run
	one := f
	one.Offset = 0
	if f.Limit > 0 {
		one.Limit = f.Limit + max(0, f.Offset)
	}
	for _, status := range slices.Compact(slices.Sorted(slices.Values(f.Statuses))) {
		one.Statuses = []string{status}
		runs, err := v.runsOf(one)
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
	}
	slices.SortFunc(all, func(a, b *Run) int {
		return cmp.Or(cmp.Compare(b.CreatedAtMs, a.CreatedAtMs), cmp.Compare(b.RID, a.RID))
	})
	all = all[min(max(0, f.Offset), len(all)):]
	if f.Limit > 0 && len(all) > f.Limit {
		all = all[:f.Limit]
	}
	return all, nil
}

// runsOf is Runs for at most one status.
func (v *View) runsOf(f RunFilter) ([]*Run, error) {
	query, args := runsQuery(f)
	return list(v, query, args, scanRun)
}

func runsQuery(f RunFilter) (query string, args []any) {
	var where []string
	if f.Workflow != "" {
		where, args = append(where, "workflow_key = ?"), append(args, f.Workflow)
	}
	if f.ParentRunID != "" {
		where, args = append(where, "parent_run_id = ?"), append(args, f.ParentRunID)
	}
	for _, status := range f.Statuses {
		where, args = append(where, "status = ?"), append(args, status)
	}
	if !f.IncludeSystem {
		where = append(where, "system = 0")
	}
	if f.Own {
		where = append(where, "(upstream = 0 OR EXISTS (SELECT 1 FROM gateway_upstream_runs u WHERE u.rid = gateway_runs.rid AND u.seen = 0))")
	}
	query = "SELECT " + listColumns + " FROM gateway_runs"
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	return query + " ORDER BY created_at DESC, rid DESC LIMIT ? OFFSET ?", append(args, limit, max(0, f.Offset))
}

// CountRuns returns how many runs have each status, system runs excepted.
func (v *View) CountRuns() (map[string]int, error) {
	counts := map[string]int{}
	err := v.c.each("SELECT status, count(*) FROM gateway_runs WHERE system = 0 GROUP BY status", nil, func(r row) error {
		counts[r.str(0)] = r.int(1)
		return nil
	})
	return counts, err
}

// sqlEnded goes through the runs of each status from the one launched first on: what ended
// before a time was launched before it, and hardly anything else was.
const sqlEnded = `SELECT run_id FROM gateway_runs WHERE status IN ('finished','failed','cancelled','continued')
	AND created_at < ? AND finished_at < ? AND upstream = 0 ORDER BY status DESC, created_at, rid LIMIT ?`

// EndedBefore returns the ids of runs of this gateway that were launched and ended before a
// time, of each status the oldest first, for retention. Those of an upstream are in EndedUpstreamBefore: while it lists
// them they must stay, as a run that came back would have numbers that mean two things.
func (v *View) EndedBefore(ms int64, limit int) ([]string, error) {
	var ids []string
	err := v.c.each(sqlEnded, []any{ms, ms, limit}, func(r row) error {
		ids = append(ids, r.str(0))
		return nil
	})
	return ids, err
}

// DeleteRun removes an ended run and all that belongs to it. ErrNotFound, or
// ErrOpenRun if it has not ended. The state version does not go back.
func (tx *Tx) DeleteRun(runID string) error {
	n, err := tx.write("DELETE FROM gateway_runs WHERE run_id = ? AND NOT "+openRun, runID)
	if err != nil {
		return err
	}
	if n == 0 {
		if _, err := tx.View.rid(runID); err != nil {
			return err
		}
		return ErrOpenRun
	}
	tx.Touch(CollectionRuns | CollectionRunEvents | CollectionNodes | CollectionNodeOutputs | CollectionApprovals)
	tx.s.counters.drop(runID)
	tx.s.runs.drop(runID)
	return nil
}

// CountRunsBelow counts the runs whose id begins with prefix, at most most of them.
func (v *View) CountRunsBelow(prefix string, most int) (int, error) {
	n, err := v.c.number(`SELECT count(*) FROM (SELECT 1 FROM gateway_runs
		WHERE run_id >= ? AND run_id < ? LIMIT ?)`, prefix, prefix+"\U0010FFFF", most)
	return int(n), err
}
