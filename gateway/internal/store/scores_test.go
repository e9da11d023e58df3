package store

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScoresAndAudit(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	score := &Score{
		ScoreID: "s1", RunID: "r", NodeID: "n", Iteration: 1, Attempt: 2, ScorerID: "id", ScorerName: "name", Source: "live",
		Score: 0.5, Reason: "why", Detail: json.RawMessage(`{"d":1}`), ScoredAtMs: 9,
	}
	entry := &AuditEntry{AtMs: 5, Action: "launch", RunID: "r", Actor: "alice", TokenID: "t", Remote: "127.0.0.1", Detail: json.RawMessage(`{}`)}
	update(t, s, func(tx *Tx) error {
		for _, err := range []error{
			tx.InsertScore("r", score), tx.InsertScore("r", &Score{ScoreID: "s2", Score: 1}),
			tx.InsertAudit(entry), tx.InsertAudit(&AuditEntry{AtMs: 9, Action: "cancel"}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	fails(t, s, ErrExists, func(tx *Tx) error { return tx.InsertScore("r", score) })
	view(t, s, func(v *View) {
		got, err := v.Score("s1")
		require.NoError(t, err)
		same(t, score, got)
		all, err := v.Scores("r")
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.Equal(t, 1.0, all[0].Score)
		for _, c := range []struct {
			f AuditFilter
			n int
		}{{AuditFilter{}, 2}, {AuditFilter{RunID: "r"}, 1}, {AuditFilter{Action: "cancel"}, 1}, {AuditFilter{SinceMs: 6}, 1},
			{AuditFilter{BeforeID: 2}, 1}, {AuditFilter{Limit: 1}, 1}, {AuditFilter{RunID: "none"}, 0}} {
			got, err := v.Audit(c.f)
			require.NoError(t, err)
			require.Len(t, got, c.n, "%+v", c.f)
		}
		got1, err := v.Audit(AuditFilter{RunID: "r"})
		require.NoError(t, err)
		same(t, entry, got1[0])
	})
}
