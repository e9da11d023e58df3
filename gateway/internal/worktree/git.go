package worktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Bounds of what is asked of git.
const (
	// CaptureTime bounds one capture, waiting for others of the same work tree included.
	CaptureTime = 15 * time.Second
	// rest is how long a work tree is left alone after a capture that took too long.
	rest = 5 * time.Minute
	// maxFiles and maxBytes bound what one capture has to read: files that git does not
	// know to be unchanged.
	maxFiles = 50_000
	maxBytes = 256 << 20
	// maxProcesses bounds the git processes that run at once.
	maxProcesses = 4
	// maxTrees bounds the work trees whose index is kept.
	maxTrees = 16
)

// ErrTooLarge says that a work tree has more changes than are captured.
var ErrTooLarge = errors.New("the work tree has too many changes to be recorded")

// Options of New; the zero value is usable.
type Options struct {
	Program string           // "": git, looked up in PATH at every call
	Now     func() time.Time // nil: time.Now
}

// Git captures and compares work trees. Make one with New, end it with Close. All
// methods are safe for concurrent use; captures of one work tree follow each other.
type Git struct {
	program   string
	now       func() time.Time
	processes chan struct{}

	mu    sync.Mutex
	dir   string // of the indexes; "" until the first one
	trees map[string]*tree
}

// New returns a Git that has started nothing.
func New(o Options) *Git {
	g := &Git{program: o.Program, now: o.Now, processes: make(chan struct{}, maxProcesses), trees: make(map[string]*tree)}
	if g.program == "" {
		g.program = "git"
	}
	if g.now == nil {
		g.now = time.Now
	}
	return g
}

// Close removes the indexes. No other call may be under way.
func (g *Git) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	dir := g.dir
	g.dir, g.trees = "", make(map[string]*tree)
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}

// command is one call of git.
type command struct {
	root  string // folder it runs in
	index string // of GIT_INDEX_FILE; "": git's own
	stdin io.Reader
	// stdout gets the output; nil: it is returned. An error of it stops git.
	stdout io.Writer
}

// maxAnswer bounds output that is returned.
const maxAnswer = 64 << 10

// run calls git. The error tells in its last line what git said.
func (g *Git) run(ctx context.Context, c command, args ...string) (string, error) {
	select {
	case g.processes <- struct{}{}:
		defer func() { <-g.processes }()
	case <-ctx.Done():
		return "", tookTooLong(ctx, args)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// What would start other programs, or what depends on the taste of the user.
	full := append([]string{"-C", c.root, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=" + os.DevNull,
		"-c", "core.quotePath=true"}, args...)
	cmd := exec.CommandContext(ctx, g.program, full...)
	cmd.Env = environment(c.index)
	cmd.WaitDelay = time.Second
	cmd.Stdin = c.stdin
	said := &limited{limit: maxAnswer, quiet: true}
	answer := &limited{limit: maxAnswer}
	cmd.Stderr, cmd.Stdout = said, answer
	var refused *refusing
	if c.stdout != nil {
		refused = &refusing{to: c.stdout, stop: stop}
		cmd.Stdout = refused
	}
	err := cmd.Run()
	switch {
	case refused != nil && refused.err != nil:
		return "", refused.err
	case err == nil:
		return strings.TrimSuffix(answer.String(), "\n"), nil
	case ctx.Err() != nil:
		return "", tookTooLong(ctx, args)
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return "", errors.New("git is not installed: there is no program of that name in the PATH of the gateway")
	}
	return "", fmt.Errorf("git %s: %s", verb(args), reason(said.String(), err))
}

func tookTooLong(ctx context.Context, args []string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("git %s took too long: %w", verb(args), ctx.Err())
	}
	return fmt.Errorf("git %s was stopped: %w", verb(args), ctx.Err())
}

// verb is git's subcommand among its arguments.
func verb(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

// reason is the last thing that git said, without its label.
func reason(said string, err error) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	for _, line := range lines { // the first fatal line says more than advice behind it
		if text, ok := strings.CutPrefix(line, "fatal: "); ok {
			return short(text)
		}
	}
	last := strings.TrimPrefix(strings.TrimSpace(lines[len(lines)-1]), "error: ")
	if last == "" {
		return err.Error()
	}
	return short(last)
}

func short(text string) string {
	const most = 400
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// environment is that of the process without what would point git elsewhere.
func environment(index string) []string {
	env := make([]string, 0, len(os.Environ())+4)
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "GIT_") && !strings.HasPrefix(name, "GIT_CONFIG") {
			continue
		}
		env = append(env, v)
	}
	// A partial clone would fetch what it lacks, by programs that its configuration names.
	env = append(env, "GIT_ALLOW_PROTOCOL=none", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_LITERAL_PATHSPECS=1", "LC_ALL=C")
	if index != "" {
		env = append(env, "GIT_INDEX_FILE="+index)
	}
	return env
}

// limited keeps the beginning of what is written to it. Beyond its limit it refuses,
// unless it is quiet.
type limited struct {
	bytes.Buffer
	limit int
	quiet bool
}

func (l *limited) Write(b []byte) (int, error) {
	room := l.limit - l.Len()
	if room >= len(b) {
		return l.Buffer.Write(b)
	}
	if !l.quiet {
		return 0, errors.New("git answered more than was expected")
	}
	if room > 0 {
		l.Buffer.Write(b[:room])
	}
	return len(b), nil
}

// refusing remembers that its writer refused and stops git, which may not notice.
type refusing struct {
	to   io.Writer
	stop context.CancelFunc
	err  error
}

func (r *refusing) Write(b []byte) (int, error) {
	n, err := r.to.Write(b)
	if err != nil {
		r.err = err
		r.stop()
	}
	return n, err
}
