package smithers

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

const pretended = `set -eu
npm() { command npm "$@" --dry-run && ln -s "$PACKAGES" examples/smithers/node_modules; }
`

// The commands of docs/smithers.md serve the example; its packages are there already, so
// npm only says what it would install.
func TestDocumentServesTheExample(t *testing.T) {
	packages := installed(t)
	block := docs.Tested(t, "docs/smithers.md").Script()
	s := rig.NewSite(t, "")
	example := "../../examples/smithers"
	files, err := os.ReadDir(example)
	require.NoError(t, err)
	for _, f := range files {
		if f.Type().IsRegular() {
			content, err := os.ReadFile(filepath.Join(example, f.Name()))
			require.NoError(t, err)
			s.Write("examples/smithers/"+f.Name(), string(content))
		}
	}
	bin := t.TempDir()
	require.NoError(t, os.Symlink(rig.Binary(), filepath.Join(bin, "smithers-gateway")))
	cmd := exec.Command("bash", "-c", pretended+block)
	cmd.Dir = s.Dir
	cmd.Env = append(s.Environ(), "PACKAGES="+packages, "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log := &rig.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // the process of Smithers goes with it
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.Tail(3_000))
		}
	})
	c := s.Client(s.Issue(allScopes, "alice"))
	t.Cleanup(c.HTTP.CloseIdleConnections)
	var flows []struct{ Key string }
	rig.Wait(t, "the workflows of the example", func() bool {
		return c.Call(t.Context(), "listWorkflows", nil, &flows) == nil && len(flows) > 0
	})
	require.FileExists(t, s.Path("smithers.db"))
}
