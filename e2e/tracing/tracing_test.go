// Package tracing holds, with the built binary and a collector of OTLP on loopback,
// that spans lead from Caddy's tracing handler to the attempts of tasks.
package tracing

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

const module = `
export function register(gateway) {
  gateway.register("gated", async (ctx) => {
    await ctx.task("before", async () => 1);
    await ctx.approval("gate", { title: "Go on?" });
    await ctx.task("flaky", async ({ attempt }) => {
      if (attempt === 1) throw new Error("not yet");
      return 2;
    }, { retries: 1 });
    return {};
  });
}
`

// sink is a collector that keeps what it is sent.
type sink struct {
	mu    sync.Mutex
	spans []*otlp.Span
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	var sent collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &sent) != nil {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range sent.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			s.spans = append(s.spans, scope.GetSpans()...)
		}
	}
}

// find waits for a span of a name that has all of the attributes ("key=value").
func (s *sink) find(t *testing.T, name string, attributes ...string) *otlp.Span {
	t.Helper()
	var found *otlp.Span
	rig.Wait(t, fmt.Sprintf("the span %q %v", name, attributes), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, span := range s.spans {
			all := text(span)
			ok := span.GetName() == name
			for _, a := range attributes {
				ok = ok && strings.Contains(all, " "+a+" ")
			}
			if ok {
				found = span
			}
		}
		return found != nil
	})
	return found
}

func text(s *otlp.Span) string {
	var b strings.Builder
	b.WriteByte(' ')
	for _, a := range s.GetAttributes() {
		switch v := a.GetValue(); {
		case v.GetStringValue() != "":
			fmt.Fprintf(&b, "%s=%s ", a.GetKey(), v.GetStringValue())
		default:
			fmt.Fprintf(&b, "%s=%d ", a.GetKey(), v.GetIntValue())
		}
	}
	return b.String()
}

func TestSpansFromTheRequestToTheTask(t *testing.T) {
	spans := &sink{}
	server := httptest.NewServer(spans)
	t.Cleanup(server.Close)
	s := rig.NewSite(t, module)
	s.Env = append(s.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+server.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50")
	config := s.Write("Caddyfile", strings.Replace(s.Caddyfile("", ""), "\tsmithers {", "\ttracing {\n\t\tspan gateway\n\t}\n\tsmithers {", 1))
	token := s.Issue(rig.AllScopes, "alice")
	p := s.Start("run", "--config", config).As(token).Accepts()

	p.LaunchRun("gated", "traced", map[string]any{})
	call := spans.find(t, "rpc launchRun", "rpc.method=launchRun", "smithers.transport=http")
	request := spans.find(t, "gateway")
	require.NotEmpty(t, request.GetSpanId())
	require.NotEmpty(t, call.GetParentSpanId(), "it has the request's span above it")
	rig.Wait(t, "the span of the request", func() bool {
		spans.mu.Lock()
		defer spans.mu.Unlock()
		for _, span := range spans.spans {
			if string(span.GetSpanId()) == string(call.GetParentSpanId()) {
				return span.GetName() == "gateway"
			}
		}
		return false
	})
	p.Status("traced", "waiting-approval")
	run := spans.find(t, "run gated", "smithers.run_id=traced", "smithers.workflow=gated", "smithers.status=waiting-approval")
	linked(t, run, call)
	task := spans.find(t, "task before", "smithers.run_id=traced", "smithers.node=before", "smithers.attempt=1", "smithers.status=finished")
	require.Equal(t, run.GetSpanId(), task.GetParentSpanId())

	// The run outlives its request and its process; the next process learns of the
	// collector with the first traced request.
	p.Kill()
	p = s.Start("run", "--config", config).As(token).Accepts()
	require.NoError(t, p.Call(t.Context(), "submitApproval", map[string]any{"runId": "traced", "nodeId": "gate", "approved": true}, nil))
	p.Status("traced", "finished")
	second := spans.find(t, "run gated", "smithers.run_id=traced", "smithers.status=finished")
	linked(t, second, call)
	failed := spans.find(t, "task flaky", "smithers.attempt=1", "smithers.status=failed")
	require.Equal(t, otlp.Status_STATUS_CODE_ERROR, failed.GetStatus().GetCode())
	require.Equal(t, "not yet", failed.GetStatus().GetMessage())
	again := spans.find(t, "task flaky", "smithers.attempt=2", "smithers.status=finished")
	require.Equal(t, second.GetSpanId(), again.GetParentSpanId())

	// A call on a socket is a trace of its own, and an error tells its code.
	socket := p.Dial()
	var refused *client.Error
	require.ErrorAs(t, socket.Call(t.Context(), "getRun", map[string]any{"runId": "nobody"}, nil), &refused)
	require.NotEmpty(t, spans.find(t, "rpc getRun", "smithers.transport=ws", "error.type="+refused.Code).GetLinks())
	require.Empty(t, p.Errors())
}

// linked holds that a run is a trace of its own with a link to its launch.
func linked(t *testing.T, run, call *otlp.Span) {
	t.Helper()
	require.Empty(t, run.GetParentSpanId())
	require.Len(t, run.GetLinks(), 1)
	require.Equal(t, hex.EncodeToString(call.GetSpanId()), hex.EncodeToString(run.GetLinks()[0].GetSpanId()))
}
