// Package observe runs every query of the dashboard and of the alerts in a real
// Prometheus that scrapes the built gateway under load.
package observe

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestMain(m *testing.M) {
	if os.Getenv(playing) != "" {
		play()
		return
	}
	os.Exit(rig.Main(m))
}

const folder = "../../deploy/observe/"

// underLoad is how many runs must have ended, at least, while Prometheus looked on.
const underLoad = 300

// TestEveryQueryHasSeries: two gateways, one in front of the other, which has a Smithers
// process. The one in front is under load and has everything happen to it that is counted.
func TestEveryQueryHasSeries(t *testing.T) {
	prometheus, err := exec.LookPath("prometheus")
	rig.Need(t, err == nil, "the Debian package prometheus")
	behind := rig.NewSite(t, needsRuntime)
	self, err := os.Executable()
	require.NoError(t, err)
	behind.Env = append(behind.Env, playing+"=1")
	secret := behind.Issue(rig.AllScopes, "front")
	behind.Start("run", "--config", behind.Write("Caddyfile", behind.Caddyfile("runtime_command "+self, ""))).As(secret).Accepts()

	s := rig.NewSite(t, module+gone)
	config := s.Caddyfile(fmt.Sprintf("max_auth_failures 2\nupstream http://127.0.0.1:%d {\n\ttoken %s\n}", behind.Port, secret), "")
	token := s.Issue(rig.AllScopes+",cron:read,cron:write", "alice")
	p := s.Start("run", "--config", s.Write("Caddyfile", config)).As(token).Accepts()
	p.HTTP = rig.Steady()
	ask := scrape(t, prometheus, s.Port, behind.Port)
	once(t, p, s, config)
	runs := pressure(t, p)

	all := queries(t)
	for _, name := range []string{"AuthThrottled", "ServerErrors", "WebhooksRefused", "CronFailed", "ReloadFailed"} {
		all = append(all, query{what: "the first event of its kind", expr: `ALERTS{alertname="Smithers` + name + `", alertstate="firing"}`})
	}
	all = append(all, query{what: "load", expr: `sum(rate(smithers_gateway_runs_completed_total{status="finished"}[15s])) > 0`})
	var missing []string
	defer func() {
		if t.Failed() {
			t.Logf("after %d runs: %s", runs(), strings.Join(missing, "\n"))
		}
	}()
	complete := func(round int) bool {
		events(t, p, fmt.Sprint(round))
		if round%5 == 0 {
			require.NoError(t, p.Load(beating(config, 15+round%2)))
		}
		missing = missing[:0]
		for _, q := range all {
			if problem := q.unanswered(ask(q.expr)); problem != "" {
				missing = append(missing, problem)
			}
		}
		slices.Sort(missing)
		return len(missing) == 0 && runs() >= underLoad
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(3 * rig.Patience)
	for round := 0; !complete(round); round++ {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("some queries have no series")
		}
	}
	t.Logf("%d runs ended meanwhile", runs())
}

// scrape starts a Prometheus of its own that reads the gateways every second, with the
// alerts loaded, and returns the labels of each series of a query.
func scrape(t *testing.T, binary string, front, behind int) func(string) []map[string]string {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs(folder + "alerts.yml")
	require.NoError(t, err)
	config := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: smithers-gateway
    static_configs: [{targets: ["127.0.0.1:%d", "127.0.0.1:%d"]}]
`, rules, front, behind), 0o600))
	port := rig.FreePort(t)
	log := &rig.Buffer{}
	cmd := exec.Command(binary, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
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
	return func(expr string) (series []map[string]string) {
		res, err := get("/api/v1/query?query=" + url.QueryEscape(expr))
		require.NoError(t, err)
		defer res.Body.Close()
		var answer struct {
			Status, Error string
			Data          struct {
				Result []struct{ Metric map[string]string }
			}
		}
		require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
		require.Equal(t, "success", answer.Status, "%s: %s", expr, answer.Error)
		for _, r := range answer.Data.Result {
			series = append(series, r.Metric)
		}
		return series
	}
}
