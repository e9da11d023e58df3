package gateway

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const tracingModule = `export function register(gateway) {
  gateway.register("trace", async (ctx) => {
    const n = await ctx.task("ask", async ({ usage, log }) => {
      log("asking");
      usage({ model: "m", agent: "a", inputTokens: 3, outputTokens: 4, reasoningTokens: 5 });
      return { n: 1 };
    });
    await ctx.memory.set("style", { indent: 2 }, { namespace: "team", ttlMs: 3600000 });
    await ctx.score({ scorer: "quality", node: "ask", score: 0.5, reason: "so so", input: "q", output: n, groundTruth: [1], context: null, meta: { k: 1 } });
    return n;
  });
}`

// TestScriptsLeaveWhatIsRead is the contract for what a script module reports by
// usage, ctx.memory and ctx.score.
func TestScriptsLeaveWhatIsRead(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, writeFile(filepath.Join(dir, "gateway.mjs"), tracingModule))
	c := &contract{shapes: loadShapes(t), harness: start(t, dir, func(s *Settings) {
		s.Module, s.GoWorkflows = filepath.Join(dir, "gateway.mjs"), nil
	}, Site{})}
	c.run = c.launch("trace", nil)
	c.await(c.run, "finished")
	row := c.answer("listRunTokenUsage", obj{"runId": c.run}).(obj)["events"].([]any)[0].(obj)
	require.Equal(t, []any{"ask", 1.0, "m", "a", 3.0, 4.0, 0.0, 5.0}, []any{row["nodeId"], row["attempt"], row["model"], row["agent"],
		row["inputTokens"], row["outputTokens"], row["cacheReadTokens"], row["reasoningTokens"]})
	fact := c.answer("listMemoryFacts", obj{"namespace": "team"}).([]any)[0].(obj)
	require.Equal(t, []any{"style", `{"indent":2}`, 3600000.0}, []any{fact["key"], fact["valueJson"], fact["ttlMs"]})
	rows := c.answer("listScoresForRuns", obj{"runIds": []string{c.run}}).(obj)["rows"].([]any)
	detail := c.answer("getScoreDetail", obj{"runId": c.run, "scoreId": rows[0].(obj)["scoreId"]}).(obj)
	require.Equal(t, []any{"q", obj{"n": 1.0}, []any{1.0}, obj{"k": 1.0}, nil}, []any{detail["input"], detail["output"], detail["groundTruth"],
		detail["meta"], detail["context"]})
	// The task again: a script is replayed like any other workflow.
	c.answer("retryTask", obj{"runId": c.run, "nodeId": "ask"})
	c.await(c.run, "finished")
	require.Len(t, c.answer("listRunTokenUsage", obj{"runId": c.run}).(obj)["events"], 2)
	require.Len(t, c.answer("attempts.list", obj{"runId": c.run}), 2)
}
