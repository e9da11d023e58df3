package deploytest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

// TestSmithersContainer builds the target with Bun and runs examples/smithers in it, as
// the guide says.
func TestSmithersContainer(t *testing.T) {
	engine(t)
	example := filepath.Join(repository, "examples", "smithers")
	if _, err := os.Stat(filepath.Join(example, "node_modules", "smithers-orchestrator", "package.json")); err != nil {
		absent(t, "the packages of examples/smithers are not installed; deploy/test/run does it with node and npm")
	}
	if image := bunImage(t); dockerImageMissing(image) {
		absent(t, "the image %s is not there; deploy/test/run makes it with node and npm", image)
	}
	http, https := rig.FreePort(t), rig.FreePort(t)
	c := &composed{service: "smithers", project: "smithers-test-bun", https: https, tool: composeTool(t, "smithers"), env: []string{
		"COMPOSE_PROFILES=smithers", "SMITHERS_WORKSPACE=" + example, "SMITHERS_MODULE=gateway.tsx",
		fmt.Sprintf("HTTP_PORT=%d", http), fmt.Sprintf("HTTPS_PORT=%d", https),
	}}
	t.Cleanup(func() {
		if t.Failed() && c.container != "" {
			t.Logf("the container's last words:\n%s", tail(docker(t, "logs", "--tail", "40", c.container)))
		}
		c.compose(t, "down --volumes --timeout 60 2>&1")
	})
	begin := time.Now()
	c.compose(t, "build smithers 2>&1")
	t.Logf("MEASURED image with Bun: built in %s, %s", time.Since(begin).Round(time.Second), megabytes(t, "smithers-gateway:local-smithers"))

	npmWouldInstall(t, docs.Tested(t, "deploy/reference/README.md", "packages").Script())
	begin = time.Now()
	guide := docs.Tested(t, "deploy/reference/README.md").Script()
	c.guide(t, guide)
	t.Logf("MEASURED guide with Bun: up in %s, all of Compose included", time.Since(begin).Round(10*time.Millisecond))
	c.refresh(t)
	c.root = rootCertificate(t, c.container, "/data/caddy/pki/authorities/local/root.crt")

	for _, test := range []struct {
		name string
		run  func(*testing.T, *composed)
	}{
		{"a run to its end, over TLS", testSmithersRun},
		{"read-only root, unprivileged", testReadOnly},
		{"every process is the user's", testSmithersProcesses},
		{"git is there", testSmithersGit},
		{"killed: a wait goes on", testSmithersKilled},
		{"stop leaves nothing behind", testSmithersStop},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, c) })
	}
}

// npmWouldInstall runs a command of npm in a copy of what it reads. The packages are here
// already: npm only says what it would install.
func npmWouldInstall(t *testing.T, command string) {
	t.Helper()
	tool(t, "npm")
	dir := t.TempDir()
	example := filepath.Join("examples", "smithers")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, example), 0o755))
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(repository, example, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, example, name), text, 0o644))
	}
	shell(t, dir, "set -e\nnpm() { command npm \"$@\" --dry-run; }\n"+command)
}

func bunImage(t *testing.T) string {
	t.Helper()
	return "oven/bun:" + pinned(t, "BUN_VERSION") + "-slim"
}

func dockerImageMissing(image string) bool {
	_, err := try("docker", "image", "inspect", image)
	return err != nil
}

// ship launches the example's release and returns when it waits for its approval.
func ship(t *testing.T, q *client.Client, id string) {
	t.Helper()
	params := map[string]any{"workflow": "release", "input": map[string]any{}, "options": map[string]any{"runId": id}}
	require.NoError(t, q.Call(t.Context(), "launchRun", params, nil))
	waitFor(t, "the approval of "+id, func() bool {
		run, err := q.Run(t.Context(), id)
		return err == nil && run.Status == "waiting-approval"
	})
}

// land answers everything that a run of the example waits for.
func land(t *testing.T, q *client.Client, id string) {
	t.Helper()
	approval := map[string]any{"runId": id, "nodeId": "ship-gate", "approved": true}
	require.NoError(t, q.Call(t.Context(), "submitApproval", approval, nil))
	signal := map[string]any{"runId": id, "signalName": "go", "payload": map[string]any{"by": "ada"}}
	require.NoError(t, q.Call(t.Context(), "submitSignal", signal, nil))
	waitFor(t, "the end of "+id, func() bool {
		run, err := q.Run(t.Context(), id)
		return err == nil && run.Status == "finished"
	})
}

func testSmithersRun(t *testing.T, c *composed) {
	q := c.as(t, c.issue(t, operator+",signal:submit"))
	waitFor(t, "the new token", func() bool { return answers(q) })
	ship(t, q, "first")
	land(t, q, "first")
	socket, err := q.Dial(t.Context(), client.DialOptions{})
	require.NoError(t, err)
	defer socket.Cut()
	events := follow(t, socket, "first", nil, completed)
	require.Equal(t, 2, count(events, "node.finished", "deploy-"))
}

// The init, the gateway and Bun, none of them root, none with a capability.
func testSmithersProcesses(t *testing.T, c *composed) {
	const list = `for p in /proc/[0-9]*; do echo "$(cat $p/comm 2>/dev/null) $(awk '/^(Uid|CapEff)/ { printf "%s ", $2 }' $p/status 2>/dev/null)"; done`
	out := docker(t, "exec", c.container, "sh", "-c", list)
	for _, program := range []string{"smithers-gatewa", "bun"} {
		require.Contains(t, out, program+" 10001 0000000000000000", out)
	}
	for line := range strings.Lines(out) {
		require.Regexp(t, `^(\S+ 10001 0{16}|\S*)\s*$`, line, "the second for one that has just ended")
	}
	require.Contains(t, docker(t, "exec", c.container, "sh", "-c", "cat /etc/passwd"), "root:x:0:0", "the base image's users are kept")
	require.Equal(t, "10001:10001 700", docker(t, "exec", c.container, "stat", "-c", "%u:%g %a", "/data"))
	require.Equal(t, "0:0 755", docker(t, "exec", c.container, "stat", "-c", "%u:%g %a", "/run"))
}

func testSmithersGit(t *testing.T, c *composed) {
	docker(t, "exec", c.container, "sh", "-c", "cd /tmp && git init -q tree && git -C tree status --short && rm -r tree")
}

func testSmithersKilled(t *testing.T, c *composed) {
	q := c.as(t, c.issue(t, operator+",signal:submit"))
	waitFor(t, "the new token", func() bool { return answers(q) })
	ship(t, q, "killed")
	docker(t, "kill", "--signal", "KILL", c.container)
	docker(t, "start", c.container)
	waitFor(t, "the gateway", func() bool { return ready(q) })
	waitFor(t, "the process of Smithers", func() bool {
		_, body, err := q.Get(t.Context(), "/health")
		return err == nil && strings.Contains(string(body), `"state":"ready"`)
	})
	land(t, q, "killed")
}

func testSmithersStop(t *testing.T, c *composed) {
	q := c.as(t, c.issue(t, operator))
	waitFor(t, "the new token", func() bool { return answers(q) })
	ship(t, q, "stopped")
	begin := time.Now()
	c.compose(t, "stop smithers 2>&1")
	took := time.Since(begin)
	t.Logf("MEASURED stop with Bun and a run that waits: %s", took.Round(10*time.Millisecond))
	require.Equal(t, "0", docker(t, "inspect", "--format", "{{.State.ExitCode}}", c.container))
	left := docker(t, "run", "--rm", "--entrypoint", "ls", "--volumes-from", c.container, "smithers-gateway:local-smithers", "-A", "/data")
	require.Contains(t, left, "smithers.db")
	require.NotContains(t, left, "-wal", "both databases were closed")
}
