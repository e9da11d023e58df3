package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/docs"
)

// The README's commands are run in one shell, in the README's order, with its own module
// served by the binary.
func TestReadmeCommandsWork(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			absent(t, tool)
		}
	}
	blocks := docs.Tested(t, "README.md")
	require.GreaterOrEqual(t, blocks.Left(), 4)

	s := newSite(t)
	s.module = s.write("gateway.mjs", docs.Tested(t, "README.md", "module").Next().Text)
	s.caddyfile("")
	p := s.start()

	script := "set -euo pipefail\n"
	for blocks.Left() > 0 {
		script += "echo '--- next' >&2\n" + blocks.Next().Text
	}
	bin := t.TempDir()
	require.NoError(t, os.Symlink(binary, filepath.Join(bin, "smithers-gateway")))
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = s.dir
	cmd.Env = append(s.environ(), "URL="+p.Base, "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, want := range []string{"hello", `"key":"hello"`, `"runId":"first"`, "Send it?", "Hello, Ada", "copied", "Valid configuration",
		"event: run.stream", `"event":"approval.decided"`, "\n204"} {
		require.Contains(t, strings.ReplaceAll(string(out), `\"`, `"`), want)
	}
	require.FileExists(t, s.path("backup.db"))

	t.Run("what websocat is given", func(t *testing.T) {
		block := docs.Tested(t, "README.md", "websocat").Next().Text
		require.Contains(t, block, "} | websocat ws://127.0.0.1:7331/\n")
		cmd := exec.CommandContext(ctx, "bash", "-c", "websocat() { command cat; }\n"+block)
		cmd.Env = append(os.Environ(), "TOKEN="+s.issue("run:read"))
		frames, err := cmd.Output()
		require.NoError(t, err)

		var seen string
		waitFor(t, "the token to count", func() bool {
			seen = exchange(ctx, t, p.Base, string(frames))
			return !strings.Contains(seen, `"UNAUTHORIZED"`)
		})
		for _, want := range []string{`"id":"1","ok":true`, `"id":"2","ok":true`, `"seq":1,`, `"run.completed"`} {
			require.Contains(t, seen, want)
		}
	})

	t.Run("restore", func(t *testing.T) {
		p.terminate()
		cmd := exec.CommandContext(ctx, "bash", "-euc", docs.Tested(t, "README.md", "restore").Script())
		cmd.Dir = s.dir
		cmd.Env = append(s.environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "restored")
		again := s.start().as(s.issue("run:read"))
		again.wait("the token to count", func() bool { return again.Call(ctx, "listRuns", nil, nil) == nil })
		again.status("first", "finished")
	})
}

// exchange sends one frame a line to a new socket and returns all that comes until the
// run is over or a frame is refused.
func exchange(ctx context.Context, t *testing.T, base, frames string) string {
	t.Helper()
	socket, _, err := websocket.Dial(ctx, base, nil)
	require.NoError(t, err)
	defer func() { _ = socket.CloseNow() }()
	for line := range strings.Lines(frames) {
		require.NoError(t, socket.Write(ctx, websocket.MessageText, []byte(strings.TrimSpace(line))))
	}
	var seen strings.Builder
	for {
		_, frame, err := socket.Read(ctx)
		if err != nil {
			t.Logf("the socket ended: %v", err)
			return seen.String()
		}
		seen.Write(frame)
		if strings.Contains(string(frame), `"run.completed"`) || strings.Contains(string(frame), `"ok":false`) {
			return seen.String()
		}
	}
}
