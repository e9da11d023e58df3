package gateway

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// writers is a script whose tasks run programs in a repository.
const writers = `export function register(gateway) {
	gateway.register("writer", async (ctx) => {
		const sh = (script) => exec("sh", ["-c", script], { cwd: ctx.input.dir }).then((r) => { if (r.exitCode) throw new Error(r.stderr); return r.stdout; });
		await ctx.task("think", async () => ({}));
		await ctx.task("w1", async ({ attempt }) => {
			await sh("echo changed >> a.txt");
			if (attempt === 1) throw new Error("once");
			await sh("printf 'one\\ntwo\\n' > new.txt");
		}, { retries: 1 });
		await ctx.approval("gate");
		await ctx.task("w2", () => sh("printf '\\000\\001\\002\\003\\377' > bin.dat; echo three >> new.txt; rm a.txt"));
		await ctx.task("look", () => sh("ls"));
	});
}`

// repository makes a git repository with one commit.
func repository(t *testing.T) (root string, git func(args ...string) string) {
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("git is missing")
		}
		t.Skip("git is missing")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	git = func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", root, "-c", "user.name=d", "-c", "user.email=d@example.org"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	require.NoError(t, os.WriteFile(filepath.Join(root, "a.txt"), []byte("hello\n"), 0o644))
	git("add", "a.txt")
	git("commit", "-q", "-m", "first")
	return root, git
}

func startWriters(t *testing.T, change func(*Settings)) *harness {
	dir := t.TempDir()
	module := filepath.Join(dir, "gateway.mjs")
	require.NoError(t, writeFile(module, writers))
	return start(t, dir, func(s *Settings) {
		s.Module, s.Exec = module, []string{"sh"}
		if change != nil {
			change(s)
		}
	}, Site{})
}

func operations(bundle obj) obj {
	found := obj{}
	for _, p := range bundle["patches"].([]any) {
		found[p.(obj)["path"].(string)] = p.(obj)["operation"]
	}
	return found
}

func TestDiffs(t *testing.T) {
	root, git := repository(t)
	h := startWriters(t, nil)
	id := h.launch("writer", obj{"dir": root})
	h.await(id, "waiting-approval")
	diff := func(node string) (bundle obj) {
		h.call("getNodeDiff", obj{"runId": id, "nodeId": node, "iteration": 0}, &bundle)
		return bundle
	}
	w1 := diff("w1")
	base := git("rev-parse", "HEAD^{tree}")
	require.Equal(t, obj{"seq": 2.0, "baseRef": base, "patches": []any{
		obj{"path": "a.txt", "operation": "modify", "diff": "diff --git a/a.txt b/a.txt\nindex ce01362..65be815 100644\n--- a/a.txt\n+++ b/a.txt\n@@ -1 +1,3 @@\n hello\n+changed\n+changed\n"},
		obj{"path": "new.txt", "operation": "add", "diff": "diff --git a/new.txt b/new.txt\nnew file mode 100644\nindex 0000000..814f4a4\n--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1,2 @@\n+one\n+two\n"},
	}}, w1, "both attempts together")
	const node = `"nodeId":"w1","iteration":0`
	for params, want := range map[string][3]any{
		`{` + node + `}`:                                        {400, "InvalidRunId", "runId must match /^[a-z0-9_-][a-z0-9_.-]{0,63}$/."},
		`{"runId":"` + id + `","nodeId":"a b"}`:                 {400, "InvalidNodeId", "nodeId must match /^[a-zA-Z0-9:_-]{1,128}$/."},
		`{"runId":"` + id + `","nodeId":"w1"}`:                  {400, "InvalidIteration", "iteration must be an i32 non-negative integer."},
		`{"runId":"` + id + `","nodeId":"w1","iteration":"0"}`:  {400, "InvalidIteration", "iteration must be an i32 non-negative integer."},
		`{"runId":"` + id + `","nodeId":"w1","iteration":-1}`:   {400, "InvalidIteration", "iteration must be an i32 non-negative integer."},
		`{"runId":"nobody",` + node + `}`:                       {404, "RunNotFound", "Run not found: nobody"},
		`{"runId":"` + id + `","nodeId":"zz","iteration":0}`:    {404, "NodeNotFound", "Node not found: " + id + "/zz/0"},
		`{"runId":"` + id + `","nodeId":"w1","iteration":1}`:    {404, "NodeNotFound", "Node not found: " + id + "/w1/1"},
		`{"runId":"` + id + `","nodeId":"gate","iteration":0}`:  {404, "AttemptNotFound", "Attempt not found for " + id + "/gate/0"},
		`{"runId":"` + id + `","nodeId":"think","iteration":0}`: {409, "AttemptNotFinished", "Attempt has no finished jj pointer."},
	} {
		res, body := h.do("POST", "/v1/rpc/getNodeDiff", "op", params)
		require.Equal(t, want[0], res.StatusCode, params)
		require.Contains(t, string(body), `"error":{"version":"v1","code":"`+want[1].(string)+`","message":"`+want[2].(string)+`"}`, params)
	}
	h.refused("op", "getRunDiff", obj{"runId": id}, 500, "VcsError", "Run diff is unavailable until the run reaches a terminal state.")

	h.call("submitApproval", obj{"runId": id, "nodeId": "gate", "approved": true}, nil)
	h.await(id, "finished")
	w2 := diff("w2")
	require.Equal(t, obj{"a.txt": "delete", "bin.dat": "add", "new.txt": "modify"}, operations(w2))
	require.Equal(t, "AAECA/8=", w2["patches"].([]any)[1].(obj)["binaryContent"])
	require.Empty(t, diff("look")["patches"])
	var all, rest obj
	h.call("getRunDiff", obj{"runId": id}, &all)
	require.Equal(t, 1.0, all["seq"])
	require.Equal(t, base, all["baseRef"])
	require.Equal(t, obj{"a.txt": "delete", "bin.dat": "add", "new.txt": "add"}, operations(all))
	_, body := h.do("GET", "/v1/api/nodes/"+id+"/w2/diff", "op", "")
	require.NoError(t, json.Unmarshal(body, &rest))
	require.Equal(t, w2, rest["data"])
	h.refused("op", "getRunDiff", obj{"runId": ""}, 400, "InvalidRequest", "runId must be a non-empty string of at most 256 characters.")
	h.refused("op", "getRunDiff", obj{"runId": "nobody"}, 404, "RunNotFound", "Run not found: nobody")
	static := h.launch("static", nil)
	h.await(static, "finished")
	h.refused("op", "getRunDiff", obj{"runId": static}, 500, "VcsError", "Run has no immutable VCS base revision.")

	var run obj
	h.call("getRun", obj{"runId": id}, &run)
	require.Equal(t, []any{"git", filepath.Base(root), git("rev-parse", "HEAD")}, []any{run["vcsType"], run["vcsRoot"], run["vcsRevision"]})
	var attempts []obj
	h.call("attempts.list", obj{"runId": id, "nodeId": "w2"}, &attempts)
	require.Equal(t, filepath.Base(root), attempts[0]["jjCwd"])
	require.Equal(t, "tree", git("cat-file", "-t", attempts[0]["jjPointer"].(string)))

	// The repository is the user's, before and after; retention clears what is ours.
	require.Equal(t, "D a.txt\n?? bin.dat\n?? new.txt", git("status", "--porcelain"))
	require.NotEmpty(t, git("for-each-ref", "refs/smithers"))
	run2, release := h.gateway.acquire()
	defer release()
	require.NoError(t, run2.removeEnded(t.Context(), time.Now().Add(time.Hour)))
	require.NoError(t, run2.forgetTrees(t.Context()))
	require.Empty(t, git("for-each-ref", "refs/smithers"))
}

func TestDiffsWithoutGit(t *testing.T) {
	root, _ := repository(t)
	bin := t.TempDir()
	for _, name := range []string{"sh", "rm", "ls"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(bin, name)))
	}
	t.Setenv("PATH", bin)
	h := startWriters(t, nil)
	id := h.launch("writer", obj{"dir": root})
	h.await(id, "waiting-approval")
	const reason = "The work tree was not recorded: git is not installed: there is no program of that name in the PATH of the gateway"
	h.refused("op", "getNodeDiff", obj{"runId": id, "nodeId": "w1", "iteration": 0}, 500, "VcsError", reason)
	h.refused("op", "getRunDiff", obj{"runId": id}, 500, "VcsError", reason)
}

func TestDiffsCanBeTurnedOff(t *testing.T) {
	root, git := repository(t)
	h := startWriters(t, func(s *Settings) { s.WorkTrees = "off" })
	id := h.launch("writer", obj{"dir": root})
	h.await(id, "waiting-approval")
	h.refused("op", "getNodeDiff", obj{"runId": id, "nodeId": "w1", "iteration": 0}, 409, "AttemptNotFinished", "Attempt has no finished jj pointer.")
	require.Empty(t, git("for-each-ref", "refs/smithers"))
}

func TestOversizedDiffs(t *testing.T) {
	root, _ := repository(t)
	dir := t.TempDir()
	module := filepath.Join(dir, "gateway.mjs")
	require.NoError(t, writeFile(module, `export function register(gateway) {
		gateway.register("big", (ctx) => ctx.task("w", () => exec("sh", ["-c", "head -c 53000000 /dev/zero | tr '\\000' 'x' > big.txt"], { cwd: ctx.input.dir })));
	}`))
	h := start(t, dir, func(s *Settings) { s.Module, s.Exec = module, []string{"sh"} }, Site{})
	id := h.launch("big", obj{"dir": root})
	h.await(id, "finished")
	e := h.refused("op", "getNodeDiff", obj{"runId": id, "nodeId": "w", "iteration": 0}, 413, "DiffTooLarge", "The diff has 53000147 bytes; at most 52428800 are sent.")
	require.Equal(t, 53000147.0, e["sizeBytes"])
	var bundle obj
	h.call("getRunDiff", obj{"runId": id}, &bundle)
	require.Equal(t, "oversized", bundle["status"])
	require.Equal(t, 52428800.0, bundle["maxBytes"])
	require.Greater(t, bundle["sizeBytes"], 53000000.0)
	require.NotEqual(t, bundle["baseRef"], bundle["terminalRef"])
}
