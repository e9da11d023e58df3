// Package exec is a workflow that runs one program: durable, cancellable, with its
// output as events of the run. Which programs it may run is the operator's choice
// alone; callers choose among them and give arguments.
//
// The input is
//
//	{"program": "make", "args": ["test"], "cwd": "sub/folder", "stdin": "…",
//	 "timeoutMs": 60000, "retries": 1}
//
// and the result of the node "exec" {"program", "exitCode", "stdout", "stderr",
// "truncated"}, with the ends of both streams. Another exit code than 0 fails the
// attempt. After a crash of the gateway the program is run again, as a new attempt:
// it can tell by SMITHERS_ATTEMPT and SMITHERS_IDEMPOTENCY_KEY in its environment.
package exec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// Bounds of a call.
const (
	maxArgs       = 1_024
	maxRetries    = 100
	retryPause    = time.Second
	keepOutput    = 64 << 10 // of each stream, in the result
	stopPatience  = 5 * time.Second
	defaultTime   = 10 * time.Minute
	defaultStream = 16 << 20
)

// Workflow runs programs. Make it once and use it for any number of runs.
type Workflow struct {
	// Allow names the programs that may run, as they are looked up in PATH or by an
	// absolute path. Nothing else runs.
	Allow []string
	// Dir is the folder they run in, and which cwd may not leave. "": that of the process.
	Dir string
	// Env is their environment, as NAME=value, besides PATH and what names the attempt.
	Env []string
	// Timeout bounds an attempt, and what callers may ask for; 0: ten minutes.
	Timeout time.Duration
	// MaxStream bounds the bytes of output that become events of one attempt; 0: 16 MiB.
	MaxStream int64
}

// Input is what a caller gives.
type Input struct {
	Program   string   `json:"program"`
	Args      []string `json:"args"`
	Cwd       string   `json:"cwd"`
	Stdin     string   `json:"stdin"`
	TimeoutMs int64    `json:"timeoutMs"`
	Retries   int      `json:"retries"`
}

// Result is what a program left.
type Result struct {
	Program   string `json:"program"`
	ExitCode  int    `json:"exitCode"`
	Stdout    string `json:"stdout"` // its end
	Stderr    string `json:"stderr"`
	Truncated bool   `json:"truncated,omitempty"` // output is missing from the events or above
}

// Describe implements workflow.Described.
func (w *Workflow) Describe() (readableName, description string) {
	return "Run a program", "Runs one of: " + strings.Join(w.Allow, ", ")
}

// Run implements workflow.Workflow.
func (w *Workflow) Run(ctx workflow.Context) (any, error) {
	var in Input
	if err := ctx.Bind(&in); err != nil {
		return nil, err
	}
	if err := w.check(&in); err != nil {
		return nil, err
	}
	timeout := w.timeout()
	if in.TimeoutMs > 0 {
		timeout = min(timeout, time.Duration(in.TimeoutMs)*time.Millisecond)
	}
	runID := ctx.Info().RunID
	var result Result
	err := ctx.Task("exec", func(t workflow.Task) (any, error) { return w.exec(t, runID, in) }, &result,
		workflow.Label(in.Program), workflow.Retries(in.Retries, retryPause), workflow.Timeout(timeout))
	return result, err
}

func (w *Workflow) timeout() time.Duration {
	if w.Timeout > 0 {
		return w.Timeout
	}
	return defaultTime
}

// check refuses what no attempt could do.
func (w *Workflow) check(in *Input) error {
	switch {
	case in.Program == "":
		return errors.New("input: program is missing")
	case !slices.Contains(w.Allow, in.Program):
		return fmt.Errorf("program %q is not allowed (allowed: %s)", in.Program, strings.Join(w.Allow, ", "))
	case len(in.Args) > maxArgs:
		return fmt.Errorf("input: more than %d args", maxArgs)
	case in.Retries < 0 || in.Retries > maxRetries:
		return fmt.Errorf("input: retries must be between 0 and %d", maxRetries)
	case in.TimeoutMs < 0:
		return errors.New("input: timeoutMs must not be negative")
	case in.Cwd != "" && !filepath.IsLocal(in.Cwd):
		return errors.New("input: cwd must be a folder below that of the workflow")
	}
	return nil
}

// exec is one attempt.
func (w *Workflow) exec(t workflow.Task, runID string, in Input) (any, error) {
	dir, err := w.folder(in.Cwd)
	if err != nil {
		return nil, workflow.Permanent(err)
	}
	limit := w.MaxStream
	if limit <= 0 {
		limit = defaultStream
	}
	out := &output{task: t, left: limit}
	stdout, stderr := &pipe{to: out, name: "stdout"}, &pipe{to: out, name: "stderr"}
	workflow.BeforeProgram(t, dir)
	cmd := osexec.CommandContext(t, in.Program, in.Args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, w.Env...)
	cmd.Env = append(cmd.Env, "SMITHERS_RUN_ID="+runID, "SMITHERS_ATTEMPT="+strconv.Itoa(t.Attempt()),
		"SMITHERS_IDEMPOTENCY_KEY="+t.IdempotencyKey())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in.Stdin), stdout, stderr
	cmd.WaitDelay = stopPatience
	family(cmd)
	err = cmd.Run()
	if t.Err() != nil || errors.Is(err, osexec.ErrWaitDelay) {
		endFamily(cmd)
	}
	stdout.end()
	stderr.end()
	result := Result{Program: in.Program, Stdout: stdout.tail(), Stderr: stderr.tail(),
		Truncated: out.cut() || stdout.lost || stderr.lost}
	exit, exited := errors.AsType[*osexec.ExitError](err)
	switch {
	case t.Err() != nil:
		return nil, fmt.Errorf("%s was stopped: %w", in.Program, t.Err())
	case exited:
		result.ExitCode = exit.ExitCode()
		return nil, fmt.Errorf("%s ended with %s%s", in.Program, exit.ProcessState, lastLine(result.Stderr))
	case errors.Is(err, osexec.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, workflow.Permanent(fmt.Errorf("%s cannot be started: %w", in.Program, err))
	case err != nil && !errors.Is(err, osexec.ErrWaitDelay): // a child of it kept the output open
		return nil, fmt.Errorf("%s: %w", in.Program, err)
	}
	return result, nil
}

// folder resolves cwd, symlinks included.
func (w *Workflow) folder(cwd string) (string, error) {
	if cwd == "" {
		return w.Dir, nil
	}
	base := w.Dir
	if base == "" {
		base = "."
	}
	root, err := filepath.EvalSymlinks(base)
	if err != nil {
		return "", fmt.Errorf("the folder of the workflow: %w", err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(root, cwd))
	if err != nil {
		return "", fmt.Errorf("cwd: %w", err)
	}
	if rel, err := filepath.Rel(root, dir); err != nil || !filepath.IsLocal(rel) {
		return "", errors.New("cwd leaves the folder of the workflow")
	}
	return dir, nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return ": " + last[:min(len(last), 500)]
	}
	return ""
}

var (
	_ workflow.Workflow  = (*Workflow)(nil)
	_ workflow.Described = (*Workflow)(nil)
)
