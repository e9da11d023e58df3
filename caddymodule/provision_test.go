package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/require"
)

// validate provisions a Caddyfile as caddy validate does: for real, but nothing is
// started.
func validate(t *testing.T, source string) error {
	t.Helper()
	config, err := adapt(t, "Caddyfile", source)
	require.NoError(t, err)
	var parsed caddy.Config
	require.NoError(t, json.Unmarshal(config, &parsed))
	return caddy.Validate(&parsed)
}

const quiet = `
{
	admin off
	persist_config off
	auto_https off
	log {
		output discard
	}
}
`

func TestValidateOpensNothing(t *testing.T) {
	dir := t.TempDir()
	err := validate(t, quiet+fmt.Sprintf(`
:0 {
	smithers {
		db_path %[1]s/sub/runs.db
		token_store %[1]s/tokens.json
		module %[1]s/gateway.mjs
	}
}`, dir))
	require.NoError(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	pool.each(func(s *shared) bool {
		t.Errorf("gateway of %s is still in the pool", s.key)
		return true
	})
}

func TestExampleIsValid(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("SMITHERS_DB_PATH", filepath.Join(dir, "smithers.db"))
	source, err := os.ReadFile("../Caddyfile.example")
	require.NoError(t, err)
	require.NoError(t, validate(t, string(source)))
	require.NoFileExists(t, filepath.Join(dir, "smithers.db"))
	require.NoFileExists(t, filepath.Join(dir, "smithers.db.lock"))

	require.Equal(t, string(source), string(caddyfile.Format(source)), "format it with: smithers-gateway fmt")
	require.Equal(t, string(serveCaddyfile), string(caddyfile.Format(serveCaddyfile)))
}

// TestShippedConfigsKeepTokensOutOfLogs looks for the filter on every log.
func TestShippedConfigsKeepTokensOutOfLogs(t *testing.T) {
	example, err := os.ReadFile("../Caddyfile.example")
	require.NoError(t, err)
	for name, source := range map[string]string{"example": string(example), "serve": string(serveCaddyfile)} {
		t.Run(name, func(t *testing.T) {
			config, err := adapt(t, "Caddyfile", source)
			require.NoError(t, err)
			var parsed struct {
				Logging struct {
					Logs map[string]struct {
						Encoder struct {
							Format string
							Fields map[string]json.RawMessage
						}
					}
				}
			}
			require.NoError(t, json.Unmarshal(config, &parsed))
			require.NotEmpty(t, parsed.Logging.Logs)
			for log, c := range parsed.Logging.Logs {
				require.Equal(t, "filter", c.Encoder.Format, log)
				require.Contains(t, c.Encoder.Fields, "request>headers>X-Smithers-Key", log)
				require.Contains(t, c.Encoder.Fields, "request>headers>Referer", log)
				require.Contains(t, string(c.Encoder.Fields["request>uri"]), `"token"`, log)
			}
			require.NotContains(t, string(config), "log_credentials")
		})
	}
}

func TestRefusedConfigs(t *testing.T) {
	dir := t.TempDir()
	one := func(block string) string {
		return quiet + ":0 {\n\tsmithers {\n\t\tdb_path " + dir + "/runs.db\n" + block + "\n\t}\n}"
	}
	two := func(first, second string) string {
		return one(first) + "\n:1 {\n\tsmithers {\n\t\tdb_path " + dir + "/./runs.db\n" + second + "\n\t}\n}"
	}
	for name, c := range map[string]struct {
		source string
		env    string
		want   []string
	}{
		"malformed variable":     {one(""), "SMITHERS_GATEWAY_EVENT_WINDOW=-4", []string{"SMITHERS_GATEWAY_EVENT_WINDOW", "-4"}},
		"text for a number":      {one(""), "SMITHERS_GATEWAY_HEARTBEAT_MS=abc", []string{"SMITHERS_GATEWAY_HEARTBEAT_MS", "abc"}},
		"header timeout differs": {one(""), "SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS=5000", []string{"SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS", "5s", "servers { timeouts { read_header 5s } }"}},
		"malformed header time":  {one(""), "SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS=5s", []string{"SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS", "5s"}},
		"empty placeholder":      {one("\t\ttoken_store {env.NO_SUCH_VARIABLE}"), "", []string{"token_store", "env.NO_SUCH_VARIABLE"}},
		"unknown placeholder":    {one("\t\tmodule {no.such.thing}"), "", []string{"module", "no.such.thing"}},
		"empty in list":          {one("\t\torigins {env.NO_SUCH_VARIABLE}"), "", []string{"origins", "env.NO_SUCH_VARIABLE"}},
		"value out of bounds":    {one("\t\tevent_window 99999999"), "", []string{"event_window", "99999999"}},
		"durability by variable": {one("\t\tdurability {env.DURABILITY}"), "DURABILITY=fast", []string{"durability", "fast"}},
		"sites disagree": {two("\t\tevent_window 5\n\t\tmax_vms 3", "\t\tevent_window 6\n\t\tmax_vms 3"), "",
			[]string{"Caddyfile:11 (:0)", "Caddyfile:18 (:1)", dir + "/runs.db", "differ in event_window:"}},
		"sites disagree on workflows": {two("\t\tworkflow golden_tuned {\n\t\t\tgreeting a\n\t\t}", "\t\tworkflow golden_tuned {\n\t\t\tgreeting b\n\t\t}"), "",
			[]string{"Caddyfile:11 (:0)", "differ in workflow:"}},
	} {
		t.Run(name, func(t *testing.T) {
			if name, value, ok := strings.Cut(c.env, "="); ok {
				t.Setenv(name, value)
			}
			err := validate(t, c.source)
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
	// Nothing of all that is left over.
	pool.each(func(s *shared) bool {
		t.Errorf("gateway of %s is still in the pool", s.key)
		return true
	})
}

func TestAgreeingSites(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	require.NoError(t, os.Symlink(filepath.Join(dir, "real"), filepath.Join(dir, "link")))
	require.NoError(t, validate(t, quiet+fmt.Sprintf(`
:0 {
	smithers {
		db_path %[1]s/real/runs.db
		workflow golden_plain
		origins https://one.example
		max_body 2MiB
	}
}
:1 {
	smithers /gw {
		db_path %[1]s/link/runs.db
		workflow golden_plain
		public_metrics
	}
}
:2 {
	smithers {
		db_path %[1]s/other.db
		event_window 7
	}
}`, dir)))
}

func TestHeaderTimeoutAgrees(t *testing.T) {
	t.Setenv("SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS", "5000")
	dir := t.TempDir()
	require.NoError(t, validate(t, strings.Replace(quiet, "auto_https off",
		"auto_https off\n\tservers {\n\t\ttimeouts {\n\t\t\tread_header 5s\n\t\t}\n\t}", 1)+
		":0 {\n\tsmithers {\n\t\tdb_path "+dir+"/runs.db\n\t}\n}"))
}

func TestIdentity(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	require.NoError(t, os.Symlink(filepath.Join(dir, "real"), filepath.Join(dir, "link")))
	t.Chdir(dir)
	want := filepath.Join(dir, "real", "runs.db")
	for _, path := range []string{want, "real/runs.db", "link/runs.db", "./link/../real/runs.db", filepath.Join(dir, "link", ".", "runs.db")} {
		got, err := identity(path)
		require.NoError(t, err)
		require.Equal(t, want, got, path)
	}
	got, err := identity("link/not/yet/runs.db")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "real", "not", "yet", "runs.db"), got)
}
