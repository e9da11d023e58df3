package gateway

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

func closeNow(t testing.TB, g *Gateway) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, g.Close(ctx))
}

func TestStartNeedsSettings(t *testing.T) {
	g := New(nil)
	require.ErrorIs(t, g.Start(t.Context()), ErrNoSettings)
	require.ErrorIs(t, g.Ready(), ErrNotRunning)
	require.Equal(t, "down", g.Health().Status)
	closeNow(t, g)
	closeNow(t, g)
	require.ErrorIs(t, g.Apply("a", DefaultSettings()), ErrClosed)
	require.ErrorIs(t, g.Start(t.Context()), ErrClosed)
	g.Withdraw("a")
	g.Drain(t.Context())
	bad := DefaultSettings()
	bad.EventWindow = -1
	require.ErrorContains(t, New(nil).Apply("a", bad), "event_window")
}

func TestStartIsIdempotent(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("approve", nil)
	h.await(id, "waiting-approval")
	require.NoError(t, h.gateway.Start(t.Context()))
	h.await(id, "waiting-approval")
}

func TestApplyAndWithdraw(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	g := h.gateway
	id := h.launch("approve", nil)
	s := testSettings(t, h.dir)
	limits := func() int { return g.Health().Limits.MaxConnections }

	s.MaxConnections = 11
	require.NoError(t, g.Apply("new", s))
	require.Equal(t, 11, limits())
	s.MaxConnections = 12
	require.NoError(t, g.Apply("newer", s))
	require.Equal(t, 12, limits())
	s.MaxConnections = 13
	require.NoError(t, g.Apply("new", s), "replaces and comes to the top")
	require.Equal(t, 13, limits())
	g.Withdraw("new")
	require.Equal(t, 12, limits(), "falls back")
	g.Withdraw("test")
	require.Equal(t, 12, limits(), "not in force: nothing changes")
	g.Withdraw("nobody")
	g.Withdraw("newer")
	require.Equal(t, 12, limits(), "the last settings stay until the gateway closes")
	h.await(id, "waiting-approval")

	var audit []*store.AuditEntry
	run, release := g.acquire()
	defer release()
	require.NoError(t, run.store.View(t.Context(), func(v *store.View) (err error) {
		audit, err = v.Audit(store.AuditFilter{Action: "reload"})
		return err
	}))
	require.Len(t, audit, 3)
	require.JSONEq(t, `{"changed":["max_connections"],"module":""}`, string(audit[0].Detail))
}

func TestTokenStoreMovesOnReload(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	s := testSettings(t, h.dir)
	s.TokenStore = filepath.Join(h.dir, "other.json")
	require.NoError(t, os.WriteFile(s.TokenStore, []byte(`{"version":2,"tokens":{"fresh":{"role":"r","scopes":["*"]}}}`), 0o600))
	require.NoError(t, h.gateway.Apply("new", s))
	h.refused("op", "health", obj{}, 401, "UNAUTHORIZED", "Invalid token")
	status, _ := h.rpc("fresh", "health", obj{})
	require.Equal(t, 200, status)
	h.gateway.Withdraw("new")
	h.call("health", obj{}, nil)
}

func TestFailingStartLeavesNothingOpen(t *testing.T) {
	dir := t.TempDir()
	s := testSettings(t, dir)
	s.DBPath = filepath.Join(dir, "file", "smithers.db")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	g := New(testLogger(t))
	require.NoError(t, g.Apply("a", s))
	err := g.Start(t.Context())
	require.ErrorContains(t, err, "open the database")
	require.ErrorContains(t, err, s.DBPath)
	require.Error(t, g.Ready())

	// Fixed, the same gateway starts.
	s.DBPath = filepath.Join(dir, "smithers.db")
	require.NoError(t, g.Apply("a", s))
	require.NoError(t, g.Start(t.Context()))
	require.NoError(t, g.Ready())
	closeNow(t, g)
}

func TestUnwritablePath(t *testing.T) {
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("permissions do not bind this user")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	s := testSettings(t, dir)
	g := New(testLogger(t))
	require.NoError(t, g.Apply("a", s))
	require.ErrorIs(t, g.Start(t.Context()), store.ErrUnwritable)
	closeNow(t, g)
}

func TestSecondGatewayOnTheDatabase(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	other := New(testLogger(t))
	require.NoError(t, other.Apply("a", testSettings(t, h.dir)))
	err := other.Start(t.Context())
	require.ErrorIs(t, err, store.ErrOwned)
	require.ErrorContains(t, err, "pid:")
	closeNow(t, other)
	h.await(h.launch("static", nil), "finished")
	h.gateway.Withdraw("test")
	closeNow(t, h.gateway)

	again := New(testLogger(t))
	require.NoError(t, again.Apply("a", testSettings(t, h.dir)))
	require.NoError(t, again.Start(t.Context()))
	closeNow(t, again)
}

const moduleOne = `export function register(gateway) {
	gateway.register("scripted", async (ctx) => ctx.task("t", async () => ({ version: 1 })));
	gateway.register("gated", async (ctx) => {
		await ctx.approval("gate", { title: "?" });
		return ctx.task("after", async () => ({ version: 1, corr: process.env.CORR, db: process.env.SMITHERS_DB_PATH, home: process.env.HOME }));
	});
}`

func TestModules(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CORR", "from the environment")
	module := filepath.Join(dir, "gateway.mjs")
	write := func(text string) { require.NoError(t, os.WriteFile(module, []byte(text), 0o600)) }
	write(moduleOne)
	change := func(s *Settings) { s.Module, s.Env = module, []string{"CORR", "ABSENT"} }
	h := start(t, dir, change, Site{})
	s := testSettings(t, dir)
	change(&s)
	output := func(workflow string) any { return h.await(h.launch(workflow, nil), "finished")["output"] }
	require.Equal(t, obj{"version": 1.0}, output("scripted"))
	require.Equal(t, moduleLoaded, h.gateway.Health().Module.State)
	gated := h.launch("gated", nil)
	h.await(gated, "waiting-approval")
	hash := h.gateway.Health().Module.Hash

	// A broken module keeps the old one in force and says so.
	for text, want := range map[string]string{
		"export function register(g) { syntax error":               "gateway.mjs:1",
		"export function register(g) { throw new Error('oh no') }": "oh no",
	} {
		write(text)
		err := h.gateway.Apply("reload", s)
		require.ErrorIs(t, err, ErrModule)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "stay in force")
		require.Equal(t, obj{"version": 1.0}, output("scripted"))
		require.Equal(t, "degraded", h.gateway.Health().Status)
	}

	write(`export default (gateway) => gateway.register("scripted", async (ctx) => ctx.task("t", async () => ({ version: 2 })))`)
	require.NoError(t, h.gateway.Apply("reload", s))
	require.Equal(t, obj{"version": 2.0}, output("scripted"))
	require.Equal(t, "ok", h.gateway.Health().Status)
	require.NotEqual(t, hash, h.gateway.Health().Module.Hash)
	h.refused("op", "launchRun", obj{"workflow": "gated"}, 404, "NOT_FOUND", "Unknown workflow: gated")

	// A parked run resumes on the bundle it was launched with, also after a restart.
	h.close()
	h = start(t, dir, change, Site{})
	h.call("submitApproval", obj{"runId": gated, "nodeId": "gate", "approved": true}, nil)
	require.Equal(t, obj{"version": 1.0, "corr": "from the environment", "db": s.DBPath}, h.await(gated, "finished")["output"])

	// A config that is taken back gives the former workflows back.
	write(moduleOne)
	require.NoError(t, h.gateway.Apply("reload", s))
	require.Equal(t, obj{"version": 1.0}, output("scripted"))
	h.gateway.Withdraw("reload")
	require.Equal(t, obj{"version": 2.0}, output("scripted"))

	// The file gone: no script workflows, but a gateway.
	require.NoError(t, os.Remove(module))
	require.NoError(t, h.gateway.Apply("reload", s))
	require.Equal(t, moduleMissing, h.gateway.Health().Module.State)
	require.Equal(t, obj{"ok": true}, output("static"))
}

func TestStartRefusesBrokenModules(t *testing.T) {
	dir := t.TempDir()
	s := testSettings(t, dir)
	s.Module = filepath.Join(dir, "gateway.mjs")
	g := New(testLogger(t))
	require.NoError(t, os.WriteFile(s.Module, []byte("export function register(g) {\n  null.x\n}"), 0o600))
	require.NoError(t, g.Apply("a", s))
	err := g.Start(t.Context())
	require.ErrorIs(t, err, ErrModule)
	require.ErrorContains(t, err, "gateway.mjs:2")

	require.NoError(t, os.WriteFile(s.Module, []byte(`export const register = (g) => g.register("static", async () => 1)`), 0o600))
	require.ErrorContains(t, g.Start(t.Context()), `registers "static", which is the key of a workflow compiled into this binary`)
	closeNow(t, g)
}

func TestCloseWaitsForRequests(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	run, release := h.gateway.acquire()
	require.NotNil(t, run)
	done := make(chan struct{})
	go func() {
		defer close(done)
		closeNow(t, h.gateway)
	}()
	require.Eventually(t, func() bool { return h.gateway.Ready() != nil }, time.Minute, time.Millisecond)
	require.NoError(t, run.store.Healthy(), "still open for us")
	select {
	case <-done:
		t.Fatal("closed although a request is in flight")
	default:
	}
	res, body := h.do("GET", "/health", "", "")
	require.Equal(t, 503, res.StatusCode)
	require.Equal(t, "1", res.Header.Get("Retry-After"))
	require.Contains(t, string(body), "UNAVAILABLE")
	release()
	<-done
}

func TestDrainParksAndRefuses(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("approve", nil)
	h.await(id, "waiting-approval")
	h.gateway.Drain(t.Context())
	require.ErrorContains(t, h.gateway.Ready(), "draining")
	require.NoError(t, h.gateway.Live())
	h.await(id, "waiting-approval")
	status, f := h.rpc("op", "launchRun", obj{"workflow": "static"})
	require.Equal(t, 503, status)
	require.Equal(t, "UNAVAILABLE", f.Error["code"])
	require.Equal(t, true, f.Error["retryable"])
	res, _ := h.do("GET", "/health/ready", "", "")
	require.Equal(t, 503, res.StatusCode)
	require.Equal(t, "draining", h.gateway.Health().Status)
}

func TestRunsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir, nil, Site{})
	id := h.launch("approve", nil)
	before := h.await(id, "waiting-approval")
	h.close()
	h = start(t, dir, nil, Site{})
	after := h.await(id, "waiting-approval")
	require.Equal(t, before["createdAtMs"], after["createdAtMs"])
	h.call("submitApproval", obj{"runId": id, "nodeId": "gate", "approved": true}, nil)
	h.await(id, "finished")
}

func TestCollectorsInTwoRegistries(t *testing.T) {
	g := New(nil)
	for range 2 {
		r := prometheus.NewPedanticRegistry()
		for _, c := range g.Collectors() {
			require.NoError(t, r.Register(c))
		}
		_, err := r.Gather()
		require.NoError(t, err)
	}
}

func TestRetention(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	old := h.launch("static", nil)
	h.await(old, "finished")
	parked := h.launch("approve", nil)
	h.await(parked, "waiting-approval")
	run, release := h.gateway.acquire()
	defer release()
	require.NoError(t, run.removeEnded(t.Context(), time.Now().Add(-time.Hour)))
	h.await(old, "finished")
	require.NoError(t, run.removeEnded(t.Context(), time.Now().Add(time.Hour)))
	h.refused("op", "getRun", obj{"runId": old}, 404, "NOT_FOUND", "Run not found: "+old)
	h.await(parked, "waiting-approval")
}

// A run that has the id of a removed one is another run: its streams deliver its own
// events, and those of the removed one end.
func TestRetentionFreesTheID(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	again := obj{"workflow": "static", "runId": "again"}
	h.call("launchRun", again, nil)
	h.await("again", "finished")
	s := h.dial("op", "other")
	s.stream("again", 0)
	s.follow("again", 0, "run.completed")

	run, release := h.gateway.acquire()
	defer release()
	require.NoError(t, run.removeEnded(t.Context(), time.Now().Add(time.Hour)))
	ended := s.event()
	require.Equal(t, "run.error", ended.Event)
	require.Equal(t, "RunNotFound", ended.Payload["error"].(obj)["code"])

	h.call("launchRun", again, nil)
	h.await("again", "finished")
	s.stream("again", 0)
	names, _ := s.follow("again", 0, "run.completed")
	require.Equal(t, []string{"node.pending", "node.started", "node.finished", "run.completed"}, names)
}

func TestBackup(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("static", nil)
	h.await(id, "finished")
	dest := filepath.Join(t.TempDir(), "copy.db")
	require.NoError(t, h.gateway.Backup(t.Context(), dest, nil))
	restored := t.TempDir()
	_, err := RestoreFile(t.Context(), dest, filepath.Join(restored, "smithers.db"))
	require.NoError(t, err)
	other := start(t, restored, nil, Site{})
	other.await(id, "finished")
	require.ErrorIs(t, New(nil).Backup(t.Context(), dest, nil), ErrNotRunning)
}

func TestLivenessFailsSlowly(t *testing.T) {
	var l liveness
	now := time.Unix(0, 0)
	require.NoError(t, l.check(store.ErrUnavailable, now))
	require.NoError(t, l.check(store.ErrUnavailable, now.Add(liveGrace-1)))
	require.Error(t, l.check(store.ErrUnavailable, now.Add(liveGrace)))
	require.NoError(t, l.check(nil, now.Add(liveGrace)))
	require.NoError(t, l.check(store.ErrUnavailable, now.Add(2*liveGrace)))
}

func TestDoomed(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	quiet := New(nil) // the errors this logs are expected
	quiet.abandoned(1, false)
	select {
	case <-quiet.Doomed():
		t.Fatal("too early")
	default:
	}
	require.NoError(t, quiet.Live())
	quiet.abandoned(2, true)
	quiet.abandoned(3, true)
	<-quiet.Doomed()
	require.Error(t, quiet.Live())
	require.NoError(t, h.gateway.Live())
}

func TestRequestTimeout(t *testing.T) {
	h := start(t, t.TempDir(), func(s *Settings) { s.RequestTimeout = 50 * time.Millisecond }, Site{})
	run, release := h.gateway.acquire()
	defer release()
	hold, held := make(chan struct{}), make(chan struct{})
	run.store.Submit(func(*store.Tx) error { close(held); <-hold; return nil }, func(error) {})
	<-held
	status, f := h.rpc("op", "launchRun", obj{"workflow": "static"})
	close(hold)
	require.Equal(t, 504, status)
	require.Equal(t, "REQUEST_TIMEOUT", f.Error["code"])
	require.Equal(t, true, f.Error["retryable"])
}
