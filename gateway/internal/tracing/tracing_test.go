package tracing

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// recorded returns a context with a span of a request, and what has ended so far.
func recorded(t *testing.T, options ...sdk.TracerProviderOption) (context.Context, trace.Span, *tracetest.InMemoryExporter) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	p := sdk.NewTracerProvider(append(options, sdk.WithSyncer(spans))...)
	ctx, span := p.Tracer("test").Start(t.Context(), "request")
	return ctx, span, spans
}

func TestCallIsChildOfItsRequest(t *testing.T) {
	ctx, request, spans := recorded(t)
	var tracer Tracer
	inner, span := tracer.Call(ctx, "launchRun", "http")
	parent := Traceparent(inner)
	span.Failed("FORBIDDEN", "no", false)
	span.End()
	got := spans.GetSpans()[0]
	require.Equal(t, "rpc launchRun", got.Name)
	require.Equal(t, request.SpanContext().SpanID(), got.Parent.SpanID())
	require.Equal(t, "00-"+got.SpanContext.TraceID().String()+"-"+got.SpanContext.SpanID().String()+"-01", parent)
	require.Equal(t, codes.Unset, got.Status.Code, "a caller's mistake is no error of the gateway")
	require.Contains(t, got.Attributes, attribute.String("error.type", "FORBIDDEN"))
}

func TestCallOnASocketIsLinkedToItsOpening(t *testing.T) {
	request, opening, spans := recorded(t)
	var tracer Tracer
	_, span := tracer.Call(tracer.Socket(t.Context(), request), "listRuns", "ws")
	span.End()
	got := spans.GetSpans()[0]
	require.NotEqual(t, opening.SpanContext().TraceID(), got.SpanContext.TraceID())
	require.Len(t, got.Links, 1)
	require.Equal(t, opening.SpanContext().SpanID(), got.Links[0].SpanContext.SpanID())
}

func TestRunIsLinkedToItsLaunchAndHoldsItsTasks(t *testing.T) {
	ctx, _, spans := recorded(t)
	var tracer Tracer
	none, _ := tracer.Run(Work{RunID: "r"})
	require.Nil(t, none, "nothing is known of a provider yet")
	inner, call := tracer.Call(ctx, "launchRun", "http")
	work := Work{RunID: "r", Workflow: "w", Parent: Traceparent(inner)}
	call.End()
	run, span := tracer.Run(work)
	task := Task(run, work, "build", 2, 3)
	task.Failed("TASK_TIMEOUT", "late", true)
	task.End()
	span.Status("failed")
	span.End()
	all := spans.GetSpans()
	require.Len(t, all, 3)
	require.Equal(t, "task build", all[1].Name)
	require.Equal(t, codes.Error, all[1].Status.Code)
	require.Equal(t, all[2].SpanContext.SpanID(), all[1].Parent.SpanID())
	for _, want := range []attribute.KeyValue{attribute.String("smithers.run_id", "r"), attribute.String("smithers.workflow", "w"),
		attribute.String("smithers.node", "build"), attribute.Int("smithers.iteration", 2), attribute.Int("smithers.attempt", 3)} {
		require.Contains(t, all[1].Attributes, want)
	}
	require.False(t, all[2].Parent.IsValid(), "a run outlives its launch: a trace of its own")
	require.Equal(t, all[0].SpanContext.SpanID(), all[2].Links[0].SpanContext.SpanID())
}

func TestDeliveryIsChildOfItsRequest(t *testing.T) {
	var tracer Tracer
	none, span := tracer.Delivery(t.Context(), "hook")
	require.Empty(t, Traceparent(none), "a request that is not traced")
	span.End()
	ctx, request, spans := recorded(t)
	_, span = tracer.Delivery(ctx, "hook")
	span.End()
	got := spans.GetSpans()[0]
	require.Equal(t, "webhook hook", got.Name)
	require.Equal(t, request.SpanContext().SpanID(), got.Parent.SpanID())
	require.True(t, tracer.Active(), "the run that it launches is traced")
}

func TestTickIsATraceOfItsOwn(t *testing.T) {
	var tracer Tracer
	none, _ := tracer.Tick(t.Context(), "w", "c")
	require.Empty(t, Traceparent(none), "nothing is known of a provider yet")
	ctx, _, spans := recorded(t)
	_, call := tracer.Call(ctx, "listRuns", "http")
	call.End()
	inner, tick := tracer.Tick(t.Context(), "w", "c")
	require.NotEmpty(t, Traceparent(inner))
	tick.End()
	got := spans.GetSpans()[1]
	require.Equal(t, "cron w", got.Name)
	require.False(t, got.Parent.IsValid())
	require.Contains(t, got.Attributes, attribute.String("smithers.cron_id", "c"))
}

// What an attempt calls is below its span, also in another process.
func TestTraceparentLeadsBack(t *testing.T) {
	ctx, _, spans := recorded(t)
	var tracer Tracer
	_, call := tracer.Call(ctx, "launchRun", "http")
	call.End()
	run, span := tracer.Run(Work{RunID: "r", Workflow: "w"})
	task := Task(run, Work{RunID: "r", Workflow: "w"}, "n", 0, 1)
	called := With(t.Context(), task.Traceparent())
	require.Equal(t, task.Traceparent(), Traceparent(called))
	task.End()
	span.End()
	require.Equal(t, spans.GetSpans()[1].SpanContext.SpanID(), trace.SpanContextFromContext(called).SpanID())
	require.Equal(t, t.Context(), With(t.Context(), ""))
	require.Equal(t, t.Context(), With(t.Context(), "00-0-0-01"))
	require.Empty(t, Span{}.Traceparent())
}

func TestUnsampledLaunchLeavesItsRunUntraced(t *testing.T) {
	ctx, _, _ := recorded(t, sdk.WithSampler(sdk.NeverSample()))
	var tracer Tracer
	inner, _ := tracer.Call(ctx, "launchRun", "http")
	require.NotEmpty(t, Traceparent(inner))
	run, _ := tracer.Run(Work{RunID: "r", Parent: Traceparent(inner)})
	require.Nil(t, run)
}

func TestUnsampledSocketLeavesItsCallsAndRunsUntraced(t *testing.T) {
	request, opening, _ := recorded(t, sdk.WithSampler(sdk.NeverSample()))
	var tracer Tracer
	inner, call := tracer.Call(tracer.Socket(t.Context(), request), "launchRun", "ws")
	call.End()
	require.Equal(t, opening.SpanContext(), trace.SpanContextFromContext(inner))
	require.Equal(t, Span{}, call)
	run, _ := tracer.Run(Work{RunID: "r", Parent: Traceparent(inner)})
	require.Nil(t, run)
}

// A socket outlives the provider of its opening, which a reload shuts down.
func TestOldSocketsDoNotBringTheirProviderBack(t *testing.T) {
	former, _, before := recorded(t)
	var tracer Tracer
	socket := tracer.Socket(t.Context(), former)
	run, span := tracer.Run(Work{RunID: "first"})
	require.NotNil(t, run, "the opening of a socket tells the provider, too")
	span.End()
	request, _, after := recorded(t)
	_, call := tracer.Call(request, "listRuns", "http")
	call.End()
	_, call = tracer.Call(socket, "listRuns", "ws")
	call.End()
	require.Len(t, before.GetSpans(), 2)
	_, span = tracer.Run(Work{RunID: "second"})
	span.End()
	require.Len(t, before.GetSpans(), 2)
	require.Len(t, after.GetSpans(), 2)
}

// A reload that takes tracing away shuts its provider down.
func TestNothingIsTracedOnceTheProviderHasEnded(t *testing.T) {
	ctx, request, spans := recorded(t)
	var tracer Tracer
	socket := tracer.Socket(t.Context(), ctx)
	_, call := tracer.Call(ctx, "launchRun", "http")
	call.End()
	work := Work{RunID: "r", Workflow: "w"}
	run, span := tracer.Run(work)
	require.True(t, tracer.Active())

	require.NoError(t, request.TracerProvider().(*sdk.TracerProvider).Shutdown(t.Context()))
	spans.Reset()
	require.Equal(t, Span{}, Task(run, work, "n", 0, 1), "an attempt of a run that was in memory")
	span.End()
	require.False(t, tracer.Active())
	none, _ := tracer.Run(work)
	require.Nil(t, none)
	none, _ = tracer.Tick(t.Context(), "w", "c")
	require.Empty(t, Traceparent(none))
	inner, call := tracer.Call(socket, "launchRun", "ws")
	require.Empty(t, Traceparent(inner), "a call on a socket of before")
	call.End()
	_, call = tracer.Call(ctx, "launchRun", "http") // a request of before, which is not done yet
	call.End()
	require.False(t, tracer.Active())
	require.Empty(t, spans.GetSpans())

	again, _, _ := recorded(t)
	_, call = tracer.Call(again, "launchRun", "http")
	call.End()
	require.True(t, tracer.Active(), "a reload that brings it back")
}

// FuzzParse holds that nothing a database may hold makes parse fail, and that what it
// takes is what Traceparent writes.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "00-", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parse(text)
		if !ok {
			return
		}
		require.True(t, c.IsValid())
		require.Equal(t, text[:52], Traceparent(trace.ContextWithSpanContext(t.Context(), c))[:52])
	})
}

func TestOffCostsNoMemory(t *testing.T) {
	for name, tracer := range map[string]*Tracer{"nil": nil, "idle": new(Tracer)} {
		ctx := t.Context()
		require.Zero(t, testing.AllocsPerRun(100, func() { off(ctx, tracer) }), name)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			_, hook := tracer.Delivery(ctx, "w")
			hook.End()
			_, tick := tracer.Tick(ctx, "w", "c")
			tick.End()
			_ = With(ctx, "")
		}), name)
	}
}

// off is all that a call, a run and an attempt do when nothing is traced.
func off(ctx context.Context, tracer *Tracer) {
	ctx, call := tracer.Call(ctx, "launchRun", "http")
	_ = Traceparent(ctx)
	call.End()
	if tracer.Active() {
		panic("active")
	}
	var untraced context.Context // what Run returns
	task := Task(untraced, Work{}, "n", 0, 1)
	_ = task.Traceparent()
	task.Status("finished")
	task.End()
}

func BenchmarkOff(b *testing.B) {
	ctx, tracer := b.Context(), new(Tracer)
	b.ReportAllocs()
	for b.Loop() {
		off(ctx, tracer)
	}
}
