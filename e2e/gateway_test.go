package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

const (
	patience  = rig.Patience // for what must happen soon, on a busy machine too
	poll      = 20 * time.Millisecond
	allScopes = "run:read,run:write,approval:submit,signal:submit"
)

// site is a folder with what one gateway needs: module, database, tokens. It
// outlives the processes that serve it.
type site struct {
	t      *testing.T
	dir    string
	module string
	port   int
	env    []string
}

// newSite makes a folder with the module of testdata.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), port: rig.FreePort(t)}
	text, err := os.ReadFile(filepath.Join("testdata", "gateway.mjs"))
	require.NoError(t, err)
	s.module = s.write("workspace/gateway.mjs", string(text))
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func (s *site) write(name, text string) string {
	s.t.Helper()
	path := s.path(name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func (s *site) environ() []string {
	own := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + s.dir,
		"PORT=" + strconv.Itoa(s.port),
		"SMITHERS_DB_PATH=" + s.path("smithers.db"),
		"SMITHERS_TOKEN_STORE=" + s.path("tokens.json"),
		"SMITHERS_GATEWAY_MODULE=" + s.module,
	}
	return append(own, s.env...)
}

// command prepares a call of the binary with the site's environment.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), binary, args...)
	cmd.Dir = s.dir
	cmd.Env = s.environ()
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// cli runs a subcommand to its end and returns what it printed.
func (s *site) cli(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := s.command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%v: %v\n%s%s", args, err, out.String(), errOut.String())
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// issue makes a token with the binary's own command.
func (s *site) issue(scopes string, more ...string) string {
	s.t.Helper()
	args := append([]string{"token", "issue", "--scopes", scopes, "--format", "json"}, more...)
	out, errOut, code := s.cli(args...)
	require.Zero(s.t, code, out+errOut)
	var issued struct{ Token string }
	require.NoError(s.t, json.Unmarshal([]byte(out), &issued), out)
	require.NotEmpty(s.t, issued.Token, out)
	return issued.Token
}

// process is one running gateway.
type process struct {
	*client.Client
	t    *testing.T
	site *site
	cmd  *exec.Cmd
	log  *buffer
	done chan struct{}
	err  error // valid after done is closed
}

// start runs `serve` and waits until it is ready. The process is killed when the
// test ends; a failing test prints its log.
func (s *site) start(args ...string) *process {
	s.t.Helper()
	p := s.launch(args...)
	p.ready()
	return p
}

// launch starts without waiting.
func (s *site) launch(args ...string) *process {
	s.t.Helper()
	if len(args) == 0 {
		args = []string{"serve"}
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = s.dir
	cmd.Env = s.environ()
	p := &process{
		t: s.t, site: s, cmd: cmd, log: &buffer{}, done: make(chan struct{}),
		Client: &client.Client{Base: "http://127.0.0.1:" + strconv.Itoa(s.port), HTTP: rig.Steady()},
	}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.WaitDelay = 5 * time.Second
	require.NoError(s.t, cmd.Start())
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	s.t.Cleanup(func() {
		p.kill()
		p.HTTP.CloseIdleConnections()
		if s.t.Failed() {
			s.t.Logf("the last of the log of %s %s:\n%s", filepath.Base(binary), strings.Join(args, " "), p.log.tail())
		}
	})
	return p
}

func (p *process) ready() {
	p.t.Helper()
	p.wait("a healthy gateway", func() bool {
		select {
		case <-p.done:
			p.t.Fatalf("the gateway ended before it was ready: %v", p.err)
		default:
		}
		status, _, err := p.Get(p.t.Context(), "/health")
		return err == nil && status == http.StatusOK
	})
}

// wait polls until a condition holds.
func (p *process) wait(what string, ok func() bool) {
	p.t.Helper()
	waitFor(p.t, what, ok)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		if ok() {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
	}
}

// as returns a copy of the process that calls with another token.
func (p *process) as(token string) *process {
	q := *p
	c := *p.Client
	c.Token = token
	q.Client = &c
	return &q
}

// kill ends the process as a power cut does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate sends SIGTERM and returns how long the process took to end.
func (p *process) terminate() time.Duration {
	p.t.Helper()
	begin := time.Now()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("still running %s after SIGTERM", patience)
	}
	return time.Since(begin)
}

// exits waits for the process to end by itself and returns its status.
func (p *process) exits() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("still running after %s", patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// launchRun starts a run and returns its id.
func (p *process) launchRun(workflow string, input any) string {
	p.t.Helper()
	id, err := p.Launch(p.t.Context(), workflow, input)
	require.NoError(p.t, err)
	return id
}

// status waits for a run to have a status.
func (p *process) status(runID, want string) *client.Run {
	p.t.Helper()
	var run *client.Run
	var got string
	defer func() {
		if p.t.Failed() {
			p.t.Logf("run %s: last seen %s", runID, got)
		}
	}()
	p.wait("run "+runID+" to be "+want, func() bool {
		r, err := p.Run(p.t.Context(), runID)
		if err != nil {
			got = err.Error()
			return false
		}
		got = r.Status
		if r.Ended() && r.Status != want {
			reason := ""
			if r.ErrorJSON != nil {
				reason = *r.ErrorJSON
			}
			p.t.Fatalf("run %s is %s, not %s: %s", runID, r.Status, want, reason)
		}
		run = r
		return r.Status == want
	})
	return run
}

func (p *process) dial() *client.Socket {
	p.t.Helper()
	s, err := p.Dial(p.t.Context(), client.DialOptions{})
	for rig.Lost(err) { // as rig.Steady
		s, err = p.Dial(p.t.Context(), client.DialOptions{})
	}
	require.NoError(p.t, err)
	p.t.Cleanup(s.Cut)
	return s
}

func (p *process) decide(runID, node string, approved bool) error {
	return p.Call(p.t.Context(), "submitApproval", map[string]any{"runId": runID, "nodeId": node, "approved": approved}, nil)
}

// history reads all events of a run, up to the number current when it is called.
func (p *process) history(runID string) []*client.RunEvent {
	p.t.Helper()
	events, gap := p.after(runID, 0)
	require.Nil(p.t, gap)
	return events
}

// after reads what a stream with this cursor delivers until it has caught up, and
// holds that the numbers have no hole. They begin at after+1, or behind the gap.
func (p *process) after(runID string, after int64) ([]*client.RunEvent, *client.Gap) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	s := p.dial()
	defer s.Cut()
	opened, err := s.Stream(ctx, runID, &after)
	require.NoError(p.t, err)
	var events []*client.RunEvent
	var gap *client.Gap
	next := after + 1
	if next > opened.CurrentSeq {
		return nil, nil
	}
	err = s.Follow(ctx, opened.StreamID, func(i client.Item) bool {
		switch {
		case i.Error != nil:
			p.t.Errorf("stream of %s: %v", runID, i.Error)
			return false
		case i.Gap != nil:
			gap = i.Gap
			if gap.FromSeq != next || len(events) > 0 {
				p.t.Errorf("gap from %d, after %d", gap.FromSeq, next-1)
			}
			next = gap.ToSeq + 1
		default:
			if i.Event.Seq != next {
				p.t.Errorf("event %d came after %d", i.Event.Seq, next-1)
			}
			next = i.Event.Seq + 1
			events = append(events, i.Event)
		}
		return next <= opened.CurrentSeq
	})
	require.NoError(p.t, err)
	return events, gap
}

// upTo reads the events of a run from the first to the one with this number.
func (p *process) upTo(runID string, last int64) []*client.RunEvent {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	s := p.dial()
	defer s.Cut()
	opened, err := s.Stream(ctx, runID, new(int64))
	require.NoError(p.t, err)
	var events []*client.RunEvent
	err = s.Follow(ctx, opened.StreamID, func(i client.Item) bool {
		if i.Event == nil {
			p.t.Errorf("stream of %s: %+v", runID, i)
			return false
		}
		events = append(events, i.Event)
		return i.Event.Seq < last
	})
	require.NoError(p.t, err)
	return events
}

// names lists what happened, without the numbers.
func names(events []*client.RunEvent) []string {
	list := make([]string, len(events))
	for i, e := range events {
		var node struct{ NodeID string }
		_ = json.Unmarshal(e.Payload, &node)
		list[i] = strings.TrimSpace(e.Event + " " + node.NodeID)
	}
	return list
}

// buffer is a log that is written by a process and read by a test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// tail is the log without its lines for each answered request, the last of it.
func (b *buffer) tail() string {
	var kept []string
	for line := range strings.Lines(b.String()) {
		if !strings.Contains(line, `"http.log.access"`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-50):], "")
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
