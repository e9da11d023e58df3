package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

// firstModule is the README's first workflow, which TestReadmeCommandsWork runs.
func firstModule(t *testing.T) string {
	t.Helper()
	return docs.Find(t, "README.md", "tested: e2e TestReadmeCommandsWork module")[0].Text
}

// The README's commands that serve its first workflow, in a folder with nothing else.
func TestReadmeServes(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		absent(t, "bash")
	}
	s := newSite(t)
	s.write("gateway.mjs", firstModule(t))
	bin := t.TempDir()
	require.NoError(t, os.Symlink(binary, filepath.Join(bin, "smithers-gateway")))
	cmd := exec.Command("bash", "-c", "set -eu\n"+docs.Tested(t, "README.md").Script())
	cmd.Dir = s.dir
	cmd.Env = append(s.environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log := &buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.tail())
		}
	})
	c := &client.Client{Base: "http://127.0.0.1:" + strconv.Itoa(s.port), HTTP: http.DefaultClient}
	waitFor(t, "the gateway", func() bool {
		status, body, err := c.Get(t.Context(), "/health/ready")
		return err == nil && status == 200 && len(body) > 0
	})
	require.FileExists(t, s.path("data/smithers.db"))
	status, body, err := c.Get(t.Context(), "/health")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Contains(t, string(body), `"workflows":`)
}

// The README's workflow with a webhook and a schedule: the first delivery launches a run,
// the next of the same issue is its signal.
func TestReadmeWebhook(t *testing.T) {
	s := newSite(t)
	s.module = s.write("workspace/hook.mjs", "export function register(gateway) {\n"+docs.Tested(t, "README.md").Next().Text+"}\n")
	s.env = []string{"HOOK_SECRET=whsec"}
	config := s.caddyfile("env HOOK_SECRET")
	token := s.issue(automationScopes)
	p := s.start("run", "--config", config).as(token)
	p.wait("the token to count", func() bool { return p.Call(t.Context(), "listRuns", nil, nil) == nil })
	const body = `{"issue":{"number":7},"comment":{"body":"hi"}}`
	status, first := p.deliver(t, "review", "d-1", body)
	require.Equal(t, 200, status)
	require.NotNil(t, first["started"], "%v", first)
	id := first["started"].(map[string]any)["runId"].(string)
	p.status(id, "waiting-event")
	status, second := p.deliver(t, "review", "d-2", body)
	require.Equal(t, 200, status, "%v", second)
	p.status(id, "finished")
	var crons []map[string]any
	require.NoError(t, p.Call(t.Context(), "cronList", nil, &crons))
	require.Len(t, crons, 1)
	require.Equal(t, "0 8 * * 1-5", crons[0]["pattern"])
}
