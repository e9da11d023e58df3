package rig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// AllScopes are the scopes that drive runs.
const AllScopes = "run:read,run:write,approval:submit,signal:submit,observability:read"

// Site is a folder with what one gateway needs: module, database, tokens. It outlives
// the processes that serve it.
type Site struct {
	T      *testing.T
	Dir    string
	Module string
	Port   int
	Env    []string              // added to the environment of every process
	DB     string                // path of the database
	Wrap   []string              // a command that runs the gateway, such as a tracer
	Exec   func(*exec.Cmd) error // starts a process; nil: cmd.Start
}

// NewSite makes a folder with the text of a workflow module.
func NewSite(t *testing.T, module string) *Site {
	t.Helper()
	s := &Site{T: t, Dir: t.TempDir(), Port: FreePort(t)}
	s.DB = s.Path("smithers.db")
	s.Module = s.Write("workspace/gateway.mjs", module)
	return s
}

// Path is a path below the site's folder.
func (s *Site) Path(name string) string { return filepath.Join(s.Dir, filepath.FromSlash(name)) }

// Write makes a file below the site's folder.
func (s *Site) Write(name, text string) string {
	s.T.Helper()
	path := s.Path(name)
	require.NoError(s.T, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.T, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// Environ is the environment of the site's processes.
func (s *Site) Environ() []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + s.Dir,
		"PORT=" + strconv.Itoa(s.Port),
		"SMITHERS_DB_PATH=" + s.DB,
		"SMITHERS_TOKEN_STORE=" + s.Path("tokens.json"),
		"SMITHERS_GATEWAY_MODULE=" + s.Module,
	}, s.Env...)
}

// CLI runs a subcommand of the binary to its end.
func (s *Site) CLI(args ...string) (output string, code int) {
	s.T.Helper()
	cmd := exec.CommandContext(s.T.Context(), binary, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = s.Dir, s.Environ(), 5*time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.T.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Issue makes a token of an hour with the binary's own command.
func (s *Site) Issue(scopes, user string) string {
	s.T.Helper()
	return s.IssueFor(scopes, user, "1h")
}

// IssueFor makes a token that lasts as long as ttl says.
func (s *Site) IssueFor(scopes, user, ttl string) string {
	s.T.Helper()
	cmd := exec.CommandContext(s.T.Context(), binary, "token", "issue", "--scopes", scopes, "--format", "json", "--user-id", user, "--ttl", ttl)
	cmd.Dir, cmd.Env = s.Dir, s.Environ()
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	require.NoError(s.T, err, errOut.String())
	var issued struct{ Token string }
	require.NoError(s.T, json.Unmarshal(out, &issued), string(out))
	require.NotEmpty(s.T, issued.Token)
	return issued.Token
}

// Caddyfile is the text of a config with the site on its port, an admin API on a unix
// socket and a short grace period. extra goes into the smithers block, more behind the
// site.
func (s *Site) Caddyfile(extra, more string) string {
	return fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	grace_period 10s
}
http://127.0.0.1:%d {
	smithers {
		db_path %s
		token_store %s
		module %s
		public_metrics on
		%s
	}
}
%s
`, s.AdminSocket(), s.Port, s.DB, s.Path("tokens.json"), s.Module, strings.ReplaceAll(extra, "\n", "\n\t\t"), more)
}

// AdminSocket is where a config of Caddyfile has its admin API.
func (s *Site) AdminSocket() string { return s.Path("admin.sock") }

// FreePort is a port that nobody listens on, below those that the system gives to
// outgoing connections: one of these could take it before the gateway does. No other
// test of this machine gets it until this one ends.
func FreePort(t *testing.T) int {
	t.Helper()
	for {
		port := 10_000 + rand.IntN(20_000) //nolint:gosec // no secret
		if !reserve(t, port) {
			continue
		}
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err == nil {
			require.NoError(t, ln.Close())
			return port
		}
		require.ErrorIs(t, err, syscall.EADDRINUSE)
	}
}

// reserve locks a file for a port. Packages are tested at the same time, each by a
// process of its own. The files stay: removing one would let two tests lock the same name.
func reserve(t *testing.T, port int) bool {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("smithers-test-ports-%d", os.Getuid()))
	require.NoError(t, os.MkdirAll(dir, 0o700))
	file, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o600)
	require.NoError(t, err)
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		require.ErrorIs(t, err, syscall.EWOULDBLOCK)
		return false
	}
	t.Cleanup(func() { _ = file.Close() })
	return true
}
