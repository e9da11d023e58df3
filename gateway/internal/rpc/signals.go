package rpc

import (
	"context"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func (r *Router) submitSignal(ctx context.Context, c *Call, p params) (any, error) {
	s := engine.Signal{RunID: p.str("runId"), Name: p.str("signalName"), CorrelationID: p.str("correlationId"),
		CorrelationKey: p.str("correlationKey"), Payload: p.raw("data"), By: actor(c)}
	if s.Payload == nil {
		s.Payload = p.raw("payload")
	}
	res, err := r.deps.Engine.Signal(ctx, s)
	if r.deps.Counters.Signalled != nil {
		outcome := "accepted"
		if err != nil {
			outcome = "rejected"
		}
		r.deps.Counters.Signalled(outcome)
	}
	if err != nil {
		return nil, err
	}
	c.widen(s.RunID)
	return wire.Signalled{RunID: s.RunID, Seq: res.Seq, SignalName: res.Name, CorrelationID: optional(res.CorrelationID),
		ReceivedAtMs: res.ReceivedAtMs}, nil
}
