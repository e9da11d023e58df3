package weather

import (
	"context"
	"database/sql"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/smithersai/caddy-smithers/e2e/load"
	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// lasting is how long commits fail: ten seconds at full size.
func lasting(t *testing.T) time.Duration {
	return time.Duration(rig.Count(t, "WEATHER_SECONDS", 3)) * time.Second
}

// tmpfs mounts a small file system, which needs root.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	rig.Need(t, err == nil, "root, to mount a small file system")
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

func TestDiskFull(t *testing.T) {
	dir := tmpfs(t, "16m")
	s := rig.NewSite(t, load.Module)
	s.DB = filepath.Join(dir, "smithers.db")
	storm(t, s, lasting(t), func(*rig.Process) func() {
		filler := filepath.Join(dir, "filler")
		f, err := os.Create(filler)
		require.NoError(t, err)
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.NoError(t, f.Close())
		return func() { require.NoError(t, os.Remove(filler)) }
	})
}

func TestLockedByAnotherProcess(t *testing.T) {
	s := rig.NewSite(t, load.Module)
	storm(t, s, lasting(t), func(*rig.Process) func() { return lock(t, s.DB) })
}

// lock holds the write lock of a database from this process.
func lock(t *testing.T, path string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)
	return func() {
		_, err := conn.ExecContext(context.WithoutCancel(t.Context()), "ROLLBACK")
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.NoError(t, db.Close())
	}
}

// TestSyncFails makes the kernel answer every sync of the gateway with an I/O error.
func TestSyncFails(t *testing.T) {
	needStrace(t)
	s := rig.NewSite(t, load.Module)
	storm(t, s, lasting(t), func(p *rig.Process) func() { return failSyncs(t, p) })
}

// failSyncs answers every sync of a process with an I/O error until it is called off.
func failSyncs(t *testing.T, p *rig.Process) (end func()) {
	t.Helper()
	attached := &rig.Buffer{}
	cmd := exec.Command("strace", "-f", "-q", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO",
		"-e", "signal=none", "-p", strconv.Itoa(p.Cmd.Process.Pid))
	cmd.Stderr = attached
	require.NoError(t, cmd.Start())
	rig.Wait(t, "a sync to fail", func() bool { return strings.Contains(attached.String(), "EIO") })
	return func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT)) // it lets go of the process
		_ = cmd.Wait()
	}
}

// TestKilledWhileSyncsFail: what a failed commit left in the log may be found by the
// next start, but not together with what was said instead of it.
func TestKilledWhileSyncsFail(t *testing.T) {
	needStrace(t)
	s := rig.NewSite(t, load.Module)
	ledger := rig.NewLedger(t, t.TempDir(), nil)
	fleet := load.NewFleet(s, ledger, s.Issue(rig.AllScopes, "alice"), 2)
	fleet.Start(6)
	for range 3 {
		p := s.Start()
		before := fleet.Runs()
		p.Wait("some runs", func() bool { return fleet.Runs() > before+6 })
		end := failSyncs(t, p)
		p.Wait("readiness to turn false", func() bool { return p.Probe("/health/ready") == http.StatusServiceUnavailable })
		p.Kill()
		end()
	}
	s.Start()
	require.NoError(t, fleet.Finish(rig.Patience))
	require.NoError(t, fleet.Replay())
	for _, v := range load.Judge(ledger.Entries()) {
		t.Error(v)
	}
}

func needStrace(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("strace")
	rig.Need(t, err == nil && exec.Command("strace", "-f", "-o", os.DevNull, "true").Run() == nil, "strace and the right to use it")
}
