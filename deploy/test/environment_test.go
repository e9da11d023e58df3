package deploytest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway"
)

// defaults is the environment table of the deployment page.
var defaults = map[string]string{
	"PORT":                                "7331",
	"SMITHERS_DB_PATH":                    "/data/smithers.db",
	"SMITHERS_TOKEN_STORE":                "/data/tokens.json",
	"SMITHERS_GATEWAY_MODULE":             "/workspace/gateway.mjs",
	"SMITHERS_GATEWAY_HEARTBEAT_MS":       "15000",
	"SMITHERS_GATEWAY_EVENT_WINDOW":       "10000",
	"SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS": "30000",
	"SMITHERS_GATEWAY_REQUEST_TIMEOUT_MS": "60000",
}

func TestDefaultsAreTheProgramsOwn(t *testing.T) {
	settings, err := gateway.FromEnviron(func(name string) (string, bool) { v, ok := defaults[name]; return v, ok }, gateway.DefaultSettings())
	require.NoError(t, err)
	require.Empty(t, settings.Differs(gateway.DefaultSettings()))
}

var tableRow = regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| `([^`]*)` \\| `([^`]*)` \\| `([^`]*)` \\| `([^`]*)` \\|$")

// The guide's table says what each way of deploying really sets.
func TestEnvironmentTable(t *testing.T) {
	guide, compose, host, cluster := map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	for _, row := range tableRow.FindAllStringSubmatch(read(t, "README.md"), -1) {
		guide[row[1]], compose[row[1]], host[row[1]], cluster[row[1]] = row[2], row[3], row[4], row[5]
	}
	require.Equal(t, defaults, guide)

	container := composeProject(t).Services["gateway"].Environment
	for name, want := range compose {
		require.NotNil(t, container[name], name)
		require.Equal(t, want, *container[name], "docker-compose.yml: %s", name)
	}
	require.Equal(t, "localhost", *container["SMITHERS_DOMAIN"])
	require.Len(t, container, len(defaults)+1)

	set, _ := assignments(read(t, "systemd", "smithers-gateway.env.example"))
	require.Equal(t, "localhost", set["SMITHERS_DOMAIN"])
	delete(set, "SMITHERS_DOMAIN")
	require.Equal(t, host, set)

	require.Equal(t, cluster, decodeManifests(t).config.Data)
}

// .env.example suggests variables that docker-compose.yml reads, with its defaults.
func TestComposeEnvExample(t *testing.T) {
	text := read(t, "docker-compose.yml")
	_, suggested := assignments(read(t, ".env.example"))
	require.NotEmpty(t, suggested)
	for name, value := range suggested {
		at := strings.Index(text, "${"+name+":-")
		require.GreaterOrEqual(t, at, 0, name)
		used := text[at+len("${"+name+":-"):]
		used = used[:strings.Index(used, "}")]
		if want, ok := defaults[name]; ok {
			require.Equal(t, want, used, "docker-compose.yml: %s", name)
			require.Equal(t, want, value, ".env.example: %s", name)
		}
	}
}
