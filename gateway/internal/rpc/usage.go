package rpc

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxUsageEvents bounds listRunTokenUsage (Q41).
const maxUsageEvents = 10_000

func (r *Router) listRunTokenUsage(ctx context.Context, _ *Call, p params) (any, error) {
	id, werr := p.runID()
	if werr != nil {
		return nil, werr
	}
	usage := wire.TokenUsage{RunID: id}
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		events, err := v.EventsOfType(id, wire.TypeTokenUsageReported, maxUsageEvents)
		if errors.Is(err, store.ErrNotFound) {
			return runNotFound(id)
		}
		for _, ev := range events {
			usage.Events = append(usage.Events, usageRow(ev))
		}
		return err
	})
	return usage, err
}

// usageRow reads an event leniently: what a task reports is whatever it likes.
func usageRow(ev *store.Event) wire.TokenUsageRow {
	p := parseParams(ev.Payload)
	number := func(name string) int64 { f, _ := p.number(name); return int64(f) }
	named := func(name string) string {
		if s := p.str(name); s != "" {
			return s
		}
		return "unknown"
	}
	row := wire.TokenUsageRow{NodeID: p.str("nodeId"), Iteration: int(number("iteration")), Attempt: int(number("attempt")),
		Model: named("model"), Agent: named("agent"), InputTokens: number("inputTokens"), OutputTokens: number("outputTokens"),
		CacheReadTokens: number("cacheReadTokens"), CacheWriteTokens: number("cacheWriteTokens"),
		ReasoningTokens: number("reasoningTokens"), TimestampMs: number("timestampMs")}
	if row.TimestampMs == 0 {
		row.TimestampMs = ev.AtMs
	}
	return row
}

// decoded is a stored JSON value for an answer, null when there is none.
func decoded(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
