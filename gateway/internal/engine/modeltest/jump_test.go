package modeltest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/gomachine"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// speed is how much faster the time of these tests goes.
const speed = 200

// inTime is far from the day by which the clock is set, and long on a busy machine.
const inTime = 6 * time.Hour

// setClock is a fast clock that somebody can set, as NTP or an operator does.
type setClock struct {
	start  time.Time
	offset atomic.Int64
}

func (c *setClock) Elapsed() time.Duration { return speed * time.Since(c.start) }
func (c *setClock) Now() time.Time {
	return time.UnixMilli(1_795_000_000_000).Add(c.Elapsed() + time.Duration(c.offset.Load()))
}

func (c *setClock) AfterFunc(d time.Duration, f func()) engine.Timer {
	return time.AfterFunc(d/speed, f)
}
func (c *setClock) set(by time.Duration) { c.offset.Add(int64(by)) }

// jumpHouse runs one workflow on a clock that can be set, until it has the status
// begun, and returns what waits for its end and says how long that took, in the fast
// time.
func jumpHouse(t *testing.T, fn workflow.Func, begun, status string) (c *setClock, end func() time.Duration) {
	t.Helper()
	h := newHouse(t)
	c = &setClock{start: time.Now()}
	h.clock = c
	h.open()
	t.Cleanup(h.close)
	h.e.SetWorkflows([]engine.Definition{{Key: "w", Program: gomachine.New(fn)}})
	_, err := h.e.Launch(t.Context(), engine.Launch{Workflow: "w", RunID: "r"})
	require.NoError(t, err)
	reaches := func(status string) {
		t.Helper()
		require.Eventually(t, func() bool {
			var row *store.Run
			err := h.st.View(context.Background(), func(v *store.View) (err error) { row, err = v.Run("r"); return err })
			if err == nil && wire.RunTerminal(row.Status) && row.Status != status {
				t.Errorf("the run is %s: %s", row.Status, row.Error)
			}
			return err == nil && row.Status == status
		}, patience, time.Millisecond)
	}
	begin := c.Elapsed()
	reaches(begun)
	return c, func() time.Duration {
		t.Helper()
		reaches(status)
		return c.Elapsed() - begin
	}
}

func sleeper(d time.Duration) workflow.Func {
	return func(ctx workflow.Context) (any, error) { return nil, ctx.Sleep("nap", d) }
}

// busy is a task whose body takes as long as it is let, within its limit.
func busy(limit time.Duration, begun chan<- struct{}, over <-chan struct{}) workflow.Func {
	return func(ctx workflow.Context) (any, error) {
		return nil, ctx.Task("work", func(t workflow.Task) (any, error) {
			close(begun)
			select {
			case <-over:
				return nil, nil
			case <-t.Done():
				return nil, t.Err()
			}
		}, nil, workflow.Timeout(limit))
	}
}

func TestClockSetForwardMakesTimersDue(t *testing.T) {
	c, end := jumpHouse(t, sleeper(24*time.Hour), wire.RunWaitingTimer, wire.RunFinished)
	c.set(25 * time.Hour)
	require.Less(t, end(), inTime)
}

func TestClockSetBackAndForthLosesNoTimer(t *testing.T) {
	c, end := jumpHouse(t, sleeper(10*time.Minute), wire.RunWaitingTimer, wire.RunFinished)
	c.set(-24 * time.Hour)
	time.Sleep(15 * time.Minute / speed) // the timer's own time has passed, at the wrong hour
	c.set(24 * time.Hour)
	require.Less(t, end(), inTime)
}

func TestClockSetForwardCutsNoAttempt(t *testing.T) {
	begun, over := make(chan struct{}), make(chan struct{})
	c, end := jumpHouse(t, busy(2*time.Hour, begun, over), wire.RunRunning, wire.RunFinished)
	<-begun
	c.set(24 * time.Hour)
	time.Sleep(time.Minute / speed) // of the two hours that it may take
	close(over)
	end()
}

func TestClockSetBackLetsNoAttemptHang(t *testing.T) {
	begun := make(chan struct{})
	c, end := jumpHouse(t, busy(time.Minute, begun, nil), wire.RunRunning, wire.RunFailed)
	<-begun
	c.set(-24 * time.Hour)
	took := end()
	require.Greater(t, took, time.Minute)
	require.Less(t, took, inTime)
}
