package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/jsmod"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/internal/webhook"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// serveWebhook answers POST /webhooks/{key}. Nothing but the signature counts: no
// token, no host, no origin.
func (h *handler) serveWebhook(w http.ResponseWriter, r *http.Request, run *running, segment, path string) {
	key, err := url.PathUnescape(segment)
	if err != nil || !utf8.ValidString(key) {
		h.malformed(w, path)
		return
	}
	ctx, cancel := run.limit(r.Context(), h.g.requestTimeout())
	defer cancel()
	r = r.WithContext(ctx)
	if run.federation.Active() {
		if done := h.forwardWebhook(ctx, w, r, run, key); done {
			return
		}
	}
	receiver := webhook.Receiver{Engine: run.engine, Metrics: webhookMetrics{run.metrics}, Logger: run.logger.Named("webhook"), Tracer: &h.g.tracer}
	answer, failure := receiver.Receive(ctx, webhook.Request{
		Workflow: key, Header: r.Header, Remote: remoteHost(r),
		Body: func() ([]byte, *wire.Error) { return h.body(w, r) },
	})
	if failure != nil {
		run.metrics.failed("webhook", "http", "", failure.Code)
		if wire.Retryable(failure.Code) {
			w.Header().Set("Retry-After", "1")
		}
		h.rest(w, failure)
		return
	}
	h.json(w, http.StatusOK, answer)
}

// forwardWebhook hands a delivery for a workflow of the upstream to it, as it came; the
// upstream knows the secret. False: the workflow is not the upstream's.
func (h *handler) forwardWebhook(ctx context.Context, w http.ResponseWriter, r *http.Request, run *running, key string) bool {
	there, err := run.federation.Has(ctx, key)
	if err == nil && !there {
		return false
	}
	m := webhookMetrics{run.metrics}
	ctx, span := h.g.tracer.Delivery(ctx, key)
	defer span.End()
	var answer *upstream.Delivered
	if err == nil {
		m.Received(key)
		body, failure := h.body(w, r)
		if failure != nil {
			run.metrics.failed("webhook", "http", "", failure.Code)
			h.rest(w, failure)
			return true
		}
		answer, err = run.federation.Webhook(ctx, key, r.Header, body)
	}
	if err != nil {
		var failure *wire.Error
		if !errors.As(err, &failure) {
			failure = wire.Errorf(wire.CodeUnavailable, "The delivery could not be handed on.")
		}
		span.Failed(failure.Code, failure.Message, true)
		run.metrics.failed("webhook", "http", "", failure.Code)
		if wire.Retryable(failure.Code) {
			w.Header().Set("Retry-After", "1")
		}
		h.rest(w, failure)
		return true
	}
	if answer.Status == http.StatusOK {
		m.Verified(key)
	} else {
		m.Rejected(key, "upstream")
	}
	h.json(w, answer.Status, answer.Body)
	return true
}

// webhookOf is a module's webhook option for the engine.
func webhookOf(w *jsmod.Webhook) *engine.Webhook {
	if w == nil {
		return nil
	}
	hook := &engine.Webhook{Secret: w.Secret, SignatureHeader: w.SignatureHeader, SignaturePrefix: webhook.DefaultSignaturePrefix,
		DeliveryHeader: w.DeliveryHeader}
	if w.SignaturePrefix != nil {
		hook.SignaturePrefix = *w.SignaturePrefix
	}
	if s := w.Signal; s != nil {
		hook.Signal = &engine.WebhookSignal{Name: s.Name, CorrelationID: s.CorrelationIDPath, RunID: s.RunIDPath, Payload: s.PayloadPath}
	}
	if w.Run == nil || w.Run.Enabled == nil || *w.Run.Enabled {
		hook.Run = &engine.WebhookRun{}
		if w.Run != nil {
			hook.Run.Input = w.Run.InputPath
		}
	}
	return hook
}

// webhookMetrics counts deliveries.
type webhookMetrics struct{ m *metrics }

func (w webhookMetrics) Received(workflow string) {
	w.m.webhooksReceived.WithLabelValues(workflow).Inc()
}
func (w webhookMetrics) Verified(workflow string) {
	w.m.webhooksVerified.WithLabelValues(workflow).Inc()
}
func (w webhookMetrics) Rejected(workflow, reason string) {
	w.m.webhooksRejected.WithLabelValues(workflow, reason).Inc()
}

var _ webhook.Metrics = webhookMetrics{}
