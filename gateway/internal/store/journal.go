package store

import "strings"

// RunRef is what tells one run from a later one of the same id.
type RunRef struct {
	RID          int64
	WorkflowName string
}

// RunRef returns the reference, or ErrNotFound.
func (v *View) RunRef(runID string) (ref RunRef, err error) {
	err = v.c.one("SELECT rid, workflow_name FROM gateway_runs WHERE run_id = ?", []any{runID}, func(r row) {
		ref = RunRef{RID: r.num(0), WorkflowName: r.str(1)}
	})
	return ref, err
}

// EventsOfTypes returns, in order, at most limit events of some durable types with a
// LogSeq above after and not above until. ErrNotFound if there is no such run.
func (v *View) EventsOfTypes(runID string, types []string, after, until int64, limit int) ([]*Event, error) {
	e, err := v.eventRun(runID)
	if err != nil {
		return nil, err
	}
	args := make([]any, 0, len(types)+4)
	args = append(args, e.rid, after, until)
	for _, t := range types {
		args = append(args, t)
	}
	marks := strings.TrimSuffix(strings.Repeat("?,", len(types)), ",")
	return v.events(runID, e.system, limit, "SELECT "+eventColumns+` FROM gateway_events
		WHERE rid = ? AND log_seq > ? AND log_seq <= ? AND type IN (`+marks+`) ORDER BY log_seq LIMIT ?`, append(args, limit)...)
}

// nodeShapeColumns are nodeColumns without results.
var nodeShapeColumns = strings.NewReplacer("output", "NULL", "error", "NULL").Replace(nodeColumns)

// NodeShapes is Nodes without Output and Error, for those who need to know what the
// nodes are rather than what they came to.
func (v *View) NodeShapes(runID string) ([]*Node, error) {
	return listOf(v, runID, "SELECT "+nodeShapeColumns+" FROM gateway_nodes WHERE rid = ? ORDER BY ordinal", scanNode)
}

// OutputBytes is how much the outputs of a run's nodes are together; ErrNotFound if there
// is no such run.
func (v *View) OutputBytes(runID string) (n int64, err error) {
	rid, err := v.rid(runID)
	if err != nil {
		return 0, err
	}
	return v.c.number("SELECT sum(length(output)) FROM gateway_nodes WHERE rid = ?", rid)
}
