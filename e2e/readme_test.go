package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	runnableBlock = regexp.MustCompile("(?s)<!-- runnable -->\n```sh\n(.*?)```")
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
}
