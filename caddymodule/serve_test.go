package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

const waitingModule = `export function register(gateway) {
  gateway.register("waiting", async (ctx) => {
    await ctx.task("before", async () => 1);
    await ctx.signal("go");
    return { done: true };
  });
}`

// served is the serve command in a process of its own.
type served struct {
	*site
	cmd    *exec.Cmd
	output *lockedBuffer
	exited chan error
}

type lockedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// environment is what serve runs with.
func (s *site) environment() []string {
	return append(os.Environ(), "HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "XDG_DATA_HOME="+s.dir,
		fmt.Sprintf("PORT=%d", s.port), "SMITHERS_DB_PATH="+s.dir+"/served.db",
		"SMITHERS_TOKEN_STORE="+s.dir+"/served.json", "SMITHERS_GATEWAY_MODULE="+s.dir+"/gateway.mjs")
}

func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), "smithers-gateway", args...)
	cmd.Env = s.environment()
	return cmd
}

// mustRun runs a subcommand and returns its trimmed stdout.
func (s *site) mustRun(args ...string) string {
	s.t.Helper()
	var stderr bytes.Buffer
	cmd := s.command(args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(s.t, err, "%v: %s", args, stderr.String())
	return strings.TrimSpace(string(out))
}

func serveIn(s *site) *served {
	s.t.Helper()
	p := &served{site: s, cmd: s.command("serve"), output: new(lockedBuffer), exited: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	require.NoError(s.t, p.cmd.Start())
	go func() { p.exited <- p.cmd.Wait() }()
	s.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if s.t.Failed() {
			text := p.output.String()
			s.t.Log(text[max(0, len(text)-4000):])
		}
	})
	require.Eventually(s.t, func() bool { return s.command("health").Run() == nil }, rig.Patience, 50*time.Millisecond)
	return p
}

// stop asks the process to end and returns how that went.
func (p *served) stop() error {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.exited:
		return err
	case <-time.After(rig.Patience):
		p.t.Fatal("the process does not end")
		return nil
	}
}

func TestServe(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs SIGTERM")
	}
	s := &site{t: t, dir: t.TempDir(), port: rig.FreePort(t)}
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "gateway.mjs"), []byte(waitingModule), 0o600))
	first := serveIn(s)
	token := s.mustRun("token", "issue", "--scopes", "run:read,run:write,signal:submit")
	c := s.client(token)
	var run string
	require.Eventually(t, func() bool { // the new token is noticed within a second
		var err error
		run, err = c.Launch(s.context(), "waiting", map[string]any{})
		return err == nil
	}, rig.Patience, 20*time.Millisecond)
	s.waitStatus(c, run, "waiting-event")
	socket := s.dial(c)

	// A second gateway on the database is refused and says who has it.
	second := s.command("serve")
	second.Env = append(second.Env, fmt.Sprintf("PORT=%d", rig.FreePort(t)))
	out, err := second.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "served.db")
	require.Contains(t, string(out), fmt.Sprint(first.cmd.Process.Pid))

	// Tokens in a header, a query and a Referer do not reach the log.
	for range 2 {
		request, err := http.NewRequestWithContext(s.context(), http.MethodGet, c.Base+"/nothing?token="+token+"&shown=yes", nil)
		require.NoError(t, err)
		request.Header.Set("X-Smithers-Key", token)
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("Referer", "http://localhost/v1/auth/session?token="+token)
		response, err := c.HTTP.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	require.Eventually(t, func() bool { return strings.Contains(first.output.String(), "shown=yes") }, rig.Patience, 10*time.Millisecond)

	s.mustRun("backup", filepath.Join(s.dir, "copy.db"))
	refused := s.command("restore", filepath.Join(s.dir, "copy.db"))
	out, err = refused.CombinedOutput()
	require.Error(t, err, "restored under a running gateway")
	require.Contains(t, string(out), fmt.Sprint(first.cmd.Process.Pid))

	// The end: sockets hear of it, the process is gone soon, with code 0.
	require.NoError(t, first.stop())
	select {
	case <-socket.Done():
		require.Positive(t, socket.CloseCode(), "%v", socket.Err())
	case <-s.context().Done():
		t.Fatal("the socket was not closed")
	}
	require.NotContains(t, first.output.String(), token)

	// Restored and started again, the run goes on.
	s.mustRun("restore", filepath.Join(s.dir, "copy.db"))
	again := serveIn(s)
	s.waitStatus(c, run, "waiting-event")
	s.sendSignal(c, run)
	s.waitStatus(c, run, "finished")

	s.mustRun("token", "revoke", token)
	require.Eventually(t, func() bool {
		_, err := c.Run(s.context(), run)
		return client.IsCode(err, "UNAUTHORIZED")
	}, rig.Patience, 20*time.Millisecond)
	require.NoError(t, again.stop())
}
