package observe

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestAlertsFireAndKeepQuiet(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	rig.Need(t, err == nil, "promtool of the Debian package prometheus")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	var file struct {
		Tests []struct {
			Exprs []struct {
				Expr string
				Exp  []any `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	load(t, "alerts_test.yml", &file)
	firing := regexp.MustCompile(`alertname="(\w+)", alertstate="firing"`)
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, e := range test.Exprs {
			name := firing.FindStringSubmatch(e.Expr)
			require.NotNil(t, name, e.Expr)
			fires[name[1]] = fires[name[1]] || len(e.Exp) > 0
			quiet[name[1]] = quiet[name[1]] || len(e.Exp) == 0
		}
	}
	for _, a := range alerts(t) {
		require.True(t, fires[a.Alert], "%s is not tested to fire", a.Alert)
		require.True(t, quiet[a.Alert], "%s is not tested to keep quiet", a.Alert)
	}
}

type alert struct {
	Alert, Expr string
	Annotations map[string]string
}

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	load(t, "alerts.yml", &file)
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	require.Greater(t, len(all), 15)
	return all
}

func load(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(folder + name)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into))
}
