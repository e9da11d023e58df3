//go:build unix

package exec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// task notes what an attempt says.
type task struct {
	context.Context
	mu   sync.Mutex
	said []string
	told chan struct{} // one token at least after each output
}

func newTask(ctx context.Context) *task { return &task{Context: ctx, told: make(chan struct{}, 1)} }

func (t *task) Attempt() int           { return 2 }
func (t *task) IdempotencyKey() string { return "key-1" }
func (t *task) Log(text string)        { t.Output("stdout", text) }
func (t *task) Heartbeat(any)          {}
func (t *task) Usage(workflow.Usage)   {}
func (t *task) Output(stream, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said = append(t.said, stream+": "+text)
	select {
	case t.told <- struct{}{}:
	default:
	}
}

func (t *task) of(stream string) (all string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.said {
		if text, ok := strings.CutPrefix(s, stream+": "); ok {
			all += text
		}
	}
	return all
}

func sh(script string) Input { return Input{Program: "sh", Args: []string{"-c", script}} }

func run(t *testing.T, w *Workflow, in Input) (Result, *task, error) {
	tk := newTask(t.Context())
	v, err := w.exec(tk, "run-1", in)
	r, _ := v.(Result)
	return r, tk, err
}

func TestOutputBecomesEvents(t *testing.T) {
	w := &Workflow{Allow: []string{"sh"}, Env: []string{"GREETING=hi"}}
	in := sh(`read x; echo "$x $GREETING $SMITHERS_RUN_ID $SMITHERS_ATTEMPT $SMITHERS_IDEMPOTENCY_KEY"; printf 'no line feed'; echo oops >&2; test -z "$HOME"`)
	in.Stdin = "given\n"
	r, tk, err := run(t, w, in)
	require.NoError(t, err)
	require.Equal(t, "given hi run-1 2 key-1\nno line feed", tk.of("stdout"))
	require.Equal(t, "oops\n", tk.of("stderr"))
	require.Equal(t, Result{Program: "sh", Stdout: "given hi run-1 2 key-1\nno line feed", Stderr: "oops\n"}, r)
}

func TestExitCodeFails(t *testing.T) {
	_, tk, err := run(t, &Workflow{}, sh(`echo before; echo first >&2; echo 'it broke' >&2; exit 3`))
	require.EqualError(t, err, "sh ended with exit status 3: it broke")
	require.False(t, workflow.IsPermanent(err))
	require.Equal(t, "before\n", tk.of("stdout"))
	_, _, err = run(t, &Workflow{}, Input{Program: "no-such-program-here"})
	require.True(t, workflow.IsPermanent(err))
}

func TestOutputIsBounded(t *testing.T) {
	r, tk, err := run(t, &Workflow{MaxStream: 10_000}, sh(`i=0; while [ $i -lt 5000 ]; do echo "line $i of many"; i=$((i+1)); done`))
	require.NoError(t, err)
	require.True(t, r.Truncated)
	require.LessOrEqual(t, len(tk.of("stdout")), 10_000)
	require.Contains(t, tk.of("stderr"), "not shown")
	require.Len(t, r.Stdout, keepOutput)
	require.True(t, strings.HasSuffix(r.Stdout, "line 4999 of many\n"))
}

func TestLongLinesAndOddBytes(t *testing.T) {
	o := &output{task: newTask(t.Context()), left: 1 << 20}
	p := &pipe{to: o, name: "stdout"}
	text := strings.Repeat("é", 10_000)
	for _, b := range []byte("x" + text) {
		_, err := p.Write([]byte{b})
		require.NoError(t, err)
	}
	_, err := p.Write([]byte("\xff\n"))
	require.NoError(t, err)
	p.end()
	said := o.task.(*task)
	require.Equal(t, "x"+text+"\uFFFD\n", said.of("stdout"))
	for _, s := range said.said {
		require.LessOrEqual(t, len(s), maxChunk+len("stdout: ")+2)
	}
}

func TestCancelEndsTheWholeFamily(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tk := newTask(ctx)
	mark := filepath.Join(t.TempDir(), "pid")
	done := make(chan error, 1)
	go func() {
		_, err := (&Workflow{}).exec(tk, "r", sh(fmt.Sprintf(`sleep 1000 & echo $! > %s; echo ready; wait`, mark)))
		done <- err
	}()
	<-tk.told
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	raw, err := os.ReadFile(mark)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(raw)) + "/stat")
		return err != nil || strings.Contains(string(state), ") Z ")
	}, time.Minute, 5*time.Millisecond, "the child outlives its parent")
}

func TestChecks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "in"), 0o755))
	require.NoError(t, os.Symlink("/", filepath.Join(dir, "out")))
	w := &Workflow{Allow: []string{"sh"}, Dir: dir}
	for want, in := range map[string]Input{
		"program is missing":                        {},
		`program "rm" is not allowed (allowed: sh)`: {Program: "rm"},
		"more than 1024 args":                       {Program: "sh", Args: make([]string, maxArgs+1)},
		"retries must be":                           {Program: "sh", Retries: -1},
		"timeoutMs must not":                        {Program: "sh", TimeoutMs: -1},
		"cwd must be a folder below":                {Program: "sh", Cwd: "../x"},
	} {
		require.ErrorContains(t, w.check(&in), want)
	}
	in := sh("pwd")
	in.Cwd = "in"
	require.NoError(t, w.check(&in))
	r, _, err := run(t, w, in)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(strings.TrimSpace(r.Stdout), "/in"))
	in.Cwd = "out/tmp"
	_, _, err = run(t, w, in)
	require.ErrorContains(t, err, "cwd leaves the folder")
	in.Cwd = "nowhere"
	_, _, err = run(t, w, in)
	require.True(t, workflow.IsPermanent(err))
}
