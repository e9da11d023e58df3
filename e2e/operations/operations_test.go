// Package operations runs what docs/operations.md tells operators to do.
package operations

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/load"
	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// service stands for what starts and stops the gateway of an operator.
const service = `
systemctl() {
	case $1 in
	stop) kill "$(cat pid)"; while kill -0 "$(cat pid)" 2>/dev/null; do sleep 0.1; done ;;
	start)
		nohup smithers-gateway run --config Caddyfile >>log 2>&1 </dev/null &
		echo $! >pid
		until smithers-gateway health; do sleep 0.1; done 2>/dev/null ;;
	restart) systemctl stop "$2"; systemctl start "$2" ;;
	esac
}
`

func TestOperationsDocument(t *testing.T) {
	_, err := exec.LookPath("bash")
	rig.Need(t, err == nil, "bash")
	blocks := docs.Tested(t, "docs/operations.md")
	require.GreaterOrEqual(t, blocks.Left(), 6)

	s := rig.NewSite(t, load.Module)
	s.Write("Caddyfile", s.Caddyfile("", ""))
	admin := s.Issue("*", "root")
	script := "set -euo pipefail\n" + service + "trap 'kill $(cat pid)' EXIT\nsystemctl start smithers-gateway\n" +
		"until smithers-gateway call listRuns >/dev/null 2>&1; do sleep 0.1; done\n" +
		`smithers-gateway call launchRun '{"workflow":"timed","runId":"kept","input":{"url":"http://127.0.0.1:1"}}'` + "\n"
	for blocks.Left() > 0 {
		block := blocks.Next().Text
		script += "echo '--- next'\n" + block
		if strings.Contains(block, "token revoke") { // which the gateway sees within a second
			script += "until smithers-gateway audit --action token.revoked | grep -q token.revoked; do sleep 0.1; done\n"
		}
	}
	script += "smithers-gateway runs list\n"
	bin := t.TempDir()
	require.NoError(t, os.Symlink(rig.Binary(), bin+"/smithers-gateway"))
	ctx, cancel := context.WithTimeout(t.Context(), 2*rig.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = s.Dir
	cmd.Env = append(s.Environ(), "SMITHERS_API_KEY="+admin, "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, want := range []string{"copied", "trial.db", "Valid configuration", "launch  run=kept  by=root", "token.revoked", "kept "} {
		require.Contains(t, string(out), want)
	}
	require.FileExists(t, s.DB+".before-restore")
}

// TestRetention: ended runs go with all that belongs to them, others stay, and so do
// entries of the audit table unless they are old, too.
func TestRetention(t *testing.T) {
	ledger := rig.NewLedger(t, t.TempDir(), nil)
	s := rig.NewSite(t, load.Module)
	token := s.Issue("*", "root")
	p := s.Start("run", "--config", s.Write("Caddyfile", s.Caddyfile("run_retention 1s", ""))).As(token).Accepts()
	p.HTTP = rig.Steady()
	p.LaunchRun("gated", "open", map[string]any{"url": ledger.URL})
	for i := range 20 {
		p.LaunchRun("family", fmt.Sprintf("done-%d", i), map[string]any{"url": ledger.URL})
	}
	p.Status("open", "waiting-approval")
	p.Wait("ended runs to be removed", func() bool {
		var rows []struct{ RunID string }
		require.NoError(t, p.Call(t.Context(), "listRuns", map[string]any{"filter": map[string]any{"includeSystem": true}}, &rows))
		return len(rows) == 1 && rows[0].RunID == "open"
	})
	for _, run := range []string{"done-0", "done-0:child:leaf:0"} {
		err := p.Call(t.Context(), "getRun", map[string]any{"runId": run}, nil)
		require.ErrorContains(t, err, "NOT_FOUND")
	}
	var rows []struct{ Action string }
	audit := func() int {
		require.NoError(t, p.Call(t.Context(), "audit.list", map[string]any{"filter": map[string]any{"action": "launch", "limit": 100}}, &rows))
		return len(rows)
	}
	require.Equal(t, 21, audit(), "who launched them is still known")
	require.NoError(t, p.Load(s.Caddyfile("run_retention 1s\naudit_retention 1s", "")))
	p.Wait("old audit entries to be removed", func() bool { return audit() == 0 })
	p.Status("open", "waiting-approval")
}

// TestMetricsOfGrowth: the sizes and the forecast are there from the start.
func TestMetricsOfGrowth(t *testing.T) {
	s := rig.NewSite(t, load.Module)
	p := s.Start().As(s.Issue("*", "root")).Accepts()
	var text string
	p.Wait("the free space to be known", func() bool {
		_, body, err := p.Get(t.Context(), "/metrics")
		require.NoError(t, err)
		text = string(body)
		return !strings.Contains(text, "smithers_gateway_store_disk_free_bytes -1")
	})
	for _, name := range []string{"store_db_bytes", "store_wal_bytes", "store_disk_free_bytes"} {
		require.Regexp(t, `(?m)^smithers_gateway_`+name+` [1-9]`, text)
	}
	require.Contains(t, text, "smithers_gateway_store_full_seconds +Inf", "nothing has grown yet")
	require.Contains(t, text, "smithers_gateway_store_growth_bytes_per_day 0")
}
