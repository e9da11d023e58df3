package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Defaults of a workflow's webhook.
const (
	DefaultSignatureHeader = "X-Hub-Signature-256"
	DefaultSignaturePrefix = "sha256="
	DefaultDeliveryHeader  = "X-GitHub-Delivery"
)

// maxDeliveryID bounds the name of a delivery, in bytes.
const maxDeliveryID = 256

// Engine is what a Receiver needs of *engine.Engine.
type Engine interface {
	Workflow(key string) (engine.Definition, bool)
	Deliver(ctx context.Context, d engine.Delivery) (engine.DeliveryResult, error)
}

// Metrics is told what happens. Implementations must not block.
type Metrics interface {
	Received(workflow string)
	Verified(workflow string)
	Rejected(workflow, reason string) // reason is an error code
}

// Receiver takes deliveries. Safe for concurrent use.
type Receiver struct {
	Engine  Engine
	Metrics Metrics         // nil: none
	Logger  *zap.Logger     // nil: none
	Tracer  *tracing.Tracer // makes the spans of deliveries; nil: none
}

// Request is a delivery as it came.
type Request struct {
	Workflow string
	Header   http.Header
	// Body reads the bounded body. It is called for workflows that have a webhook only.
	Body   func() ([]byte, *wire.Error)
	Remote string // client address
}

// Receive checks a delivery, acts upon it and returns the answer.
func (r *Receiver) Receive(ctx context.Context, q Request) (json.RawMessage, *wire.Error) {
	label := q.Workflow
	if _, known := r.Engine.Workflow(q.Workflow); !known {
		label = "unknown" // names come from clients: each would make a series
	}
	if r.Metrics != nil {
		r.Metrics.Received(label)
	}
	ctx, span := r.Tracer.Delivery(ctx, label)
	defer span.End()
	answer, err := r.receive(ctx, q)
	if err == nil {
		return answer, nil
	}
	failure, ok := errors.AsType[*wire.Error](err)
	if !ok {
		if r.Logger != nil {
			r.Logger.Error("webhook failed", zap.String("workflow", q.Workflow), zap.Error(err))
		}
		failure = wire.Errorf(wire.CodeServerError, "The delivery could not be handled.")
	}
	if r.Metrics != nil {
		r.Metrics.Rejected(label, failure.Code)
	}
	span.Failed(failure.Code, failure.Message, !ok || failure.Code == wire.CodeServerError || failure.Code == wire.CodeUnavailable)
	return nil, failure
}

func (r *Receiver) receive(ctx context.Context, q Request) (json.RawMessage, error) {
	d, ok := r.Engine.Workflow(q.Workflow)
	if !ok {
		return nil, wire.Errorf(wire.CodeNotFound, "Unknown workflow: %s", q.Workflow)
	}
	hook := d.Webhook
	if hook == nil {
		return nil, wire.Errorf(wire.CodeNotFound, "Webhook not configured for workflow: %s", q.Workflow)
	}
	secret := strings.TrimSpace(hook.Secret)
	if secret == "" {
		return nil, wire.Errorf(wire.CodeServerError, "Webhook secret is not configured")
	}
	if hook.Signal == nil && hook.Run == nil {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "Webhook of workflow %s neither sends a signal nor starts a run", q.Workflow)
	}
	body, failure := q.Body()
	if failure != nil {
		return nil, failure
	}
	signatures := q.Header.Values(orDefault(hook.SignatureHeader, DefaultSignatureHeader))
	if len(signatures) != 1 || !Verify(secret, hook.SignaturePrefix, signatures[0], body) {
		return nil, wire.Errorf(wire.CodeUnauthorized, "Webhook signature verification failed")
	}
	if r.Metrics != nil {
		r.Metrics.Verified(q.Workflow)
	}
	delivery, err := deliveryOf(q, hook, body)
	if err != nil {
		return nil, err
	}
	res, err := r.Engine.Deliver(ctx, *delivery)
	if err != nil {
		return nil, err
	}
	return answer(q.Workflow, res)
}

// deliveryOf reads an authentic body.
func deliveryOf(q Request, hook *engine.Webhook, body []byte) (*engine.Delivery, error) {
	value, raw, ok := decode(body)
	if !ok {
		return nil, wire.Errorf(wire.CodeInvalidInput, "Webhook payload must be valid JSON.")
	}
	digest := sha256.Sum256(body)
	d := &engine.Delivery{Workflow: q.Workflow, Digest: digest[:], Remote: q.Remote,
		ID: strings.TrimSpace(q.Header.Get(orDefault(hook.DeliveryHeader, DefaultDeliveryHeader)))}
	if len(d.ID) > maxDeliveryID {
		return nil, wire.Errorf(wire.CodeInvalidInput, "Webhook delivery id exceeds %d characters.", maxDeliveryID)
	}
	var err error
	if s := hook.Signal; s != nil {
		d.Signal = &engine.DeliverySignal{Name: s.Name, CorrelationID: text(value, s.CorrelationID), RunID: text(value, s.RunID)}
		if d.Signal.Payload, err = encoded(value, raw, s.Payload); err != nil {
			return nil, err
		}
	}
	if hook.Run != nil {
		d.Launch = true
		if d.Input, err = encoded(value, raw, hook.Run.Input); err != nil {
			return nil, err
		}
		if len(d.Input) == 0 || d.Input[0] != '{' {
			d.Input = append(append([]byte(`{"payload":`), d.Input...), '}')
		}
	}
	return d, nil
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// delivered is a signal in an answer.
type delivered struct {
	RunID         string  `json:"runId"`
	Seq           int64   `json:"seq"`
	SignalName    string  `json:"signalName"`
	CorrelationID *string `json:"correlationId"`
	ReceivedAtMs  int64   `json:"receivedAtMs"`
}

func answer(workflow string, res engine.DeliveryResult) (json.RawMessage, error) {
	out := struct {
		OK            bool           `json:"ok"`
		Workflow      string         `json:"workflow"`
		Verified      bool           `json:"verified"`
		Delivered     []delivered    `json:"delivered"`
		MatchedRunIDs []string       `json:"matchedRunIds"`
		Started       *wire.Launched `json:"started"`
		Repeated      bool           `json:"repeated,omitempty"` // this gateway's own
	}{OK: true, Workflow: workflow, Verified: true, Delivered: []delivered{}, MatchedRunIDs: []string{}, Repeated: res.Repeated}
	for _, s := range res.Delivered {
		one := delivered{RunID: s.RunID, Seq: s.Seq, SignalName: s.Name, ReceivedAtMs: s.ReceivedAtMs}
		if s.CorrelationID != "" {
			one.CorrelationID = &s.CorrelationID
		}
		out.Delivered = append(out.Delivered, one)
		out.MatchedRunIDs = append(out.MatchedRunIDs, s.RunID)
	}
	if l := res.Started; l != nil {
		out.Started = &wire.Launched{RunID: l.RunID, Workflow: l.Workflow, System: l.System}
	}
	return json.Marshal(out)
}
