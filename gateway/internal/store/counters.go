package store

// maxCounters bounds the runs whose counters are kept in memory. Losing one costs
// three small reads at its next event.
const maxCounters = 65_536

// counter is what Append must know of a run.
type counter struct {
	rid      int64
	workflow string
	system   bool
	nextLog  int64
	nextSeq  int64
	marked   int64 // the mark in which it was last saved for undo
}

// counters holds the next numbers of runs and the state version as they are inside
// the current transaction. The committer's alone.
type counters struct {
	version int64
	runs    map[string]*counter

	// For undoing a unit.
	marks       int64
	markVersion int64
	changed     []savedCounter
	added       []string
}

type savedCounter struct {
	c   *counter
	old counter
}

func newCounters(version int64) *counters {
	return &counters{version: version, runs: map[string]*counter{}}
}

// mark begins a unit.
func (k *counters) mark() {
	k.marks++
	k.markVersion = k.version
	k.changed = k.changed[:0]
	k.added = k.added[:0]
}

// undo takes everything back to the mark.
func (k *counters) undo() {
	k.version = k.markVersion
	for _, s := range k.changed {
		*s.c = s.old
	}
	for _, id := range k.added {
		delete(k.runs, id)
	}
}

// forget drops everything after a failed transaction.
func (k *counters) forget(version int64) {
	clear(k.runs)
	k.version = version
}

// trim keeps the map within its bound. Only between transactions.
func (k *counters) trim() {
	for id := range k.runs {
		if len(k.runs) <= maxCounters {
			return
		}
		delete(k.runs, id)
	}
}

func (k *counters) add(runID string, c counter) *counter {
	c.marked = k.marks
	p := &c
	k.runs[runID] = p
	k.added = append(k.added, runID)
	return p
}

// drop forgets one run.
func (k *counters) drop(runID string) { delete(k.runs, runID) }

// touch saves c for undo before its first change in a unit.
func (k *counters) touch(c *counter) {
	if c.marked == k.marks {
		return
	}
	k.changed = append(k.changed, savedCounter{c, *c})
	c.marked = k.marks
}

const (
	sqlCounterRun = "SELECT rid, seq_base, system, workflow_key FROM gateway_runs WHERE run_id = ?"
	sqlCounterLog = "SELECT max(log_seq) + 1 FROM gateway_events WHERE rid = ?"
	sqlCounterSeq = "SELECT max(seq) FROM gateway_events WHERE rid = ? AND seq IS NOT NULL"
)

// counter returns the numbers of a run, from memory or from the database.
func (tx *Tx) counter(runID string) (*counter, error) {
	k := tx.s.counters
	if c := k.runs[runID]; c != nil {
		return c, nil
	}
	var c counter
	var base int64
	err := tx.c.one(sqlCounterRun, []any{runID}, func(r row) {
		c.rid, base, c.system, c.workflow = r.num(0), r.num(1), r.bool(2), r.str(3)
	})
	if err != nil {
		return nil, err
	}
	if c.nextLog, err = tx.c.number(sqlCounterLog, c.rid); err != nil {
		return nil, err
	}
	last, err := tx.c.number(sqlCounterSeq, c.rid)
	if err != nil {
		return nil, err
	}
	c.nextSeq = max(last+1, base)
	return k.add(runID, c), nil
}

// WorkflowOf returns the key of the workflow of a run that has an event in the
// transaction that OnCommit or OnLog is being told of, without reading it. Call it from
// those functions only. "" when it is not known, as of a run that was deleted at once.
func (s *Store) WorkflowOf(runID string) string {
	if c := s.counters.runs[runID]; c != nil {
		return c.workflow
	}
	return ""
}

// EventCount is the number of durable events of a run, those of this transaction
// included. ErrNotFound if there is no such run.
func (tx *Tx) EventCount(runID string) (int64, error) {
	c, err := tx.counter(runID)
	if err != nil {
		return 0, err
	}
	return c.nextLog, nil
}
