package gateway

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const movable = `export default (gateway) => gateway.register("ship", async (ctx) => {
	await ctx.task("build", () => 1);
	await ctx.approval("gate");
	return ctx.task("after", () => "old");
});`

// TestMoveRunToANewModule fixes a module under a run that waits and moves the run.
func TestMoveRunToANewModule(t *testing.T) {
	dir := t.TempDir()
	module := filepath.Join(dir, "gateway.mjs")
	require.NoError(t, writeFile(module, movable))
	change := func(s *Settings) { s.Module, s.GoWorkflows = module, nil }
	h := start(t, dir, change, Site{})
	s := testSettings(t, dir)
	change(&s)
	load := func(text string) {
		require.NoError(t, writeFile(module, text))
		require.NoError(t, h.gateway.Apply("reload", s))
	}
	run, stays := h.launch("ship", nil), h.launch("ship", nil)
	h.await(run, "waiting-approval")
	h.await(stays, "waiting-approval")
	old := h.gateway.Health().Module.Hash
	move := obj{"runId": run, "to": "current"}
	var moved obj
	h.call("runs.move", move, &moved)
	require.Equal(t, obj{"runId": run, "moved": false, "from": old, "to": old, "status": "waiting-approval"}, moved)
	h.refused("op", "runs.move", obj{"runId": run}, 400, "INVALID_REQUEST", `to must be "current", the newest version of the run's workflow`)
	h.refused("op", "runs.move", obj{"to": "current"}, 400, "INVALID_REQUEST", "runId is required")
	h.refused("op", "runs.move", obj{"runId": "nope", "to": "current"}, 404, "RunNotFound", "Run not found: nope")
	h.refused("rw", "runs.move", move, 403, "FORBIDDEN", "Missing required scope run:admin for runs.move")

	load(strings.Replace(movable, `"build"`, `"compile"`, 1))
	status, answer := h.rpc("op", "runs.move", move)
	require.Equal(t, 409, status)
	refusal := answer.Error
	require.Equal(t, []any{"CONFLICT", "WORKFLOW_NONDETERMINISTIC", 1.0}, []any{refusal["code"], refusal["reason"], refusal["position"]})
	require.Equal(t, obj{"kind": "task", "nodeId": "build", "iteration": 0.0}, refusal["journal"])
	require.Equal(t, obj{"kind": "task", "nodeId": "compile", "iteration": 0.0}, refusal["workflow"])

	load(strings.Replace(movable, `"old"`, `"new"`, 1))
	h.call("runs.move", move, &moved)
	require.Equal(t, obj{"runId": run, "moved": true, "from": old, "to": h.gateway.Health().Module.Hash, "status": "waiting-approval"}, moved)
	require.Len(t, h.audit("move"), 1)

	// Also after a restart, which finds the bundle in the database.
	h.close()
	h = start(t, dir, change, Site{})
	for id, want := range map[string]string{run: "new", stays: "old"} {
		h.call("submitApproval", obj{"runId": id, "nodeId": "gate", "approved": true}, nil)
		require.Equal(t, want, h.await(id, "finished")["output"])
	}
	h.refused("op", "runs.move", move, 409, "RUN_NOT_ACTIVE", "Run has ended; a new run uses the newest version")
}
