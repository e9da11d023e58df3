package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// fakeTrees is a git whose work trees change with every program.
type fakeTrees struct {
	mu       sync.Mutex
	captures int
	fail     error
	// entered gets a token when a capture begins, if it is not nil; the capture then
	// waits for leave.
	entered, leave chan struct{}
}

func (f *fakeTrees) Find(dir string) string {
	if strings.HasPrefix(dir, "/repo") {
		return "/repo"
	}
	return ""
}

func (f *fakeTrees) Head(context.Context, string) (string, error) { return "head", nil }

func (f *fakeTrees) Capture(ctx context.Context, root, keep string) (string, error) {
	if len(keep) != 32 {
		return "", errors.New("odd name")
	}
	if f.entered != nil {
		select {
		case f.entered <- struct{}{}:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		select {
		case <-f.leave:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return "", f.fail
	}
	f.captures++
	return fmt.Sprintf("%s-%d", root, f.captures), nil
}

// programs is a workflow of one task that runs a program in dir, and may fail.
func programs(c *counter, dir string, fails int, options ...workflow.TaskOption) workflow.Func {
	return func(ctx wf) (any, error) {
		return nil, ctx.Task("make", func(t workflow.Task) (any, error) {
			workflow.BeforeProgram(t, dir)
			workflow.BeforeProgram(t, dir) // one more program of the same attempt
			c.hit("make")
			if t.Attempt() <= fails {
				return nil, errBoom
			}
			return nil, nil
		}, nil, options...)
	}
}

func treeHouse(t *testing.T, f *fakeTrees, w workflow.Func) *house {
	h := newHouse(t, define("main", w))
	h.opts.Trees = f
	return h.open()
}

func (h *house) trees() (trees []*store.AttemptTree) {
	h.t.Helper()
	require.NoError(h.t, h.st.View(bg, func(v *store.View) error {
		attempts, err := v.AttemptsOf("r")
		for _, a := range attempts {
			trees = append(trees, a.Tree)
		}
		return err
	}))
	return trees
}

func TestProgramsLeaveTreesBehind(t *testing.T) {
	c := newCounter()
	h := treeHouse(t, &fakeTrees{}, programs(c, "/repo/sub", 1, workflow.Retries(1, 0)))
	h.launch("main", "r", nil)
	h.finished("r")
	require.Equal(t, []*store.AttemptTree{{Root: "/repo", Before: "/repo-1", After: "/repo-2"}, {Root: "/repo", Before: "/repo-3", After: "/repo-4"}}, h.trees())
	tree := h.run("r").WorkTree
	require.Equal(t, &store.WorkTree{Root: "/repo", Keep: tree.Keep, Revision: "head", Base: "/repo-1"}, tree)
	require.NoError(t, h.st.Update(bg, func(tx *store.Tx) error { return tx.DeleteRun("r") }))
	require.NoError(t, h.st.View(bg, func(v *store.View) error {
		stale, err := v.StaleTrees(0, 10)
		require.Equal(t, []*store.StaleTree{{ID: 1, Root: "/repo", Keep: tree.Keep}}, stale)
		return err
	}))
}

func TestProgramsOutsideOfTreesCostNothing(t *testing.T) {
	c, f := newCounter(), &fakeTrees{}
	h := treeHouse(t, f, programs(c, "/tmp", 0))
	h.launch("main", "r", nil)
	h.finished("r")
	require.Zero(t, f.captures)
	require.Nil(t, h.run("r").WorkTree)
	require.Equal(t, []*store.AttemptTree{nil}, h.trees())
}

func TestFailingGitFailsNoTask(t *testing.T) {
	c := newCounter()
	h := treeHouse(t, &fakeTrees{fail: errors.New("git broke")}, programs(c, "/repo", 0))
	h.launch("main", "r", nil)
	h.finished("r")
	require.Equal(t, []*store.AttemptTree{{Root: "/repo", Error: "git broke"}}, h.trees())
	require.Nil(t, h.run("r").WorkTree)
}

// The time that git takes is not the attempt's.
func TestCapturesDoNotCountAgainstTimeouts(t *testing.T) {
	c, f := newCounter(), &fakeTrees{entered: make(chan struct{}), leave: make(chan struct{})}
	h := treeHouse(t, f, programs(c, "/repo", 0, workflow.Timeout(time.Second), workflow.HeartbeatTimeout(time.Second)))
	h.launch("main", "r", nil)
	for range 2 { // before and after
		<-f.entered
		h.clock.advance(10 * time.Second)
		f.leave <- struct{}{}
	}
	h.finished("r")
	require.Len(t, h.trees(), 1)
}

func TestTimeoutsStillHoldAfterCaptures(t *testing.T) {
	f := &fakeTrees{}
	h := treeHouse(t, f, func(ctx wf) (any, error) {
		return nil, ctx.Task("make", func(t workflow.Task) (any, error) {
			workflow.BeforeProgram(t, "/repo")
			<-t.Done()
			return nil, t.Err()
		}, nil, workflow.Timeout(time.Second))
	})
	h.launch("main", "r", nil)
	h.until("the state before is on record", func(v *store.View) bool {
		attempts, err := v.AttemptsOf("r")
		return err == nil && len(attempts) == 1 && attempts[0].Tree != nil
	})
	require.Eventually(t, func() bool {
		h.clock.advance(time.Second)
		return h.run("r").Status == wire.RunFailed
	}, time.Minute, time.Millisecond)
	require.Equal(t, []*store.AttemptTree{{Root: "/repo", Before: "/repo-1"}}, h.trees(), "nothing is captured of an attempt that was cut off")
	require.Contains(t, string(h.run("r").Error), "TASK_TIMEOUT")
}

// An attempt that is over when the process ends is not done again because its work
// tree is still being captured.
func TestDrainWhileCapturing(t *testing.T) {
	c, f := newCounter(), &fakeTrees{entered: make(chan struct{}), leave: make(chan struct{})}
	h := treeHouse(t, f, programs(c, "/repo", 0))
	h.launch("main", "r", nil)
	<-f.entered
	f.leave <- struct{}{}
	<-f.entered
	h.close()
	f.entered = nil
	h.open()
	h.finished("r")
	require.Equal(t, map[string]int{"make": 1}, c.snapshot())
	require.Equal(t, []*store.AttemptTree{{Root: "/repo", Before: "/repo-1", Error: "the work tree was not recorded: the gateway is shutting down"}}, h.trees())
}

func TestCancelWhileCapturing(t *testing.T) {
	for _, captures := range []int{0, 1} {
		c, f := newCounter(), &fakeTrees{entered: make(chan struct{}), leave: make(chan struct{})}
		h := treeHouse(t, f, programs(c, "/repo", 0))
		h.launch("main", "r", nil)
		for range captures {
			<-f.entered
			f.leave <- struct{}{}
		}
		<-f.entered
		_, err := h.e.Cancel(bg, "r", Actor{})
		require.NoError(t, err)
		require.Equal(t, wire.RunCancelled, h.run("r").Status)
		h.close()
	}
}

func TestCrashWhileCapturing(t *testing.T) {
	c, f := newCounter(), &fakeTrees{entered: make(chan struct{}), leave: make(chan struct{})}
	h := treeHouse(t, f, programs(c, "/repo", 0))
	h.launch("main", "r", nil)
	<-f.entered
	f.leave <- struct{}{}
	<-f.entered
	h.crash()
	f.entered = nil
	h.open()
	h.finished("r")
	require.Equal(t, map[string]int{"make": 2}, c.snapshot())
	require.Equal(t, []*store.AttemptTree{{Root: "/repo", Before: "/repo-1"}, {Root: "/repo", Before: "/repo-2", After: "/repo-3"}}, h.trees())
	require.Equal(t, "/repo-1", h.run("r").WorkTree.Base, "the base is that of the first attempt")
}
