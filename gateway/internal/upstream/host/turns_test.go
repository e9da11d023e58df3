//go:build !race

package host

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/quickjs"
)

// inScript compiles a function next to what one of the scripts exports and returns a
// caller of it, which lets promises settle.
func inScript(t *testing.T, name, function string) func(args ...any) any {
	t.Helper()
	text, err := scripts.ReadFile(name)
	require.NoError(t, err)
	thread := quickjs.NewThread()
	vm := quickjs.New(nil)
	require.NoError(t, vm.Use(thread))
	code, err := vm.Compile(strings.ReplaceAll(string(text), "export ", "")+"\n"+function, true)
	require.NoError(t, err)
	f, err := vm.Load(code)
	require.NoError(t, err)
	t.Cleanup(func() {
		vm.Free(f)
		vm.Close()
		thread.Close()
	})
	return func(args ...any) any {
		result, err := vm.Call(f, args...)
		require.NoError(t, err)
		_, err = vm.RunJobs()
		require.NoError(t, err)
		return result
	}
}

// A run that cannot be read is told, and the runs behind it are looked at.
func TestARunThatCannotBeReadHoldsUpNoOther(t *testing.T) {
	do := inScript(t, "each.mjs", `
		(() => {
			let seen = "";
			const look = async (run) => { JSON.parse(run); seen += run; };
			return (what) => {
				if (what === "begin") each(["1", "{", "2"], look, (run, error) => { seen += "(" + run + " " + error.name + ")"; }).then(() => { seen += "."; });
				return seen;
			};
		})()`)
	do("begin")
	require.Equal(t, "1({ SyntaxError)2.", do(""))
}

// Runs are taken over by one pass at a time, again when something was learnt meanwhile,
// and by none in a process that was told to retire.
func TestTakingOverEndsWithRetirement(t *testing.T) {
	do := inScript(t, "turns.mjs", `
		(() => {
			let begun = 0, running = 0, most = 0, settled = 0, stops = "", finish;
			const t = turns(async (stop) => {
				begun++;
				most = Math.max(most, ++running);
				await new Promise((done) => { finish = done; });
				running--;
				stops += stop() ? "s" : "-";
			});
			return (what) => {
				if (what === "take") t.take();
				if (what === "news") t.take(true);
				if (what === "finish") finish();
				if (what === "end") t.end().then(() => settled++);
				return [begun, running, most, settled, stops].join(" ");
			};
		})()`)
	for _, step := range []struct{ do, want string }{
		{"take", "1 1 1 0 "},
		{"take", "1 1 1 0 "}, // joins
		{"news", "1 1 1 0 "}, // goes once more afterwards
		{"finish", ""}, {"look", "2 1 1 0 -"},
		{"finish", ""}, {"look", "2 0 1 0 --"},
		{"take", "3 1 1 0 --"},
		{"news", "3 1 1 0 --"},
		{"end", "3 1 1 0 --"},  // waits for the pass
		{"look", "3 1 1 0 --"}, // which is told to stop
		{"finish", ""}, {"look", "3 0 1 1 --s"},
		{"take", "3 0 1 1 --s"},
		{"news", "3 0 1 1 --s"},
	} {
		if got := do(step.do); step.want != "" {
			require.Equal(t, step.want, got, step.do)
		}
	}
}

// A version of Smithers that lacks what the script uses is told of, and what needs it is
// left out.
func TestMissingPartsAreTold(t *testing.T) {
	do := inScript(t, "parts.mjs", `
		(without) => {
			const fits = () => {};
			const gateway = { activeRuns: new Map(), workflows: new Map(), adapterForWorkflow: fits, resumeRunIfNeeded: fits, resolveRunWorkflowKey: fits };
			delete gateway[without];
			return [canTakeOver(gateway), knowsItsRuns(gateway), ...lacking(gateway)].join("\n");
		}`)
	const lacks = "this version of smithers-orchestrator has no "
	require.Equal(t, "true\ntrue", do(""))
	require.Equal(t, "false\ntrue\n"+lacks+"resumeRunIfNeeded as it is known: runs of a process that has ended are not continued", do("resumeRunIfNeeded"))
	require.Equal(t, "false\nfalse\n"+lacks+"activeRuns as it is known: runs of a process that has ended are not continued\n"+
		lacks+"activeRuns as it is known: a process of a former module stays until it is stopped", do("activeRuns"))
}
