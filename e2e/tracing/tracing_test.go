// Package tracing holds, with the built binary and a collector of OTLP on loopback,
// that spans lead from Caddy's tracing handler to the attempts of tasks.
package tracing

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

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
  gateway.register("broken", async () => { throw new Error("no such order"); });
}
`

func TestSpansFromTheRequestToTheTask(t *testing.T) {
	spans := collect(t)
	s := rig.NewSite(t, module)
	config := spans.config(s, "gateway", "")
	token := s.Issue(rig.AllScopes, "alice")
	p := s.Start("run", "--config", config).As(token).Accepts()

	p.LaunchRun("gated", "traced", map[string]any{})
	call := spans.find(t, "rpc launchRun", "rpc.method=launchRun", "smithers.transport=http")
	require.Equal(t, "gateway", spans.above(t, call).GetName(), "it has the request's span above it")
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

	p.LaunchRun("broken", "broken", map[string]any{})
	whole := spans.find(t, "run broken", "smithers.run_id=broken", "smithers.status=failed")
	require.Equal(t, otlp.Status_STATUS_CODE_ERROR, whole.GetStatus().GetCode())
	require.Equal(t, "no such order", whole.GetStatus().GetMessage())

	// A call on a socket is a trace of its own, and an error tells its code.
	socket := p.Dial()
	var refused *client.Error
	require.ErrorAs(t, socket.Call(t.Context(), "getRun", map[string]any{"runId": "nobody"}, nil), &refused)
	require.NotEmpty(t, spans.find(t, "rpc getRun", "smithers.transport=ws", "error.type="+refused.Code).GetLinks())
	require.Empty(t, p.Errors())
}
