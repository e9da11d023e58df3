package rpc

import (
	"context"
	"math"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// listDocs shows all documents, tombstones on demand.
func (r *Router) listDocs(ctx context.Context, _ *Call, p params) (any, error) {
	filter := p.object("filter")
	in := func(name string) params {
		if raw, given := p[name]; given && string(raw) != "null" {
			return p
		}
		return filter
	}
	limit, werr := in("limit").positiveInt("limit", defaultDocs, maxDocs)
	if werr != nil {
		return nil, werr
	}
	f := store.DocFilter{Kind: in("kind").str("kind"), Limit: limit}
	f.IncludeDeleted, _ = in("includeDeleted").boolean("includeDeleted")
	if raw, given := in("updatedAfterMs")["updatedAfterMs"]; given && string(raw) != "null" {
		after, ok := in("updatedAfterMs").number("updatedAfterMs")
		if !ok || after < 0 || after > 1<<53 || after != math.Trunc(after) {
			return nil, wire.Errorf(wire.CodeInvalidInput, "updatedAfterMs must be a non-negative integer.")
		}
		f.UpdatedAfterMs = int64(after)
	}
	docs, err := r.docs(ctx, f)
	rows := []wire.DocRow{}
	for _, d := range docs {
		rows = append(rows, wire.DocRow{Path: d.Path, Kind: d.Kind, Content: d.Content, ContentHash: d.ContentHash,
			Status: optional(d.Status), UpdatedAtMs: d.UpdatedAtMs, DeletedAtMs: optionalMs(d.DeletedAtMs)})
	}
	return rows, err
}
