package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

var (
	runnableBlock = regexp.MustCompile("(?s)<!-- runnable -->\n```sh\n(.*?)```")
	websocatBlock = regexp.MustCompile("(?s)```sh\n(\\{\n[^`]*websocat ws://[^`]*)```")
	firstModule   = regexp.MustCompile("(?s)Save this as `gateway.mjs`:\n\n```js\n(.*?)```")
)

// The commands of the README that are marked runnable are run in one shell, in the
// README's order, with the README's own module served by the binary.
func TestReadmeCommandsWork(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			absent(t, tool)
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	module := firstModule.FindSubmatch(text)
	require.NotNil(t, module, "the README's first workflow")
	blocks := runnableBlock.FindAllSubmatch(text, -1)
	require.GreaterOrEqual(t, len(blocks), 4)

	s := newSite(t)
	s.module = s.write("gateway.mjs", string(module[1]))
	s.caddyfile("")
	p := s.start()

	script := "set -euo pipefail\n"
	for _, b := range blocks {
		script += "echo '--- next' >&2\n" + string(b[1])
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
		block := websocatBlock.FindSubmatch(text)
		require.NotNil(t, block, "the README's commands for websocat")
		cmd := exec.CommandContext(ctx, "bash", "-c", "websocat() { command cat; }\n"+string(block[1]))
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
