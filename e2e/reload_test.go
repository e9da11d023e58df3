package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// caddyfile writes a config of one site on the site's port, with an admin socket.
func (s *site) caddyfile(extra string) string {
	return s.write("Caddyfile", fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	grace_period 10s
}
http://127.0.0.1:%d {
	smithers {
		db_path %s
		token_store %s
		module %s
		%s
	}
}
`, s.path("admin.sock"), s.port, s.path("smithers.db"), s.path("tokens.json"), s.module, extra))
}

func (s *site) reload(config string) (output string, code int) {
	s.t.Helper()
	out, errOut, code := s.cli("reload", "--config", config, "--address", "unix/"+s.path("admin.sock"))
	return out + errOut, code
}

func TestReloadDropsNothing(t *testing.T) {
	s, w := newSite(t), newWorld(t)
	config := s.caddyfile("")
	token := s.issue(allScopes, "--user-id", "alice")
	p := s.start("run", "--config", config).as(token)

	w.hold("t2")
	id := p.launchRun("steps", map[string]any{"url": w.URL, "count": 4})
	w.arrived(t, "t2", 1)
	socket := p.dial()
	zero := int64(0)
	opened, err := socket.Stream(t.Context(), id, &zero)
	require.NoError(t, err)

	// A reload in the middle of a task and of a stream, with another setting.
	s.caddyfile("heartbeat 7s")
	out, code := s.reload(config)
	require.Zero(t, code, out)
	require.NoError(t, socket.Call(t.Context(), "health", nil, nil), "the socket lives on")
	w.release("t2")
	last := int64(0)
	err = socket.Follow(t.Context(), opened.StreamID, func(i client.Item) bool {
		require.NotNil(t, i.Event)
		require.Equal(t, last+1, i.Event.Seq)
		last = i.Event.Seq
		return i.Event.Event != "run.completed"
	})
	require.NoError(t, err)
	for i := range 4 {
		require.Equal(t, 1, w.count("t"+strconv.Itoa(i)), "no task is repeated by a reload")
	}

	// A config that cannot work changes nothing.
	s.caddyfile("event_window -1")
	out, code = s.reload(config)
	require.NotZero(t, code)
	require.Contains(t, out, "event_window")
	require.NoError(t, socket.Call(t.Context(), "health", nil, nil))

	// Nor does a module that throws.
	good, err := os.ReadFile(s.module)
	require.NoError(t, err)
	s.write("workspace/gateway.mjs", "export function register() { throw new Error('not this one') }\n")
	s.caddyfile("heartbeat 8s")
	_, _ = s.reload(config)
	require.NoError(t, socket.Call(t.Context(), "health", nil, nil))
	p.status(p.launchRun("quick", map[string]any{}), "finished")

	// A better module brings its workflow.
	opening := "export function register(gateway) {\n"
	require.Contains(t, string(good), opening)
	s.write("workspace/gateway.mjs", strings.Replace(string(good), opening,
		opening+"  gateway.register('fresh', (ctx) => ctx.task('new', async () => ({ fresh: true })));\n", 1))
	s.caddyfile("heartbeat 9s")
	out, code = s.reload(config)
	require.Zero(t, code, out)
	p.status(p.launchRun("fresh", map[string]any{}), "finished")
}

func TestValidateTouchesNoDatabase(t *testing.T) {
	s := newSite(t)
	config := s.caddyfile("")
	_, errOut, code := s.cli("validate", "--config", config)
	require.Zero(t, code, errOut)
	require.NoFileExists(t, s.path("smithers.db"))
	require.NoFileExists(t, s.path("smithers.db.lock"))

	s.caddyfile("evnt_window 7")
	_, errOut, code = s.cli("validate", "--config", config)
	require.NotZero(t, code)
	require.Contains(t, errOut, "evnt_window")
	require.Contains(t, errOut, "event_window", "it lists the allowed words")
}
