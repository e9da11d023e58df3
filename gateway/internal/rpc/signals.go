package rpc

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func (r *Router) submitSignal(ctx context.Context, c *Call, p params) (any, error) {
	runID, name, key := p.str("runId"), p.str("signalName"), p.str("correlationKey")
	s := engine.Signal{RunID: runID, Name: name, CorrelationKey: key, By: actor(c)}
	if s.Name == "" {
		s.Name = key
	}
	if runID == "" || s.Name == "" {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "runId and signalName are required")
	}
	correlation, given := p.text("correlationId")
	if !given {
		correlation = key
	}
	s.CorrelationID = strings.TrimSpace(correlation)
	if s.Payload = p.raw("data"); s.Payload == nil {
		s.Payload = p.raw("payload")
	}
	if s.Payload == nil {
		s.Payload = json.RawMessage("{}")
	}
	res, err := r.deps.Engine.Signal(ctx, s)
	if r.deps.Counters.Signalled != nil {
		result := "accepted"
		if err != nil {
			result = "rejected"
		}
		r.deps.Counters.Signalled(result)
	}
	if err != nil {
		return nil, err
	}
	c.widen(runID)
	return wire.Signalled{RunID: runID, Seq: res.Seq, SignalName: s.Name,
		CorrelationID: optional(s.CorrelationID), ReceivedAtMs: res.ReceivedAtMs}, nil
}
