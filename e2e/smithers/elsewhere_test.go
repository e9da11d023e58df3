package smithers

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

//go:embed host.ts
var hostScript string

// elsewhere is a Smithers gateway that this one did not start.
type elsewhere struct {
	t      *testing.T
	bun    string
	folder string
	env    []string
	cmd    *exec.Cmd
}

// newElsewhere starts one on the database of the site returned, which is a site for a
// gateway without a module. env tells where it listens.
func newElsewhere(t *testing.T, env ...string) (*elsewhere, *rig.Site) {
	t.Helper()
	s := newSite(t)
	s.Write("workspace/host.ts", hostScript)
	folder := filepath.Dir(s.Module)
	s.Module = ""
	bun := ""
	for _, name := range []string{".bin/bun", "@oven/bun-linux-x64/bin/bun", "@oven/bun-linux-x64-baseline/bin/bun", "@oven/bun-linux-aarch64/bin/bun"} {
		path := filepath.Join(folder, "node_modules", filepath.FromSlash(name))
		if exec.CommandContext(t.Context(), path, "--version").Run() == nil {
			bun = path
			break
		}
	}
	require.NotEmpty(t, bun, "no Bun of this machine in node_modules")
	e := &elsewhere{t: t, bun: bun, folder: folder, env: append(os.Environ(), append(env, "SMITHERS_DB_PATH="+s.Path("theirs.db"))...)}
	e.start()
	t.Cleanup(e.kill)
	return e, s
}

func (e *elsewhere) start() {
	e.cmd = exec.Command(e.bun, "host.ts") //nolint:noctx // it is killed
	e.cmd.Dir, e.cmd.Env = e.folder, e.env
	e.cmd.Stderr = os.Stderr
	require.NoError(e.t, e.cmd.Start())
}

func (e *elsewhere) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}
