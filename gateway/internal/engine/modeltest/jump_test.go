package modeltest

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// noticed is how soon a clock that was set makes due what is due by it.
const noticed = 15 * time.Second

// setClock is a clock in fake time that somebody can set, as NTP or an operator does.
type setClock struct {
	bubble
	offset atomic.Int64
}

func (c *setClock) Now() time.Time       { return c.bubble.Now().Add(time.Duration(c.offset.Load())) }
func (c *setClock) set(by time.Duration) { c.offset.Add(int64(by)) }

// onSetClock runs one workflow in fake time on a clock that can be set.
func onSetClock(t *testing.T, fn workflow.Func, test func(t *testing.T, h *house, c *setClock)) {
	synctest.Test(t, func(t *testing.T) {
		c := &setClock{bubble: bubble{time.Now()}}
		onClock(t, c, fn, func(t *testing.T, h *house) { test(t, h, c) })
	})
}

func sleeper(d time.Duration) workflow.Func {
	return func(ctx workflow.Context) (any, error) { return nil, ctx.Sleep("nap", d) }
}

// lasting is a task whose body takes some time, unless it is cut at its limit.
func lasting(d, limit time.Duration) workflow.Func {
	return func(ctx workflow.Context) (any, error) {
		return nil, ctx.Task("work", func(t workflow.Task) (any, error) {
			select {
			case <-time.After(d):
				return nil, nil
			case <-t.Done():
				return nil, t.Err()
			}
		}, nil, workflow.Timeout(limit))
	}
}

func TestClockSetForwardMakesTimersDue(t *testing.T) {
	onSetClock(t, sleeper(24*time.Hour), func(t *testing.T, h *house, c *setClock) {
		require.Equal(t, wire.RunWaitingTimer, h.row().Status)
		c.set(25 * time.Hour)
		time.Sleep(noticed)
		require.Equal(t, wire.RunFinished, h.row().Status)
	})
}

func TestClockSetBackAndForthLosesNoTimer(t *testing.T) {
	onSetClock(t, sleeper(10*time.Minute), func(t *testing.T, h *house, c *setClock) {
		c.set(-24 * time.Hour)
		time.Sleep(15 * time.Minute) // the timer's own time passes, at the wrong hour
		require.Equal(t, wire.RunWaitingTimer, h.row().Status)
		c.set(24 * time.Hour)
		time.Sleep(noticed)
		require.Equal(t, wire.RunFinished, h.row().Status)
	})
}

func TestClockSetForwardCutsNoAttempt(t *testing.T) {
	onSetClock(t, lasting(time.Hour, 2*time.Hour), func(t *testing.T, h *house, c *setClock) {
		c.set(24 * time.Hour)
		time.Sleep(time.Hour - time.Millisecond)
		require.Equal(t, wire.RunRunning, h.row().Status)
		time.Sleep(time.Millisecond)
		require.Equal(t, wire.RunFinished, h.row().Status)
	})
}

func TestClockSetBackLetsNoAttemptHang(t *testing.T) {
	onSetClock(t, lasting(time.Hour, time.Minute), func(t *testing.T, h *house, c *setClock) {
		c.set(-24 * time.Hour)
		time.Sleep(time.Minute - time.Millisecond)
		require.Equal(t, wire.RunRunning, h.row().Status)
		time.Sleep(time.Millisecond)
		require.Equal(t, wire.RunFailed, h.row().Status)
	})
}
