package tracing

import (
	"context"
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// Header is the name of the W3C's header that carries what Traceparent writes.
const Header = "Traceparent"

// Traceparent writes the span of ctx as the W3C's header of that name has it; "" for
// none. A run stores it, so that it finds its launch after any number of restarts.
func Traceparent(ctx context.Context) string { return written(trace.SpanContextFromContext(ctx)) }

// With returns ctx with the span that Traceparent wrote as its span, for what is to be
// called next; ctx itself for "" and what is no such text.
func With(ctx context.Context, traceparent string) context.Context {
	if c, ok := parse(traceparent); ok {
		return trace.ContextWithRemoteSpanContext(ctx, c)
	}
	return ctx
}

func written(c trace.SpanContext) string {
	if !c.IsValid() {
		return ""
	}
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + (c.TraceFlags() & trace.FlagsSampled).String()
}

// parse reads what Traceparent wrote, and nothing else.
func parse(text string) (trace.SpanContext, bool) {
	if len(text) != 55 || text[:3] != "00-" || text[35] != '-' || text[52] != '-' {
		return trace.SpanContext{}, false
	}
	id, err := trace.TraceIDFromHex(text[3:35])
	if err != nil {
		return trace.SpanContext{}, false
	}
	span, err := trace.SpanIDFromHex(text[36:52])
	if err != nil {
		return trace.SpanContext{}, false
	}
	flags, err := hex.DecodeString(text[53:])
	if err != nil {
		return trace.SpanContext{}, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(flags[0]), Remote: true}), true
}
