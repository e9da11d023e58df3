//go:build unix

package gateway

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/host"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/host/hosttest"
)

// playing makes the test binary the runtime of modules.
func playing(t *testing.T, s *Settings) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv(hosttest.Env, "1")
	s.RuntimeCommand = self
}

// smithers starts a gateway with a module that needs a Smithers process.
func smithers(t *testing.T, dir string, roles ...string) (*harness, Settings) {
	t.Helper()
	var settings Settings
	h := start(t, dir, func(s *Settings) {
		s.Module = hosttest.Write(t, dir, roles...)
		playing(t, s)
		settings = *s
	}, Site{})
	return h, settings
}

// pids are the processes of the running gateway, the newest last.
func (h *harness) pids() (pids []int) {
	run, release := h.gateway.acquire()
	defer release()
	for _, p := range run.processes.all() {
		pids = append(pids, p.Status().PID)
	}
	return pids
}

func gonePID(pid int) func() bool { return func() bool { return syscall.Kill(pid, 0) != nil } }

func TestSmithersProcess(t *testing.T) {
	dir := t.TempDir()
	h, s := smithers(t, dir)
	health := h.gateway.Health()
	require.Equal(t, "ok", health.Status)
	require.Equal(t, RuntimeSmithers, health.Module.Runtime)
	require.Equal(t, "ready", health.Smithers.State)
	require.Positive(t, health.Smithers.MemoryBytes)
	require.Equal(t, len(s.GoWorkflows)+1, health.Module.Workflows)
	require.FileExists(t, filepath.Join(dir, "smithers.gateway.db"), "db_path is the process's own")
	require.NoFileExists(t, s.DBPath)
	_, metrics := h.do("GET", "/metrics", "watcher", "")
	require.Contains(t, string(metrics), `smithers_upstream_up{source="host-1"} 1`)

	pid := h.pids()[0]
	hosttest.Write(t, dir, hosttest.Dies) // no process begins before that is put right
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return h.gateway.Health().Status == "degraded" }, time.Minute, 10*time.Millisecond)
	require.NoError(t, h.gateway.Ready(), "everything else works")
	h.await(h.launch("static", nil), "finished")
	hosttest.Write(t, dir)
	require.Eventually(t, func() bool { return h.gateway.Health().Status == "ok" }, time.Minute, 10*time.Millisecond)
	require.Positive(t, h.gateway.Health().Smithers.Restarts)

	pid = h.pids()[0]
	h.close()
	require.Eventually(t, gonePID(pid), time.Minute, 10*time.Millisecond)
}

func TestReloadOfASmithersModule(t *testing.T) {
	dir := t.TempDir()
	h, s := smithers(t, dir, hosttest.Busy)
	first := h.pids()[0]

	s.RequestTimeout = time.Minute / 2 // nothing that the process is started with
	require.NoError(t, h.gateway.Apply("second", s))
	h.gateway.Withdraw("test")
	require.Equal(t, []int{first}, h.pids(), "an unchanged module keeps its process")

	hosttest.Write(t, dir, hosttest.Throws)
	err := h.gateway.Apply("third", s)
	require.ErrorIs(t, err, ErrModule)
	require.ErrorIs(t, err, host.ErrModule)
	require.ErrorContains(t, err, "gateway.mjs:3:7: TypeError: boom")
	require.Equal(t, []int{first}, h.pids())
	require.Equal(t, "degraded", h.gateway.Health().Status)

	hosttest.Write(t, dir)
	require.NoError(t, h.gateway.Apply("fourth", s))
	require.Len(t, h.pids(), 2, "the former one stays while its settings may come back")
	h.gateway.Withdraw("second")
	require.Eventually(t, func() bool { return h.gateway.Health().Smithers.Retiring == 1 }, time.Minute, time.Millisecond)
	require.False(t, gonePID(first)(), "a run of the former module is at work")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "idle"), nil, 0o600))
	require.Eventually(t, func() bool { return len(h.pids()) == 1 }, time.Minute, 10*time.Millisecond)
	require.Eventually(t, gonePID(first), time.Minute, 10*time.Millisecond)
	require.Equal(t, "ok", h.gateway.Health().Status)
}

func TestFailedConfigFallsBackToTheFormerProcess(t *testing.T) {
	dir := t.TempDir()
	h, s := smithers(t, dir)
	first := h.pids()[0]
	hosttest.Write(t, dir, "something else")
	require.NoError(t, h.gateway.Apply("new", s))
	require.Len(t, h.pids(), 2)
	h.gateway.Withdraw("new")
	require.Eventually(t, func() bool { pids := h.pids(); return len(pids) == 1 && pids[0] == first }, time.Minute, 10*time.Millisecond)
}

func TestTooManyFormerModules(t *testing.T) {
	dir := t.TempDir()
	h, s := smithers(t, dir, hosttest.Busy)
	owner := "test"
	for i, next := range []string{"a", "b", "c", "d"} {
		hosttest.Write(t, dir, hosttest.Busy, next)
		require.NoError(t, h.gateway.Apply(next, s))
		h.gateway.Withdraw(owner)
		owner = next
		want := min(i+1, maxRetiring)
		require.Eventually(t, func() bool { return h.gateway.Health().Smithers.Retiring == want }, time.Minute, 10*time.Millisecond)
	}
}

func TestStartFailsWithTheModule(t *testing.T) {
	dir := t.TempDir()
	s := testSettings(t, dir)
	s.Module = hosttest.Write(t, dir, hosttest.Throws)
	playing(t, &s)
	g := New(testLogger(t))
	require.NoError(t, g.Apply("test", s))
	require.ErrorContains(t, g.Start(t.Context()), "TypeError: boom")

	s.RuntimeCommand = "no-such-bun"
	require.NoError(t, g.Apply("test", s))
	require.ErrorIs(t, g.Start(t.Context()), host.ErrNoRuntime)
	require.NoError(t, g.Close(t.Context()))
}

// A gateway that had its tables in db_path leaves that to a Smithers process, and
// stays beside it from then on.
func TestFromScriptsToSmithersAndBack(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir, nil, Site{})
	id := h.launch("static", nil)
	h.await(id, "finished")

	s := testSettings(t, dir)
	s.Module = hosttest.Write(t, dir)
	playing(t, &s)
	err := h.gateway.Apply("smithers", s)
	require.ErrorContains(t, err, "restart the gateway, which then copies its own tables to smithers.gateway.db")
	require.ErrorIs(t, err, ErrModule)
	h.await(id, "finished")
	h.close()
	before, err := os.ReadFile(s.DBPath)
	require.NoError(t, err)

	h, _ = smithers(t, dir)
	h.await(id, "finished")
	second := h.launch("static", nil)
	h.await(second, "finished")
	h.close()
	after, err := os.ReadFile(s.DBPath)
	require.NoError(t, err)
	require.Equal(t, before, after, "what was there stays as it was")

	h = start(t, dir, nil, Site{})
	h.await(second, "finished")
	require.NoError(t, h.gateway.Apply("smithers", s), "no restart is needed any more")
	require.Equal(t, "ready", h.gateway.Health().Smithers.State)
	h.gateway.Withdraw("smithers")
	require.Nil(t, h.gateway.Health().Smithers)
	require.Eventually(t, func() bool { return len(h.pids()) == 0 }, time.Minute, 10*time.Millisecond)
}

func TestBackupOfTwoFiles(t *testing.T) {
	dir := t.TempDir()
	h, s := smithers(t, dir)
	id := h.launch("static", nil)
	h.await(id, "finished")
	backups := t.TempDir()
	dest := filepath.Join(backups, "copy.db")
	require.NoError(t, h.gateway.Backup(t.Context(), dest, nil), "the process has made no database yet")
	require.Equal(t, []string{store.Beside(dest)}, BackupFiles(dest))

	other, err := store.Open(t.Context(), store.Options{Path: s.DBPath}) // stands for a database of the process
	require.NoError(t, err)
	require.NoError(t, h.gateway.Backup(t.Context(), dest, nil))
	require.NoError(t, other.Close())
	require.Equal(t, []string{dest, store.Beside(dest)}, BackupFiles(dest))

	restored := filepath.Join(t.TempDir(), "smithers.db")
	files, err := RestoreFile(t.Context(), dest, restored)
	require.NoError(t, err)
	require.Equal(t, []string{restored, store.Beside(restored)}, files)
	again := start(t, filepath.Dir(restored), nil, Site{})
	again.await(id, "finished")

	single := filepath.Join(backups, "single.db")
	require.NoError(t, store.BackupFile(t.Context(), store.Beside(dest), single, nil))
	files, err = RestoreFile(t.Context(), single, filepath.Join(t.TempDir(), "smithers.db"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.ErrorContains(t, BackupFile(t.Context(), single, dest, nil), "copy.gateway.db lies beside it")
}

// A process that may take long to start may do so at a reload, too.
func TestReloadWaitsForTheStart(t *testing.T) {
	s := DefaultSettings()
	require.Equal(t, leastReload, s.reloadLimit())
	s.RuntimeStartLimit = 10 * time.Minute
	require.Greater(t, s.reloadLimit(), s.RuntimeStartLimit)
}

func TestRuntimeSettings(t *testing.T) {
	for runtime, ok := range map[string]bool{RuntimeAuto: true, RuntimeScript: true, RuntimeSmithers: true, "bun": false, "": false} {
		s := DefaultSettings()
		s.Runtime = runtime
		require.Equal(t, ok, s.Validate() == nil, runtime)
	}
	s := DefaultSettings()
	s.RuntimeMemory = 1 << 20
	require.ErrorContains(t, s.Validate(), "runtime_memory")

	dir := t.TempDir()
	s.Module = hosttest.Write(t, dir)
	for runtime, smithers := range map[string]bool{RuntimeAuto: true, RuntimeScript: false, RuntimeSmithers: true} {
		s.Runtime = runtime
		in, err := s.inspect()
		require.NoError(t, err)
		require.Equal(t, smithers, in != nil, runtime)
	}
	require.NoError(t, os.WriteFile(s.Module, []byte("export default () => {}"), 0o600))
	s.Runtime = RuntimeAuto
	in, err := s.inspect()
	require.NoError(t, err)
	require.Nil(t, in)
}
