package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The queries that run often, or over tables without bound, must go through an index.
func TestQueryPlans(t *testing.T) {
	s := open(t)
	for _, c := range []struct{ name, query, uses string }{
		{"events after seq", sqlEventsAfter, "PRIMARY KEY"},
		{"last seq", sqlCounterSeq, "gateway_events_seq"},
		{"newest runs", "SELECT " + runColumns + " FROM gateway_runs WHERE system = 0 ORDER BY created_at DESC, rid DESC LIMIT 5", "gateway_runs_created"},
		{"runs of a workflow", "SELECT " + runColumns + " FROM gateway_runs WHERE workflow_key = ? AND system = 0 ORDER BY created_at DESC, rid DESC LIMIT 5", "gateway_runs_workflow"},
		{"waiting runs", filtered(RunFilter{Statuses: []string{"waiting-event"}, Limit: 5}), "gateway_runs_status"},
		{"failed runs", filtered(RunFilter{Statuses: []string{"failed"}, Limit: 5}), "gateway_runs_status"},
		{"running runs", sqlRunningRuns, "gateway_runs_status"},
		{"idempotency", "SELECT rid FROM gateway_runs WHERE workflow_key = ? AND idempotency_key = ?", "gateway_runs_idempotency"},
		{"ended runs", sqlEnded, "gateway_runs_status (status=? AND created_at<?)"},
		{"waits", sqlWaits + "WHERE w.name = ? AND w.correlation_id IS ?", "gateway_waits_name"},
		{"due schedules", sqlDueCrons + " AND next_run_at <= ?", "gateway_crons_due"},
		{"scores of runs", sqlScores + "WHERE r.run_id = ?", "gateway_scores_run"},
		{"bundle in use by a run that waits", sqlDropBundles, "gateway_runs_version (version=?)"},
		{"bundle in use by a run that works", sqlDropBundles, "gateway_runs USING INDEX gateway_runs_status (status=?)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			view(t, s, func(v *View) {
				var plan []string
				n := strings.Count(strings.NewReplacer("?1", "", "?2", "", "?3", "").Replace(c.query), "?")
				args := make([]any, max(n, 3*strings.Count(c.query, "?3")))
				require.NoError(t, v.c.each("EXPLAIN QUERY PLAN "+c.query, args, func(r row) error {
					plan = append(plan, r.str(3))
					return nil
				}))
				text := strings.Join(plan, "\n")
				require.Contains(t, text, c.uses)
				require.NotContains(t, text, "TEMP B-TREE FOR ORDER BY")
				for _, line := range plan {
					if strings.HasPrefix(line, "SCAN") && line != "SCAN gateway_bundles" { // which are few
						require.Contains(t, line, "USING INDEX", text)
					}
				}
			})
		})
	}
}

func filtered(f RunFilter) string {
	query, _ := runsQuery(f)
	return query
}

// Those who connect ask for the open runs, which must not cost more the more runs
// have ended.
func TestOpenRunsAreSorted(t *testing.T) {
	s := open(t)
	view(t, s, func(v *View) {
		query := filtered(RunFilter{Statuses: []string{"paused"}, Limit: 5})
		require.NoError(t, v.c.each("EXPLAIN QUERY PLAN "+query, []any{"paused", 5, 0}, func(r row) error {
			require.Contains(t, r.str(3), "SEARCH gateway_runs USING INDEX gateway_runs_status (status=?)")
			return nil
		}))
	})
}
