package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// site is a Caddy in this process with one gateway site on loopback.
type site struct {
	t    *testing.T
	dir  string
	port int
}

const (
	aliceToken = "smithers_test_alice"
	bobToken   = "smithers_test_bob"
)

// newSite prepares a folder with a token store; Caddy is stopped and looked over for
// leaks when the test ends.
func newSite(t *testing.T) *site {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	s := &site{t: t, dir: t.TempDir(), port: rig.FreePort(t)}
	s.writeTokens("tokens.json", map[string]bool{aliceToken: false, bobToken: false})
	t.Cleanup(func() {
		require.NoError(t, caddy.Stop())
		ctx, cancel := context.WithTimeout(context.Background(), rig.Patience)
		defer cancel()
		require.NoError(t, pool.waitAll(ctx))
		goleak.VerifyNone(t, append(caddyLeaks, ignore)...)
	})
	return s
}

// caddyLeaks are goroutines that Caddy or its libraries start once a process and
// never end.
var caddyLeaks = []goleak.Option{
	// ACME rate limits are process-wide.
	goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
	// Asleep until it notices that its lock is gone.
	goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	// Ends at its next tick.
	goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2/modules/caddytls.(*TLS).keepStorageClean.func1"),
}

// writeTokens writes a token store; a true value revokes the token.
func (s *site) writeTokens(name string, revoked map[string]bool) {
	s.t.Helper()
	grants := map[string]any{}
	for token, gone := range revoked {
		grant := map[string]any{"tokenId": strings.TrimPrefix(token, "smithers_test_"), "role": "operator", "scopes": []string{"*"},
			"secret": token, "userId": token, "issuedAtMs": 1, "expiresAtMs": time.Now().Add(time.Hour).UnixMilli()}
		if gone {
			grant["revokedAtMs"] = 1
		}
		grants[token] = grant
	}
	data, err := json.Marshal(map[string]any{"version": 2, "tokens": grants, "actionTokens": map[string]any{}, "audit": []any{}})
	require.NoError(s.t, err)
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.WriteFile(path+".tmp", data, 0o600))
	require.NoError(s.t, os.Rename(path+".tmp", path))
}

// caddyfile is a config of one site with some lines replaced or added.
func (s *site) caddyfile(settings map[string]string, extra ...string) string {
	lines := map[string]string{
		"db_path": s.dir + "/runs.db", "token_store": s.dir + "/tokens.json", "module": s.dir + "/gateway.mjs",
		"workflow": "gated", "drain_time": "200ms",
	}
	for word, value := range settings {
		lines[word] = value
	}
	var block strings.Builder
	for word, value := range lines {
		fmt.Fprintf(&block, "\t\t%s %s\n", word, value)
	}
	return fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	grace_period 5s
	storage file_system {
		root %s
	}
	log {
		output discard
	}
}
http://127.0.0.1:%d {
	smithers {
%s	}
}
%s`, s.dir, s.port, block.String(), strings.Join(extra, "\n"))
}

func (s *site) load(source string) error {
	s.t.Helper()
	config, err := adapt(s.t, "Caddyfile", source)
	require.NoError(s.t, err)
	return caddy.Load(config, true)
}

func (s *site) mustLoad(settings map[string]string, extra ...string) {
	s.t.Helper()
	require.NoError(s.t, s.load(s.caddyfile(settings, extra...)))
}

func (s *site) client(token string) *client.Client {
	return &client.Client{Base: fmt.Sprintf("http://127.0.0.1:%d", s.port), Token: token, HTTP: rig.Steady()}
}

func (s *site) context() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), rig.Patience)
	s.t.Cleanup(cancel)
	return ctx
}

// parkedRun launches a gated run and waits until it waits for its signal.
func (s *site) parkedRun(c *client.Client) string {
	s.t.Helper()
	id, err := c.Launch(s.context(), "gated", map[string]any{})
	require.NoError(s.t, err)
	s.waitStatus(c, id, "waiting-event")
	return id
}

func (s *site) waitStatus(c *client.Client, id, status string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		run, err := c.Run(s.context(), id)
		return err == nil && run.Status == status
	}, rig.Patience, 10*time.Millisecond, "run %s never becomes %s", id, status)
}

func (s *site) dial(c *client.Client) *client.Socket {
	s.t.Helper()
	socket, err := c.Dial(s.context(), client.DialOptions{})
	for rig.Lost(err) && s.context().Err() == nil { // as rig.Steady
		socket, err = c.Dial(s.context(), client.DialOptions{})
	}
	require.NoError(s.t, err)
	s.t.Cleanup(socket.Cut)
	return socket
}

func (s *site) sendSignal(c *client.Client, id string) {
	s.t.Helper()
	require.NoError(s.t, c.Call(s.context(), "submitSignal",
		map[string]any{"runId": id, "signalName": "go", "payload": map[string]any{}}, nil))
}

// withApp adds an app without settings to a config.
func withApp(t *testing.T, config []byte, name string) []byte {
	t.Helper()
	var parsed map[string]any
	require.NoError(t, json.Unmarshal(config, &parsed))
	parsed["apps"].(map[string]any)[name] = map[string]any{}
	changed, err := json.Marshal(parsed)
	require.NoError(t, err)
	return changed
}
