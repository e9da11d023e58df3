// Package tracing makes the OpenTelemetry spans of the gateway. It uses the API only:
// the provider is the one of the span that a request brings in its context, which
// Caddy's tracing handler makes. Without such a request nothing is traced, and a call
// costs one look at its context.
package tracing

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// scope names this library to whoever reads the spans.
const scope = "github.com/smithersai/caddy-smithers/gateway"

// Tracer makes spans. What outlives requests, a run, is traced with the provider of
// the traced request that came last. The zero value is ready, nil makes no spans; safe
// for concurrent use.
type Tracer struct {
	latest atomic.Pointer[from]
}

// from is what a provider gave, kept so that a request need not ask it again.
type from struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
}

type originKey struct{}

// Span is one operation. The zero value is none: all methods do nothing.
type Span struct{ span trace.Span }

// Socket returns ctx with the span of the request that opened a socket as the origin
// of the calls on it. They become traces of their own with a link to it: a socket may
// last for weeks, and no backend shows such a trace. One that was not sampled has none,
// nor have the runs that they launch.
func (t *Tracer) Socket(ctx, request context.Context) context.Context {
	span := trace.SpanFromContext(request)
	if t == nil || !span.SpanContext().IsValid() {
		return ctx
	}
	t.from(span.TracerProvider())
	return context.WithValue(ctx, originKey{}, span)
}

// Call begins the span of an RPC call, if its request is traced.
func (t *Tracer) Call(ctx context.Context, method, transport string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	var tracer trace.Tracer
	var options []trace.SpanStartOption
	if parent := trace.SpanFromContext(ctx); parent.SpanContext().IsValid() {
		tracer = t.from(parent.TracerProvider())
	} else {
		origin, ok := ctx.Value(originKey{}).(trace.Span)
		switch {
		case !ok:
			return ctx, Span{}
		case !origin.SpanContext().IsSampled():
			return trace.ContextWithSpanContext(ctx, origin.SpanContext()), Span{}
		}
		// Not remembered: a socket may outlive its provider, which a reload replaced.
		tracer = origin.TracerProvider().Tracer(scope)
		options = append(options, trace.WithSpanKind(trace.SpanKindServer), trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: origin.SpanContext()}))
	}
	options = append(options, trace.WithAttributes(attribute.String("rpc.method", method), attribute.String("smithers.transport", transport)))
	ctx, span := tracer.Start(ctx, "rpc "+method, options...)
	return ctx, Span{span}
}

// Delivery begins the span of a webhook's delivery, if its request is traced.
func (t *Tracer) Delivery(ctx context.Context, workflow string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, Span{}
	}
	ctx, span := t.from(parent.TracerProvider()).Start(ctx, "webhook "+workflow,
		trace.WithAttributes(attribute.String("smithers.workflow", workflow)))
	return ctx, Span{span}
}

// Tick begins the span of a schedule's launch, a trace of its own: there is no request.
func (t *Tracer) Tick(ctx context.Context, workflow, cronID string) (context.Context, Span) {
	known := t.current()
	if known == nil {
		return ctx, Span{}
	}
	ctx, span := known.tracer.Start(ctx, "cron "+workflow, trace.WithNewRoot(),
		trace.WithAttributes(attribute.String("smithers.workflow", workflow), attribute.String("smithers.cron_id", cronID)))
	return ctx, Span{span}
}

// from remembers the provider for runs.
func (t *Tracer) from(p trace.TracerProvider) trace.Tracer {
	if known := t.latest.Load(); known != nil && known.provider == p {
		return known.tracer
	}
	fresh := &from{provider: p, tracer: p.Tracer(scope)}
	t.latest.Store(fresh)
	return fresh.tracer
}

// current is what runs are traced with, or nil. A provider that has been shut down, as by a
// reload that takes tracing away, is forgotten: nothing reads its spans any more.
func (t *Tracer) current() *from {
	if t == nil {
		return nil
	}
	known := t.latest.Load()
	if known == nil || !ended(known.provider) {
		return known
	}
	t.latest.CompareAndSwap(known, nil)
	return nil
}

// ended reports whether a provider was shut down: OpenTelemetry's gives tracers of no
// effect from then on.
func ended(p trace.TracerProvider) bool {
	_, none := p.Tracer(scope).(noop.Tracer)
	return none
}

// Work is what a span of a run says of it.
type Work struct{ RunID, Workflow, Parent string }

// Run begins the span of a run's stay in memory: a trace of its own, linked to the
// call that launched the run, whose Traceparent Work.Parent is. A launch that was not
// sampled leaves its run untraced.
func (t *Tracer) Run(w Work) (context.Context, Span) {
	known := t.current()
	if known == nil {
		return nil, Span{}
	}
	options := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithAttributes(
		attribute.String("smithers.run_id", w.RunID), attribute.String("smithers.workflow", w.Workflow))}
	if launch, ok := parse(w.Parent); ok {
		if !launch.IsSampled() {
			return nil, Span{}
		}
		options = append(options, trace.WithLinks(trace.Link{SpanContext: launch}))
	}
	ctx, span := known.tracer.Start(context.Background(), "run "+w.Workflow, options...)
	return ctx, Span{span}
}

// Task begins the span of one attempt within the span of its run. run is what Run
// returned; nil makes no span.
func Task(run context.Context, w Work, node string, iteration, attempt int) Span {
	if run == nil {
		return Span{}
	}
	tracer := trace.SpanFromContext(run).TracerProvider().Tracer(scope)
	if _, none := tracer.(noop.Tracer); none { // a reload took tracing away while the run was in memory
		return Span{}
	}
	_, span := tracer.Start(run, "task "+node, trace.WithAttributes(
		attribute.String("smithers.run_id", w.RunID), attribute.String("smithers.workflow", w.Workflow), attribute.String("smithers.node", node),
		attribute.Int("smithers.iteration", iteration), attribute.Int("smithers.attempt", attempt)))
	return Span{span}
}

// Traceparent writes the span as Traceparent does; "" for none.
func (s Span) Traceparent() string {
	if s.span == nil {
		return ""
	}
	return written(s.span.SpanContext())
}

// Active reports whether runs are traced: from the first traced request on, until the
// provider of the last one is shut down.
func (t *Tracer) Active() bool { return t.current() != nil }

// Failed marks the span with an error's code and message. ours says that it is an
// error of this side, not of the caller.
func (s Span) Failed(code, message string, ours bool) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attribute.String("error.type", code))
	if ours {
		s.span.SetStatus(codes.Error, message)
	}
}

// Status tells how a run or an attempt left off.
func (s Span) Status(status string) {
	if s.span != nil {
		s.span.SetAttributes(attribute.String("smithers.status", status))
	}
}

// End ends the span; the first call counts.
func (s Span) End() {
	if s.span != nil {
		s.span.End()
	}
}
