package store

import "encoding/json"

// Score is a row of gateway_scores.
type Score struct {
	ScoreID    string
	RunID      string // filled by reads
	NodeID     string
	Iteration  int
	Attempt    int
	ScorerID   string
	ScorerName string
	Source     string
	Score      float64
	Reason     string
	Detail     json.RawMessage // object: meta, input, output, groundTruth, context, latencyMs, durationMs
	ScoredAtMs int64
}

// InsertScore stores a score. ErrExists if its id is taken, ErrNotFound if there
// is no such run.
func (tx *Tx) InsertScore(runID string, s *Score) error {
	rid, err := tx.rid(runID)
	if err != nil {
		return err
	}
	_, err = tx.write(`INSERT INTO gateway_scores (score_id, rid, node_id, iteration, attempt, scorer_id, scorer_name,
		source, score, reason, detail, scored_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)`,
		s.ScoreID, rid, s.NodeID, s.Iteration, s.Attempt, s.ScorerID, s.ScorerName, s.Source, s.Score,
		orNull(s.Reason), s.Detail, s.ScoredAtMs)
	return asExists(err)
}

const sqlScores = `SELECT s.score_id, r.run_id, s.node_id, s.iteration, s.attempt, s.scorer_id, s.scorer_name, s.source,
	s.score, s.reason, s.detail, s.scored_at FROM gateway_scores s JOIN gateway_runs r ON r.rid = s.rid `

func scanScore(r row) *Score {
	return &Score{
		ScoreID: r.str(0), RunID: r.str(1), NodeID: r.str(2), Iteration: r.int(3), Attempt: r.int(4), ScorerID: r.str(5),
		ScorerName: r.str(6), Source: r.str(7), Score: r.float(8), Reason: r.str(9), Detail: r.json(10), ScoredAtMs: r.num(11),
	}
}

// Scores returns the scores of a run in order of time.
func (v *View) Scores(runID string) ([]*Score, error) {
	return list(v, sqlScores+"WHERE r.run_id = ? ORDER BY s.scored_at, s.score_id", []any{runID}, scanScore)
}

// Score returns one score by its id, or ErrNotFound.
func (v *View) Score(scoreID string) (*Score, error) {
	return get(v, sqlScores+"WHERE s.score_id = ?", []any{scoreID}, scanScore)
}

// ScoreFilter selects scores of several runs. Empty texts do not restrict.
type ScoreFilter struct {
	RunIDs     []string
	NodeID     string
	ScorerID   string
	ScorerName string
	Source     string
	Newest     bool // newest first; else oldest first
	Offset     int
	Limit      int
}

const sqlScoreFilter = `WHERE r.run_id IN (SELECT value FROM json_each(?1)) AND (?2 = '' OR s.node_id = ?2)
	AND (?3 = '' OR s.scorer_id = ?3) AND (?4 = '' OR s.scorer_name = ?4) AND (?5 = '' OR s.source = ?5)`

// ScoresOf returns one page of the selected scores and how many there are in all.
func (v *View) ScoresOf(f ScoreFilter) (page []*Score, total int, err error) {
	ids, err := json.Marshal(f.RunIDs)
	if err != nil {
		return nil, 0, err
	}
	args := []any{string(ids), f.NodeID, f.ScorerID, f.ScorerName, f.Source}
	n, err := v.c.number(`SELECT count(*) FROM gateway_scores s JOIN gateway_runs r ON r.rid = s.rid `+sqlScoreFilter, args...)
	if err != nil {
		return nil, 0, err
	}
	order := " ORDER BY s.scored_at, s.score_id LIMIT ?6 OFFSET ?7"
	if f.Newest {
		order = " ORDER BY s.scored_at DESC, s.score_id DESC LIMIT ?6 OFFSET ?7"
	}
	page, err = list(v, sqlScores+sqlScoreFilter+order, append(args, f.Limit, f.Offset), scanScore)
	return page, int(n), err
}
