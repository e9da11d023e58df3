package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// follow reads a stream until the run has ended and requires consecutive numbers.
func follow(t *testing.T, s *site, socket *client.Socket, streamID string, from int64) {
	t.Helper()
	next := from
	err := socket.Follow(s.context(), streamID, func(item client.Item) bool {
		require.NotNil(t, item.Event, "%+v", item)
		require.Equal(t, next, item.Event.Seq)
		next++
		return item.Event.Event != "run.completed"
	})
	require.NoError(t, err)
}

func TestReloadKeepsSocketsAndRuns(t *testing.T) {
	s := newSite(t)
	s.mustLoad(nil)
	alice := s.client(aliceToken)
	run := s.parkedRun(alice)
	socket := s.dial(alice)
	zero := int64(0)
	opened, err := socket.Stream(s.context(), run, &zero)
	require.NoError(t, err)

	for window := range 5 { // a changed tunable each time
		s.mustLoad(map[string]string{"event_window": fmt.Sprint(100 + window), "heartbeat": "1s"})
	}
	require.NoError(t, socket.Err())
	s.sendSignal(alice, run)
	follow(t, s, socket, opened.StreamID, 1)
	s.waitStatus(alice, run, "finished")
	require.NoError(t, socket.Call(s.context(), "health", nil, nil))
}

func TestChangedPath(t *testing.T) {
	s := newSite(t)
	s.mustLoad(nil)
	alice := s.client(aliceToken)
	run := s.parkedRun(alice)
	socket := s.dial(alice)

	s.mustLoad(map[string]string{"db_path": s.dir + "/other.db"})
	_, err := alice.Run(s.context(), run)
	require.True(t, client.IsCode(err, "NOT_FOUND"), "%v", err)
	select {
	case <-socket.Done():
		require.Equal(t, int(websocket.StatusServiceRestart), socket.CloseCode(), "%v", socket.Err())
	case <-s.context().Done():
		t.Fatal("the socket of the former gateway stays open")
	}

	// Back at once: the former gateway may still be closing.
	s.mustLoad(nil)
	s.waitStatus(alice, run, "waiting-event")
	s.sendSignal(alice, run)
	s.waitStatus(alice, run, "finished")
}

func TestFailingConfigChangesNothing(t *testing.T) {
	s := newSite(t)
	s.mustLoad(nil)
	alice, bob := s.client(aliceToken), s.client(bobToken)
	run := s.parkedRun(alice)
	socket := s.dial(alice)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "broken.mjs"), []byte("export function register( {"), 0o600))
	s.writeTokens("others.json", map[string]bool{aliceToken: false, bobToken: true})

	err := s.load(s.caddyfile(map[string]string{"module": s.dir + "/broken.mjs", "token_store": s.dir + "/others.json"}))
	require.ErrorContains(t, err, "broken.mjs:1")
	err = s.load(s.caddyfile(map[string]string{"db_path": s.dir + "/no/such/folder/runs.db"}))
	require.ErrorContains(t, err, s.dir+"/no/such/folder")

	// Another app of the config fails, before or after ours: apps start in random order.
	source := s.caddyfile(map[string]string{"token_store": s.dir + "/others.json", "event_window": "50", "drain_time": "7s"})
	config, err := adapt(t, "Caddyfile", source)
	require.NoError(t, err)
	for range 10 {
		err = caddy.Load(withApp(t, config, "smithers_test_failing"), true)
		require.ErrorContains(t, err, "this app never starts")
		// The token store of the old config is in force, and its drain time.
		require.NotEqual(t, 7*time.Second, pool.sorted()[0].gateway.DrainTime())
		_, err = bob.Run(s.context(), run)
		require.NoError(t, err)
		require.NoError(t, socket.Call(s.context(), "health", nil, nil))
	}
	s.sendSignal(alice, run)
	s.waitStatus(alice, run, "finished")
}

func TestFirstStartFails(t *testing.T) {
	s := newSite(t)
	blocked := filepath.Join(s.dir, "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	err := s.load(s.caddyfile(map[string]string{"db_path": blocked + "/runs.db"}))
	require.ErrorContains(t, err, blocked)
	require.NoError(t, pool.waitAll(s.context()))
	pool.each(func(left *shared) bool {
		t.Errorf("gateway of %s is still in the pool", left.key)
		return true
	})
	s.mustLoad(nil)
	_, err = s.client(aliceToken).Launch(s.context(), "gated", nil)
	require.NoError(t, err)
}

func TestRevokedGrantIsCutByReload(t *testing.T) {
	s := newSite(t)
	s.mustLoad(nil)
	alice, bob := s.dial(s.client(aliceToken)), s.dial(s.client(bobToken))
	s.writeTokens("fresh.json", map[string]bool{aliceToken: false, bobToken: true})
	s.mustLoad(map[string]string{"token_store": s.dir + "/fresh.json"})
	select {
	case <-bob.Done():
		require.Equal(t, int(websocket.StatusPolicyViolation), bob.CloseCode(), "%v", bob.Err())
	case <-s.context().Done():
		t.Fatal("the revoked socket stays open")
	}
	require.NoError(t, alice.Call(s.context(), "health", nil, nil))
	_, err := s.client(bobToken).Launch(s.context(), "gated", nil)
	require.True(t, client.IsCode(err, "UNAUTHORIZED"), "%v", err)
}

func TestTwoSitesOneGateway(t *testing.T) {
	s := newSite(t)
	second := rig.FreePort(t)
	block := fmt.Sprintf(`db_path %[1]s/./runs.db
		token_store %[1]s/tokens.json
		module %[1]s/gateway.mjs
		workflow gated
		drain_time 200ms`, s.dir)
	s.mustLoad(nil, fmt.Sprintf(`
http://127.0.0.1:%d {
	smithers /gw {
		%s
	}
	handle_path /stripped/* {
		smithers {
			%s
			public_workflows off
		}
	}
	handle /mixed/* {
		smithers /mixed {
			%s
			passthrough
		}
		respond "the next handler"
	}
}`, second, block, block, block))
	alice := s.client(aliceToken)
	run := s.parkedRun(alice)
	base := fmt.Sprintf("http://127.0.0.1:%d", second)
	for _, prefix := range []string{"/gw", "/stripped", "/mixed"} {
		t.Run(prefix, func(t *testing.T) {
			there := &client.Client{Base: base + prefix, Token: aliceToken, HTTP: alice.HTTP}
			_, err := there.Run(s.context(), run)
			require.NoError(t, err)
			status, _, err := there.Get(s.context(), "/health")
			require.NoError(t, err)
			require.Equal(t, 200, status)
			status, body, err := there.Get(s.context(), "/nothing/here")
			require.NoError(t, err)
			if prefix == "/mixed" {
				require.Equal(t, "the next handler", string(body))
			} else {
				require.Equal(t, 404, status)
				require.JSONEq(t, `{"error":{"code":"NOT_FOUND","message":"Route not found"}}`, string(body))
			}
			s.dial(there)
		})
	}
	status, _, err := (&client.Client{Base: base + "/stripped", HTTP: alice.HTTP}).Get(s.context(), "/workflows")
	require.NoError(t, err)
	require.Equal(t, 401, status)
	status, _, err = (&client.Client{Base: base + "/gw", HTTP: alice.HTTP}).Get(s.context(), "/workflows")
	require.NoError(t, err)
	require.Equal(t, 200, status)

	// Sites that disagree are refused, and nothing changes.
	err = s.load(s.caddyfile(nil, fmt.Sprintf("http://127.0.0.1:%d {\n\tsmithers {\n\t\t%s\n\t\tevent_window 7\n\t}\n}", second, block)))
	require.ErrorContains(t, err, "event_window")
	_, err = alice.Run(s.context(), run)
	require.NoError(t, err)
}

func TestStopClosesTheGateway(t *testing.T) {
	s := newSite(t)
	s.mustLoad(nil)
	socket := s.dial(s.client(aliceToken))
	require.NoError(t, caddy.Stop())
	select {
	case <-socket.Done():
	case <-time.After(time.Minute):
		t.Fatal("the socket stays open")
	}
	require.NoError(t, pool.waitAll(s.context()))
	s.mustLoad(nil) // the database is free again
}

func TestMetricsStayOnTheRegistryOfEveryConfig(t *testing.T) {
	s := newSite(t)
	for range 3 {
		s.mustLoad(nil)
		ctx := caddy.ActiveContext()
		families, err := ctx.GetMetricsRegistry().Gather()
		require.NoError(t, err)
		var ours int
		for _, family := range families {
			if len(family.GetName()) > 9 && family.GetName()[:9] == "smithers_" {
				ours++
			}
		}
		require.Positive(t, ours)
	}
}
