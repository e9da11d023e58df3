// Package observe runs every query of the dashboard and of the alerts in a real
// Prometheus that scrapes the built gateway under load.
package observe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

const folder = "../../deploy/observe/"

const module = `
export function register(gateway) {
  gateway.register("quick", async (ctx) => ctx.task("t", async () => 1), { schedule: "* * * * *" });
  gateway.register("bad", async () => { throw new Error("as it should"); });
  gateway.register("gated", async (ctx) => {
    await ctx.approval("gate", { title: "Go on?" });
    return ctx.signal("go");
  });
  gateway.register("hook", async () => ({}), { webhook: { secret: "whsec" } });
}
`

func TestAlertsFireAndKeepQuiet(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	rig.Need(t, err == nil, "promtool of the Debian package prometheus")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	text, err := os.ReadFile(folder + "alerts_test.yml")
	require.NoError(t, err)
	for name := range alerts(t) {
		require.Equal(t, 2, strings.Count(string(text), `"`+name+`"`), "%s is tested firing and not firing", name)
	}
}

// alerts are the expressions of the rules by name.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(folder + "alerts.yml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	all := map[string]string{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			all[r.Alert] = r.Expr
		}
	}
	require.Greater(t, len(all), 15)
	return all
}

// queries are those of the panels by panel, as Grafana would send them, and for every
// alert the metrics it reads: what it compares them with hides them while it is quiet.
func queries(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(folder + "grafana-dashboard.json")
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &board))
	all := map[string]string{}
	fill := strings.NewReplacer("$__rate_interval", "15s", "$instance", ".*")
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all[fmt.Sprintf("panel %s %s %s", p.Title, target.RefID, target.Expr)] = fill.Replace(target.Expr)
		}
	}
	require.Greater(t, len(all), 30)
	name := regexp.MustCompile(`\b(smithers_[a-z_]+|up)\b`)
	for alert, expr := range alerts(t) {
		for _, metric := range name.FindAllString(strings.ReplaceAll(expr, `"smithers-gateway"`, ""), -1) {
			all["alert "+alert+" "+metric] = metric
		}
	}
	return all
}

func TestEveryQueryHasSeries(t *testing.T) {
	prometheus, err := exec.LookPath("prometheus")
	rig.Need(t, err == nil, "the Debian package prometheus")
	s := rig.NewSite(t, module)
	config := s.Caddyfile("", "")
	token := s.Issue(rig.AllScopes+",cron:read,cron:write", "alice")
	p := s.Start("run", "--config", s.Write("Caddyfile", config)).As(token).Accepts()
	query := scrape(t, prometheus, s)

	all := queries(t)
	round := 0
	var missing []string
	defer func() {
		if t.Failed() {
			t.Logf("without a series: %s", strings.Join(missing, "\n"))
		}
	}()
	complete := func() bool {
		events(t, p, fmt.Sprint(round))
		if round++; round%5 == 1 {
			require.NoError(t, p.Load(strings.Replace(config, "public_metrics on", fmt.Sprintf("public_metrics on\n\t\theartbeat %ds", 15+round%2), 1)))
		}
		missing = missing[:0]
		for what, expr := range all {
			n := query(expr)
			// These exist where a Smithers process does; e2e/smithers has one.
			if n == 0 && !strings.HasPrefix(expr, "smithers_upstream_") && !strings.Contains(expr, "(smithers_upstream_") {
				missing = append(missing, what)
			}
		}
		slices.Sort(missing)
		return len(missing) == 0
	}
	// The schedule has its tick with the minute.
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute + rig.Patience); !complete(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("some queries have no series")
		}
	}
}

// events causes what the counters count.
func events(t *testing.T, p *rig.Process, round string) {
	t.Helper()
	ctx := t.Context()
	socket := p.Dial()
	require.NoError(t, socket.Call(ctx, "listRuns", map[string]any{}, nil))
	require.NoError(t, socket.Close())
	p.LaunchRun("quick", "q"+round, nil)
	p.LaunchRun("bad", "b"+round, nil)
	p.LaunchRun("gated", "g"+round, nil)
	p.Status("g"+round, "waiting-approval")
	require.NoError(t, p.Call(ctx, "submitApproval", map[string]any{"runId": "g" + round, "nodeId": "gate", "approved": true}, nil))
	require.NoError(t, p.Call(ctx, "submitSignal", map[string]any{"runId": "g" + round, "signalName": "go", "payload": 1}, nil))
	p.Status("b"+round, "failed")
	require.NoError(t, p.Call(ctx, "cronRun", map[string]any{"workflow": "quick"}, nil))
	require.Error(t, p.As("nobody").Call(ctx, "listRuns", nil, nil))
	for _, signature := range []string{"sha256=00", sign("{}")} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Base+"/webhooks/hook", bytes.NewReader([]byte("{}")))
		require.NoError(t, err)
		req.Header.Set("X-Hub-Signature-256", signature)
		res, err := p.HTTP.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	}
}

// scrape starts a Prometheus of its own that reads the gateway every second, with the
// alerts loaded, and returns how many series a query has.
func scrape(t *testing.T, binary string, s *rig.Site) func(string) int {
	t.Helper()
	rules, err := filepath.Abs(folder + "alerts.yml")
	require.NoError(t, err)
	config := s.Write("prometheus.yml", fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: smithers-gateway
    static_configs: [{targets: ["127.0.0.1:%d"]}]
`, rules, s.Port))
	port := rig.FreePort(t)
	log := &rig.Buffer{}
	cmd := exec.Command(binary, "--config.file="+config, "--storage.tsdb.path="+s.Path("tsdb"), fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus:\n%s", log.Tail(2_000))
		}
	})
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	get := func(path string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
		require.NoError(t, err)
		return http.DefaultClient.Do(req)
	}
	rig.Wait(t, "a ready Prometheus", func() bool {
		res, err := get("/-/ready")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return func(expr string) int {
		res, err := get("/api/v1/query?query=" + url.QueryEscape(expr))
		require.NoError(t, err)
		defer res.Body.Close()
		var answer struct {
			Status, Error string
			Data          struct{ Result []json.RawMessage }
		}
		require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
		require.Equal(t, "success", answer.Status, "%s: %s", expr, answer.Error)
		return len(answer.Data.Result)
	}
}
