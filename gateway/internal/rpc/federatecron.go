package rpc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// federatedCron keeps each schedule where its workflow is. The upstream fires its own.
func (r *Router) federatedCron(ctx context.Context, c *Call, m wire.Method, p params) (any, bool, error) {
	if m.Name == "cronList" {
		return r.mergedCrons(ctx, c, p)
	}
	id, workflow := p.str("cronId"), p.str("workflow")
	here := false
	if id != "" {
		err := r.deps.Store.View(ctx, func(v *store.View) error {
			_, err := v.Cron(id)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			here = err == nil
			return err
		})
		if err != nil {
			return nil, true, err
		}
	}
	there := false
	switch {
	case here:
	case workflow != "":
		var err error
		if there, err = r.deps.Upstream.Has(ctx, workflow); err != nil {
			return nil, true, err
		}
	case id != "" && m.Name != "cronCreate":
		there = r.deps.Upstream.Attached() // it is not ours
	}
	if !there {
		return nil, false, nil
	}
	var payload json.RawMessage
	var err error
	if m.Name == wire.MethodCronRun {
		payload, err = r.launchThere(ctx, c, m.Name, c.Params, forwardedDetail{CronID: cut(id)})
	} else {
		payload, err = r.forward(ctx, c)
	}
	if err == nil {
		r.deps.Upstream.Touch(store.CollectionCrons)
	}
	return payload, true, err
}

// mergedCrons is cronList over both sides, oldest first.
func (r *Router) mergedCrons(ctx context.Context, c *Call, p params) (any, bool, error) {
	theirs, ok, err := r.theirs(ctx, c, p)
	if err != nil || !ok {
		return nil, err != nil, err
	}
	own, err := r.cronList(ctx, c, p)
	if err != nil {
		return nil, true, err
	}
	var all []listed
	rows, _ := own.([]wire.CronRow)
	for _, row := range rows {
		all = append(all, listed{at: row.CreatedAtMs, row: row})
	}
	for _, row := range theirs {
		var k struct {
			At int64 `json:"createdAtMs"`
		}
		if json.Unmarshal(row, &k) == nil {
			all = append(all, listed{at: k.At, row: row})
		}
	}
	slices.SortStableFunc(all, func(a, b listed) int { return cmp.Compare(a.at, b.at) })
	return page(all, 0, len(all)), true, nil
}
