package deploytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var units = []string{"smithers-gateway.service", "smithers-caddy.service"}

const installed = "/usr/local/bin/smithers-gateway"

func TestUnitsVerify(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	dir := t.TempDir()
	for _, unit := range units {
		text := strings.ReplaceAll(read(t, "systemd", unit), installed, binary)
		require.NoError(t, os.WriteFile(filepath.Join(dir, unit), []byte(text), 0o644))
	}
	for _, unit := range units {
		cmd := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=yes", filepath.Join(dir, unit))
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.NotContains(t, string(out), unit, "a warning about the unit")
	}
}

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// maxExposure is 0 for a service that may do nothing and 10 for one that may do all.
const maxExposure = 2.0

func TestUnitsAreHardened(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	for _, unit := range units {
		out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", filepath.Join(reference, "systemd", unit)).CombinedOutput()
		require.NoError(t, err, string(out))
		m := exposure.FindSubmatch(out)
		require.NotNil(t, m, string(out))
		score, err := strconv.ParseFloat(string(m[1]), 64)
		require.NoError(t, err)
		t.Logf("%s: exposure %.1f of 10", unit, score)
		require.LessOrEqual(t, score, maxExposure, string(out))
	}
}

func directive(t *testing.T, unit, name string) []string {
	t.Helper()
	var values []string
	for _, line := range strings.Split(read(t, "systemd", unit), "\n") {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			values = append(values, value)
		}
	}
	require.NotEmpty(t, values, "%s: %s", unit, name)
	return values
}

func TestUnitsFitTheirFiles(t *testing.T) {
	for unit, files := range map[string]struct{ caddyfile, installedAs string }{
		"smithers-gateway.service": {"Caddyfile", "/etc/smithers/Caddyfile"},
		"smithers-caddy.service":   {"Caddyfile.edge", "/etc/smithers/edge.Caddyfile"},
	} {
		t.Run(unit, func(t *testing.T) {
			text := read(t, "systemd", files.caddyfile)
			for _, name := range []string{"ExecStartPre", "ExecStart", "ExecReload"} {
				require.Contains(t, directive(t, unit, name)[0], installed+" ")
				require.Contains(t, directive(t, unit, name)[0], " --config "+files.installedAs+" ")
			}
			run := directive(t, unit, "RuntimeDirectory")[0]
			socket := "unix//run/" + run + "/admin.sock"
			require.Contains(t, text, "\tadmin "+socket+"\n")
			require.Contains(t, directive(t, unit, "ExecReload")[0], " --address "+socket+" ")
			require.Equal(t, directive(t, unit, "User"), directive(t, unit, "Group"))
			require.Equal(t, []string{"notify"}, directive(t, unit, "Type"))
			state := "/var/lib/" + directive(t, unit, "StateDirectory")[0]
			require.Contains(t, directive(t, unit, "Environment"), "XDG_DATA_HOME="+state)

			stop, err := time.ParseDuration(directive(t, unit, "TimeoutStopSec")[0])
			require.NoError(t, err)
			if unit == "smithers-gateway.service" {
				require.GreaterOrEqual(t, stop, shutdown(t, "systemd", "Caddyfile")+reserve)
				require.GreaterOrEqual(t, stop, shutdown(t, "systemd", "Caddyfile.inside")+reserve)
				set, _ := assignments(read(t, "systemd", "smithers-gateway.env.example"))
				require.Equal(t, state, filepath.Dir(set["SMITHERS_DB_PATH"]))
				require.Contains(t, directive(t, unit, "Environment"), "SQLITE_TMPDIR="+state)
			}
			files, err := strconv.Atoi(directive(t, unit, "LimitNOFILE")[0])
			require.NoError(t, err)
			require.Greater(t, files, 2*20_000)
		})
	}
}
