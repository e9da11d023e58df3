package rpc

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// scoresUpstream is listScoresForRuns when Smithers executes any of the runs. Each side is
// asked for its own; the page is cut from both in their common order.
func (r *Router) scoresUpstream(ctx context.Context, c *Call, p params) (any, bool, error) {
	f, werr := scoreFilter(p)
	if werr != nil {
		return nil, true, werr
	}
	own, theirs := f, f
	own.RunIDs, theirs.RunIDs = nil, nil
	for _, id := range f.RunIDs {
		owned, err := r.deps.Upstream.Owns(ctx, id)
		if err != nil {
			return nil, true, err
		}
		if owned {
			theirs.RunIDs = append(theirs.RunIDs, id)
		} else {
			own.RunIDs = append(own.RunIDs, id)
		}
	}
	switch {
	case len(theirs.RunIDs) == 0:
		return nil, false, nil
	case len(own.RunIDs) == 0:
		payload, err := r.forward(ctx, c)
		return payload, true, err
	}
	own.Offset, own.Limit = 0, f.Offset+f.Limit
	page, err := r.scorePage(ctx, own)
	if err != nil {
		return nil, true, err
	}
	merged := make([]scored, 0, len(page.Rows))
	for _, row := range page.Rows {
		text, err := encode(row)
		if err != nil {
			return nil, true, err
		}
		merged = append(merged, scored{ScoredAtMs: row.ScoredAtMs, ScoreID: row.ScoreID, row: text})
	}
	rows, total, err := r.scoresThere(ctx, c, p, theirs.RunIDs, f.Offset+f.Limit)
	if err != nil {
		return nil, true, err
	}
	merged = append(merged, rows...)
	slices.SortStableFunc(merged, func(a, b scored) int { return a.compare(b, f) })
	out := scoreRows{Rows: []json.RawMessage{}, Total: page.Total + total}
	for _, s := range merged[min(f.Offset, len(merged)):min(f.Offset+f.Limit, len(merged))] {
		out.Rows = append(out.Rows, s.row)
	}
	return out, true, nil
}

type scoreRows struct {
	Rows  []json.RawMessage `json:"rows"`
	Total int               `json:"total"`
}

// scored is a row with what it is ordered by.
type scored struct {
	ScoredAtMs int64  `json:"scoredAtMs"`
	ScoreID    string `json:"scoreId"`
	row        json.RawMessage
}

func (a scored) compare(b scored, f store.ScoreFilter) int {
	n := int(min(max(a.ScoredAtMs-b.ScoredAtMs, -1), 1))
	if n == 0 {
		n = strings.Compare(a.ScoreID, b.ScoreID)
	}
	if f.Newest {
		return -n
	}
	return n
}

// scoresThere reads the first rows that Smithers has of some runs, in pages.
func (r *Router) scoresThere(ctx context.Context, c *Call, p params, ids []string, wanted int) (rows []scored, total int, err error) {
	ask := make(map[string]any, len(p))
	for name, value := range p {
		ask[name] = value
	}
	ask["runIds"] = ids
	for len(rows) < wanted {
		ask["offset"], ask["limit"] = len(rows), min(wanted-len(rows), maxScorePage)
		params, err := json.Marshal(ask)
		if err != nil {
			return nil, 0, err
		}
		payload, err := r.deps.Upstream.Call(ctx, caller(c), c.Method, params)
		if err != nil {
			return nil, 0, err
		}
		var page scoreRows
		if json.Unmarshal(payload, &page) != nil {
			return nil, 0, wire.Errorf(wire.CodeServerError, "Smithers gave scores that cannot be understood.")
		}
		for _, row := range page.Rows {
			s := scored{row: row}
			if json.Unmarshal(row, &s) != nil {
				return nil, 0, wire.Errorf(wire.CodeServerError, "Smithers gave scores that cannot be understood.")
			}
			rows = append(rows, s)
		}
		total = page.Total
		if len(page.Rows) == 0 || len(rows) >= total {
			break
		}
	}
	return rows, total, nil
}
