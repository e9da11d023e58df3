package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of the score methods.
const (
	maxScoreRuns   = 30
	maxScoreOffset = 9_999
	maxScorePage   = 500
	maxScoreWindow = 10_000 // offset and limit together
	maxScoreID     = 256
)

func scoreRow(s *store.Score) wire.ScoreRow {
	detail := parseParams(s.Detail)
	ms := func(name string) *float64 {
		if f, ok := detail.number(name); ok {
			return &f
		}
		return nil
	}
	return wire.ScoreRow{RunID: s.RunID, NodeID: s.NodeID, Iteration: s.Iteration, Attempt: s.Attempt, ScorerID: s.ScorerID,
		ScorerName: s.ScorerName, Source: s.Source, Score: s.Score, Reason: optional(s.Reason), ScoredAtMs: s.ScoredAtMs,
		LatencyMs: ms("latencyMs"), DurationMs: ms("durationMs")}
}

func (r *Router) listScores(ctx context.Context, _ *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	rows := []wire.ScoreRow{}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		if _, err := loadRun(v, id, notFound); err != nil {
			return err
		}
		scores, _, err := v.ScoresOf(store.ScoreFilter{RunIDs: []string{id}, NodeID: p.str("nodeId"), Limit: maxScoreWindow})
		for _, s := range scores {
			rows = append(rows, scoreRow(s))
		}
		return err
	})
	return rows, err
}

func (r *Router) listScoresForRuns(ctx context.Context, _ *Call, p params) (any, error) {
	f, werr := scoreFilter(p)
	if werr != nil {
		return nil, werr
	}
	return r.scorePage(ctx, f)
}

// scorePage reads the scores of runs of this gateway.
func (r *Router) scorePage(ctx context.Context, f store.ScoreFilter) (wire.ScorePage, error) {
	page := wire.ScorePage{}
	if len(f.RunIDs) == 0 {
		return page, nil
	}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		for _, id := range f.RunIDs {
			if _, err := loadRun(v, id, runNotFound); err != nil {
				return err
			}
		}
		scores, total, err := v.ScoresOf(f)
		page.Total = total
		for _, s := range scores {
			row := scoreRow(s)
			row.ScoreID = s.ScoreID
			page.Rows = append(page.Rows, row)
		}
		return err
	})
	return page, err
}

// scoreFilter reads listScoresForRuns, which is strict about what it is sent.
func scoreFilter(p params) (f store.ScoreFilter, _ *wire.Error) {
	bad := func(format string, args ...any) (store.ScoreFilter, *wire.Error) {
		return store.ScoreFilter{}, wire.Errorf(wire.CodeInvalidRequest, format, args...)
	}
	allowed := []string{"runIds", "nodeId", "scorerId", "scorerName", "source", "order", "offset", "limit"}
	if key, found := p.unexpected(allowed); found {
		return bad("Unexpected listScoresForRuns parameter: %s", key)
	}
	var ids []any
	if json.Unmarshal(p["runIds"], &ids) != nil || ids == nil {
		return bad("runIds must be an array of strings")
	}
	if len(ids) > maxScoreRuns {
		return bad("runIds must contain at most %d entries", maxScoreRuns)
	}
	for _, id := range ids {
		text, ok := id.(string)
		if text = strings.TrimSpace(text); !ok || text == "" {
			return bad("runIds must be an array of strings")
		}
		if !slices.Contains(f.RunIDs, text) {
			f.RunIDs = append(f.RunIDs, text)
		}
	}
	for name, into := range map[string]*string{"nodeId": &f.NodeID, "scorerId": &f.ScorerID, "scorerName": &f.ScorerName, "source": &f.Source} {
		if raw, given := p[name]; given && string(raw) != "null" {
			text, ok := p.text(name)
			if !ok {
				return bad("%s must be a string", name)
			}
			*into = strings.TrimSpace(text)
		}
	}
	if f.Source != "" && f.Source != "live" && f.Source != "batch" {
		return bad("source must be live or batch")
	}
	switch order := p.str("order"); order {
	case "", "scoredAtAsc":
		if _, given := p["order"]; given && order == "" {
			return bad("order must be scoredAtAsc or scoredAtDesc")
		}
	case "scoredAtDesc":
		f.Newest = true
	default:
		return bad("order must be scoredAtAsc or scoredAtDesc")
	}
	var ok bool
	if f.Offset, ok = p.within("offset", 0, 0, maxScoreOffset); !ok {
		return bad("offset must be an integer from 0 to %d", maxScoreOffset)
	}
	if f.Limit, ok = p.within("limit", maxScorePage, 1, maxScorePage); !ok {
		return bad("limit must be an integer from 1 to %d", maxScorePage)
	}
	if f.Offset+f.Limit > maxScoreWindow {
		return bad("offset + limit must not exceed %d", maxScoreWindow)
	}
	return f, nil
}

// within reads an optional integer with bounds.
func (p params) within(name string, fallback, least, most int) (int, bool) {
	raw, given := p[name]
	if !given || string(raw) == "null" {
		return fallback, true
	}
	f, ok := p.number(name)
	return int(f), ok && f == math.Trunc(f) && f >= float64(least) && f <= float64(most)
}

// unexpected returns the first parameter, by name, that is not allowed.
func (p params) unexpected(allowed []string) (string, bool) {
	first, found := "", false
	for key := range p {
		if !slices.Contains(allowed, key) && (!found || key < first) {
			first, found = key, true
		}
	}
	return first, found
}

func (r *Router) getScoreDetail(ctx context.Context, _ *Call, p params) (any, error) {
	if key, found := p.unexpected([]string{"runId", "scoreId"}); found {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "Unexpected getScoreDetail parameter: %s", key)
	}
	runID, scoreID := strings.TrimSpace(p.str("runId")), strings.TrimSpace(p.str("scoreId"))
	if runID == "" || scoreID == "" {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "runId and scoreId must be strings")
	}
	if len(runID) > maxScoreID || len(scoreID) > maxScoreID {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "runId and scoreId must be at most %d characters", maxScoreID)
	}
	var row wire.ScoreRow
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		if _, err := loadRun(v, runID, runNotFound); err != nil {
			return err
		}
		s, err := v.Score(scoreID)
		if errors.Is(err, store.ErrNotFound) || err == nil && s.RunID != runID {
			return wire.Errorf(wire.CodeScoreNotFound, "Score not found on run %s: %s", runID, scoreID)
		} else if err != nil {
			return err
		}
		row = scoreRow(s)
		row.ScoreID = s.ScoreID
		detail := parseParams(s.Detail)
		row.ScoreExtra = &wire.ScoreExtra{Meta: decoded(detail["meta"]), Input: decoded(detail["input"]),
			Output: decoded(detail["output"]), GroundTruth: decoded(detail["groundTruth"]), Context: decoded(detail["context"])}
		return nil
	})
	return row, err
}
