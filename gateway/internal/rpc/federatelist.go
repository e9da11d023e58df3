package rpc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxMerged bounds how deep into a list of the upstream a page may lie. Further back
// the copies answer.
const maxMerged = 2_000

// theirs asks the upstream for its part of a list. ok is false when it cannot be asked
// now or does not answer soon: the copies are shown then.
func (r *Router) theirs(ctx context.Context, c *Call, p params) (rows []json.RawMessage, ok bool, err error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, false, err
	}
	payload, err := r.deps.Upstream.CallPart(ctx, caller(c), c.Method, text)
	if err != nil {
		var we *wire.Error
		if errors.As(err, &we) && !wire.Retryable(we.Code) && we.Code != wire.CodeServerError {
			return nil, false, err
		}
		return nil, false, ctx.Err()
	}
	if json.Unmarshal(payload, &rows) != nil {
		return nil, false, nil
	}
	return rows, true, nil
}

// mergedRuns is listRuns over both sides, newest first.
func (r *Router) mergedRuns(ctx context.Context, c *Call, p params) (any, bool, error) {
	f, limit, werr := runFilter(p)
	if werr != nil {
		return nil, true, werr
	}
	if _, own := r.deps.Engine.Workflow(f.Workflow); own || f.Offset+limit > maxMerged {
		return nil, false, nil
	}
	filter := params{}
	for name, value := range p.object("filter") {
		filter[name] = value
	}
	filter["limit"], _ = json.Marshal(f.Offset + limit)
	filter["offset"] = json.RawMessage("0")
	text, err := json.Marshal(filter)
	if err != nil {
		return nil, true, err
	}
	theirs, ok, err := r.theirs(ctx, c, params{"filter": text})
	if err != nil || !ok {
		return nil, err != nil, err
	}
	own := f
	own.Own, own.Offset, own.Limit = true, 0, f.Offset+limit
	var all []listed
	seen := map[string]bool{}
	for _, row := range theirs {
		var k struct {
			RunID     string `json:"runId"`
			Status    string `json:"status"`
			CreatedAt int64  `json:"createdAtMs"`
		}
		if json.Unmarshal(row, &k) != nil || len(f.Statuses) > 0 && k.Status != f.Statuses[0] { // Q30
			continue
		}
		seen[k.RunID] = true
		all = append(all, listed{at: k.CreatedAt, row: row})
	}
	err = r.deps.Store.View(ctx, func(v *store.View) error {
		runs, err := v.Runs(own)
		for _, run := range runs {
			if !seen[run.RunID] {
				all = append(all, listed{at: run.CreatedAtMs, row: r.row(run)})
			}
		}
		return err
	})
	if err != nil {
		return nil, true, err
	}
	slices.SortStableFunc(all, func(a, b listed) int { return cmp.Compare(b.at, a.at) })
	return page(all, f.Offset, limit), true, nil
}

// listed is a row of either side with what the list is ordered by.
type listed struct {
	at  int64
	key string
	row any
}

func page(all []listed, offset, limit int) []any {
	rows := []any{}
	for _, l := range all[min(offset, len(all)):] {
		if len(rows) == limit {
			break
		}
		rows = append(rows, l.row)
	}
	return rows
}

// mergedApprovals is listApprovals over both sides, oldest first.
func (r *Router) mergedApprovals(ctx context.Context, c *Call, p params) (any, bool, error) {
	own, werr := approvalFilter(p)
	if werr != nil {
		return nil, true, werr
	}
	theirs, ok, err := r.theirs(ctx, c, p)
	if err != nil || !ok {
		return nil, err != nil && !notFoundCode(err), ignoreMissing(err)
	}
	limit := own.Limit
	own.Own = true
	var all []listed
	for _, row := range theirs {
		var k struct {
			At int64 `json:"requestedAtMs"`
		}
		if json.Unmarshal(row, &k) == nil {
			all = append(all, listed{at: k.At, row: row})
		}
	}
	err = r.deps.Store.View(ctx, func(v *store.View) error {
		rows, err := approvalRows(v, own)
		for _, row := range rows {
			l := listed{row: row}
			if row.RequestedAtMs != nil {
				l.at = *row.RequestedAtMs
			}
			all = append(all, l)
		}
		return err
	})
	if err != nil {
		return nil, true, err
	}
	slices.SortStableFunc(all, func(a, b listed) int { return cmp.Compare(a.at, b.at) })
	return page(all, 0, limit), true, nil
}

func ignoreMissing(err error) error {
	if notFoundCode(err) {
		return nil
	}
	return err
}

// mergedDocs is a list of documents or memory over both sides. Where both have an entry
// of one name, the upstream's counts: its users' data were there before.
func (r *Router) mergedDocs(ctx context.Context, c *Call, m wire.Method, p params) (any, bool, error) {
	theirs, ok, err := r.theirs(ctx, c, p)
	if err != nil || !ok {
		return nil, err != nil, err
	}
	mine, err := r.handlers[m.Name](ctx, c, p)
	if err != nil {
		return nil, true, err
	}
	text, err := encode(mine)
	if err != nil {
		return nil, true, err
	}
	var own []json.RawMessage
	if err := json.Unmarshal(text, &own); err != nil {
		return nil, true, err
	}
	var all []listed
	seen := map[string]bool{}
	for _, row := range append(theirs, own...) {
		var k struct {
			Path      string `json:"path"`
			Namespace string `json:"namespace"`
			Key       string `json:"key"`
			At        int64  `json:"updatedAtMs"`
		}
		if json.Unmarshal(row, &k) != nil {
			continue
		}
		l := listed{at: k.At, key: k.Path + "\x00" + k.Namespace + "\x00" + k.Key, row: row}
		if !seen[l.key] {
			seen[l.key] = true
			all = append(all, l)
		}
	}
	if m.Name == "listMemoryFacts" {
		slices.SortStableFunc(all, func(a, b listed) int { return cmp.Compare(a.key, b.key) })
	} else {
		slices.SortStableFunc(all, func(a, b listed) int { return cmp.Compare(b.at, a.at) })
	}
	limit := math.MaxInt
	if m.Name == "listDocs" {
		limit = max(len(theirs), len(own)) // each side has kept to the limit that was asked for
		if n, ok := limitOf(p); ok {
			limit = n
		}
	}
	return page(all, 0, limit), true, nil
}

// limitOf reads the limit of listDocs, which stands at the top or in the filter.
func limitOf(p params) (int, bool) {
	for _, from := range []params{p, p.object("filter")} {
		if _, given := from["limit"]; given {
			n, werr := from.positiveInt("limit", defaultDocs, maxDocs)
			return n, werr == nil
		}
	}
	return defaultDocs, true
}

// ticketUpstream keeps tickets where they are: one of this gateway here, all others
// upstream.
func (r *Router) ticketUpstream(ctx context.Context, c *Call, p params) (any, bool, error) {
	path := p.str("path")
	if path == "" || !r.deps.Upstream.Attached() {
		return nil, false, nil
	}
	here := false
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		d, err := v.Doc(path)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		here = err == nil && d.DeletedAtMs == 0
		return err
	})
	if err != nil || here {
		return nil, err != nil, err
	}
	payload, err := r.forward(ctx, c)
	if err == nil {
		r.deps.Upstream.Touch(store.CollectionTickets | store.CollectionDocs)
	}
	return payload, true, err
}
