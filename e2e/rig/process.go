package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// Times that tests use.
const (
	Patience = 2 * time.Minute // for what must happen soon, on a busy machine too
	Poll     = 20 * time.Millisecond
)

// Process is one running gateway.
type Process struct {
	*client.Client
	T    *testing.T
	Site *Site
	Cmd  *exec.Cmd
	Log  *Buffer
	Done chan struct{}
}

// Start runs `serve`, or the command given, and waits until it is ready. The process
// is killed when the test ends; a failing test prints its log.
func (s *Site) Start(args ...string) *Process {
	s.T.Helper()
	p := s.Launch(args...)
	p.Ready()
	return p
}

// Launch starts without waiting.
func (s *Site) Launch(args ...string) *Process {
	s.T.Helper()
	if len(args) == 0 {
		args = []string{"serve"}
	}
	line := append(append([]string{}, s.Wrap...), binary)
	line = append(line, args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir, cmd.Env = s.Dir, s.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a tracer dies with what it traces
	p := &Process{
		T: s.T, Site: s, Cmd: cmd, Log: &Buffer{}, Done: make(chan struct{}), Client: s.Client(""),
	}
	cmd.Stdout, cmd.Stderr = p.Log, p.Log
	cmd.WaitDelay = 5 * time.Second
	start := s.Exec
	if start == nil {
		start = (*exec.Cmd).Start
	}
	require.NoError(s.T, start(cmd))
	go func() {
		_ = cmd.Wait()
		close(p.Done)
	}()
	s.T.Cleanup(func() {
		p.Kill()
		p.HTTP.CloseIdleConnections()
		if s.T.Failed() {
			s.T.Logf("log of %s:\n%s", strings.Join(args, " "), p.Log.Tail(4_000))
		}
	})
	return p
}

// Client makes a client of the site with connections of its own.
func (s *Site) Client(token string) *client.Client {
	return &client.Client{
		Base: "http://127.0.0.1:" + strconv.Itoa(s.Port), Token: token,
		HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
}

// As returns a copy of the process that calls with another token.
func (p *Process) As(token string) *Process {
	q, c := *p, *p.Client
	c.Token, q.Client = token, &c
	return &q
}

// Ready waits until the gateway can do its work.
func (p *Process) Ready() {
	p.T.Helper()
	p.Wait("a ready gateway", func() bool {
		select {
		case <-p.Done:
			p.T.Fatalf("the gateway ended before it was ready: %v", p.Cmd.ProcessState)
		default:
		}
		return p.Probe("/health/ready") == http.StatusOK
	})
}

// Probe is the status of a GET, 0 without an answer.
func (p *Process) Probe(path string) int {
	ctx, cancel := context.WithTimeout(p.T.Context(), 10*time.Second)
	defer cancel()
	status, _, err := p.Get(ctx, path)
	if err != nil {
		return 0
	}
	return status
}

// Accepts waits until the token counts.
func (p *Process) Accepts() *Process {
	p.T.Helper()
	p.Wait("the token to count", func() bool { return p.Call(p.T.Context(), "listRuns", nil, nil) == nil })
	return p
}

// Wait polls until a condition holds.
func (p *Process) Wait(what string, ok func() bool) {
	p.T.Helper()
	Wait(p.T, what, ok)
}

// Wait polls until a condition holds, or ends the test.
func Wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(Poll)
	defer tick.Stop()
	for deadline := time.After(Patience); ; {
		if ok() {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s in vain for %s", Patience, what)
		}
	}
}

// Kill ends the process as a power cut does, with what wraps it.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
	<-p.Done
}

// Terminate sends SIGTERM and returns how long the process took to end.
func (p *Process) Terminate() time.Duration {
	p.T.Helper()
	begin := time.Now()
	require.NoError(p.T, p.Cmd.Process.Signal(syscall.SIGTERM))
	p.Exits()
	return time.Since(begin)
}

// Exits waits for the process to end by itself and returns its status.
func (p *Process) Exits() int {
	p.T.Helper()
	select {
	case <-p.Done:
	case <-time.After(Patience):
		p.T.Fatalf("still running after %s", Patience)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Status waits for a run to have a status.
func (p *Process) Status(runID, want string) *client.Run {
	p.T.Helper()
	var run *client.Run
	var got string
	defer func() {
		if p.T.Failed() {
			p.T.Logf("run %s: last seen %s", runID, got)
		}
	}()
	p.Wait("run "+runID+" to be "+want, func() bool {
		r, err := p.Run(p.T.Context(), runID)
		if err != nil {
			got = err.Error()
			return false
		}
		got, run = r.Status, r
		if r.Ended() && r.Status != want {
			p.T.Fatalf("run %s is %s, not %s: %s", runID, r.Status, want, Text(r.ErrorJSON))
		}
		return r.Status == want
	})
	return run
}

// Text is what p points to.
func Text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// LaunchRun starts a run under an id.
func (p *Process) LaunchRun(workflow, id string, input any) {
	p.T.Helper()
	require.NoError(p.T, p.Call(p.T.Context(), "launchRun", map[string]any{"workflow": workflow, "runId": id, "input": input}, nil))
}

// Dial opens a socket that ends with the test.
func (p *Process) Dial() *client.Socket {
	p.T.Helper()
	s, err := p.Client.Dial(p.T.Context(), client.DialOptions{})
	for try := 1; Lost(err) && try < steadyTries; try++ {
		s, err = p.Client.Dial(p.T.Context(), client.DialOptions{})
	}
	require.NoError(p.T, err)
	p.T.Cleanup(s.Cut)
	return s
}

// Load gives the process a Caddyfile over its admin API, as `reload` does.
func (p *Process) Load(caddyfile string) error {
	_, err := p.Admin(http.MethodPost, "/load", caddyfile)
	return err
}

// Admin calls the admin API of a config made by Site.Caddyfile.
func (p *Process) Admin(method, path, body string) (string, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.Site.AdminSocket())
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(p.T.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	resp, err := (&http.Client{Transport: steady{transport}}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return string(answer), err
}

// Errors are the lines of the log at level error, which a healthy life has none of.
// The access log does not count: it also has the answers of a gateway that starts.
func (p *Process) Errors() []string {
	var bad []string
	for line := range strings.Lines(p.Log.String()) {
		var entry struct{ Level, Logger string }
		if json.Unmarshal([]byte(line), &entry) == nil && !strings.HasPrefix(entry.Logger, "http.log.access") && (entry.Level == "error" || entry.Level == "panic" || entry.Level == "fatal") ||
			strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	return bad
}

// Buffer is a log that is written by a process and read by a test.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Tail is the end of the log, at most n bytes, without the access log.
func (b *Buffer) Tail(n int) string {
	var kept strings.Builder
	for line := range strings.Lines(b.String()) {
		if !strings.Contains(line, `"http.log.access"`) {
			kept.WriteString(line)
		}
	}
	s := kept.String()
	return s[max(0, len(s)-n):]
}
