//go:build unix

package host

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/host/hosttest"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

func start(t *testing.T, o Options) *Host {
	t.Helper()
	h, err := Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(h.Stop)
	return h
}

// await waits for a state of a process number.
func await(t *testing.T, h *Host, state source.State, generation int) source.Status {
	t.Helper()
	updates, stop := h.Watch()
	defer stop()
	limit := time.After(2 * time.Minute)
	for {
		select {
		case s := <-updates:
			if s.State == state && s.Generation >= generation {
				return s
			}
		case <-limit:
			require.FailNow(t, "no such state", "%v of process %d; it is %+v", state, generation, h.Status())
		}
	}
}

func ended(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) }, time.Minute, 10*time.Millisecond)
}

// zombie: ended and not waited for by a parent that is not ours.
func zombie(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(text), ") Z ")
}

func TestStartAndStop(t *testing.T) {
	h := start(t, playing(t))
	s := h.Status()
	require.Equal(t, source.Ready, s.State)
	require.Equal(t, 1, s.Generation)
	require.Positive(t, s.RSS)
	require.Equal(t, []Workflow{{Key: "one"}}, h.Workflows())

	folder, err := os.Stat(h.folder)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), folder.Mode().Perm())
	conn, err := h.Dial(t.Context())
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	h.Stop()
	ended(t, s.PID)
	require.Equal(t, source.Stopped, h.Status().State)
	_, err = h.Dial(t.Context())
	require.ErrorIs(t, err, source.ErrDown)
	require.NoFileExists(t, h.folder)
}

func TestKilledProcessComesBack(t *testing.T) {
	h := start(t, playing(t))
	first := h.Status().PID
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	s := await(t, h, source.Ready, 2)
	require.NotEqual(t, first, s.PID)
	require.Equal(t, 1, s.Restarts)
	require.Equal(t, []int{first}, h.Past(), "the next process is told whose runs to go on with")
}

func TestGrandchildrenEndWithTheProcess(t *testing.T) {
	o := playing(t, hosttest.Breeds)
	h := start(t, o)
	grandchild := pidIn(t, filepath.Join(filepath.Dir(o.Module), "grandchild"))
	require.NoError(t, syscall.Kill(h.Status().PID, syscall.SIGKILL))
	ended(t, grandchild)
	h.Stop()
}

func TestStubbornProcessIsKilled(t *testing.T) {
	o := playing(t, hosttest.Stubborn)
	o.StopGrace = 50 * time.Millisecond
	h := start(t, o)
	pid := h.Status().PID
	h.Stop()
	ended(t, pid)
}

func TestRetire(t *testing.T) {
	o := playing(t)
	retired := make(chan struct{})
	o.Retired = func() { close(retired) }
	h := start(t, o)
	h.Retire()
	<-retired
	require.Equal(t, source.Stopped, h.Status().State)
}

func TestStartFails(t *testing.T) {
	for role, want := range map[string]struct {
		is   error
		text string
	}{
		hosttest.Throws: {ErrModule, "gateway.mjs:3:7: TypeError: boom"},
		hosttest.Dies:   {nil, "exit status 3; its last output was:\ncannot go on"},
		hosttest.Hangs:  {ErrStartLimit, "raise runtime_start_limit"},
	} {
		t.Run(role, func(t *testing.T) {
			o := playing(t, role)
			if role == hosttest.Hangs {
				o.StartLimit = 200 * time.Millisecond
			}
			_, err := Start(t.Context(), o)
			require.ErrorContains(t, err, want.text)
			if want.is != nil {
				require.ErrorIs(t, err, want.is)
			}
		})
	}
}

func TestStartIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Start(ctx, playing(t, hosttest.Hangs))
	require.ErrorIs(t, err, context.Canceled)
}

// TestNothingOutlivesTheGateway kills a process that has a Host, as kill -9 of a
// gateway would.
func TestNothingOutlivesTheGateway(t *testing.T) {
	if os.Getenv("HOST_TEST_GATEWAY") != "" {
		o := playing(t, hosttest.Breeds)
		h, err := Start(t.Context(), o)
		require.NoError(t, err)
		grandchild := pidIn(t, filepath.Join(filepath.Dir(o.Module), "grandchild"))
		out := os.NewFile(3, "out")
		_, err = out.WriteString(strconv.Itoa(h.Status().PID) + " " + strconv.Itoa(grandchild) + "\n")
		require.NoError(t, err)
		select {}
	}
	r, w, err := os.Pipe()
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	gateway := exec.Command(self, "-test.run=^"+t.Name()+"$")
	gateway.Env = append(os.Environ(), "HOST_TEST_GATEWAY=1", "TMPDIR="+t.TempDir())
	gateway.ExtraFiles = []*os.File{w}
	require.NoError(t, gateway.Start())
	require.NoError(t, w.Close())
	buf := make([]byte, 64)
	n, err := r.Read(buf)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, gateway.Process.Kill())
	_ = gateway.Wait()
	for _, field := range strings.Fields(string(buf[:n])) {
		pid, err := strconv.Atoi(field)
		require.NoError(t, err)
		ended(t, pid)
	}
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(text))
	require.NoError(t, err)
	return pid
}

func TestCheck(t *testing.T) {
	workflows, version, err := Check(t.Context(), playing(t))
	require.NoError(t, err)
	require.Equal(t, []Workflow{{Key: "one"}}, workflows)
	require.Equal(t, "0.0.0", version)
	_, _, err = Check(t.Context(), playing(t, hosttest.Throws))
	require.ErrorIs(t, err, ErrModule)
}
