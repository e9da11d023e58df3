package jsmod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
)

// maxExecOutput bounds what exec keeps of each output stream.
const maxExecOutput = 8 << 20

type execRequest struct {
	Program   string            `json:"program"`
	Args      []string          `json:"args"`
	Input     *string           `json:"input"`
	Cwd       string            `json:"cwd"`
	Env       map[string]string `json:"env"`
	TimeoutMs int64             `json:"timeoutMs"`
	Stream    bool              `json:"stream"`
}

type execResult struct {
	ExitCode int    `json:"exitCode"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

func (h *Host) mayExec(name string) bool { return slices.Contains(h.options.Exec, name) }

// exec runs one program the operator allowed. A program that exits with another
// code than 0 is a result, one that cannot be started or takes too long is an error.
func (m *machine) exec(ctx context.Context, by attemptID, request []byte) (any, error) {
	h := m.module.host
	var r execRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	if !h.mayExec(r.Program) {
		allowed := "none is"
		if len(h.options.Exec) > 0 {
			allowed = strings.Join(h.options.Exec, ", ")
		}
		return nil, &program.Failure{Name: "Error", Code: "EXEC_NOT_ALLOWED", NoRetry: true, Message: fmt.Sprintf(
			"exec: program %q is not in the gateway's exec list (allowed: %s)", r.Program, allowed)}
	}
	dir := r.Cwd
	if dir == "" {
		dir = filepath.Dir(m.module.Path)
	}
	if m.env.BeforeProgram != nil {
		m.env.BeforeProgram(ctx, int64(by.ref), by.number, dir)
	}
	run := ctx
	if r.TimeoutMs > 0 {
		var cancel context.CancelFunc
		run, cancel = context.WithTimeout(ctx, time.Duration(r.TimeoutMs)*time.Millisecond)
		defer cancel()
	}
	cmd := exec.CommandContext(run, r.Program, r.Args...)
	cmd.WaitDelay = time.Second
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if parent := tracing.Traceparent(ctx); parent != "" {
		cmd.Env = append(cmd.Env, "TRACEPARENT="+parent) // what stands behind it counts more
	}
	for k, v := range h.options.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	for k, v := range r.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	if r.Input != nil {
		cmd.Stdin = strings.NewReader(*r.Input)
	}
	stdout := &capture{stream: "stdout", by: by}
	stderr := &capture{stream: "stderr", by: by}
	if r.Stream {
		post := func(event any) { m.postOutput(run, event) }
		stdout.post, stderr.post = post, post
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case run.Err() != nil:
		return nil, &program.Failure{Name: "TimeoutError", Code: "EXEC_TIMEOUT", Message: fmt.Sprintf("exec: %s took longer than %d ms", r.Program, r.TimeoutMs)}
	case errors.As(err, &exit):
	case err != nil:
		return nil, &program.Failure{Name: "Error", Code: "EXEC_FAILED", Message: fmt.Sprintf("exec: %s: %v", r.Program, err)}
	}
	return execResult{ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}, nil
}

// postOutput posts a chunk of a program's output once the engine has room for it, so
// that the program is held back by its pipe.
func (m *machine) postOutput(ctx context.Context, event any) {
	if m.env.WaitCommits != nil {
		m.env.WaitCommits(ctx)
	}
	select {
	case m.streamed <- struct{}{}:
		m.env.Post(event)
	case <-ctx.Done():
	}
}

// capture keeps an output stream, up to a bound, and posts it on when it is streamed.
type capture struct {
	buffer bytes.Buffer
	stream string
	by     attemptID
	post   func(event any)
}

func (c *capture) Write(b []byte) (int, error) {
	if room := maxExecOutput - c.buffer.Len(); room > 0 {
		c.buffer.Write(b[:min(room, len(b))])
	}
	if c.post != nil {
		c.post(programOutput{ref: c.by.ref, number: c.by.number, stream: c.stream, text: strings.ToValidUTF8(string(b), "\uFFFD")})
	}
	return len(b), nil
}

func (c *capture) String() string { return strings.ToValidUTF8(c.buffer.String(), "\uFFFD") }
