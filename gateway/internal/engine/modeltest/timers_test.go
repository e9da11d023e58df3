package modeltest

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/gomachine"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// inBubble runs one workflow under the id r in fake time.
func inBubble(t *testing.T, fn workflow.Func, test func(t *testing.T, h *house)) {
	synctest.Test(t, func(t *testing.T) { onClock(t, bubble{time.Now()}, fn, test) })
}

// onClock is the same, in a bubble, on a clock.
func onClock(t *testing.T, c engine.Clock, fn workflow.Func, test func(t *testing.T, h *house)) {
	h := newHouse(t)
	h.clock = c
	h.open()
	defer h.close()
	h.e.SetWorkflows([]engine.Definition{{Key: "w", Program: gomachine.New(fn)}})
	_, err := h.e.Launch(t.Context(), engine.Launch{Workflow: "w", RunID: "r"})
	require.NoError(t, err)
	synctest.Wait()
	test(t, h)
}

func (h *house) row() (row *store.Run) {
	h.t.Helper()
	synctest.Wait()
	h.must(h.st.View(context.Background(), func(v *store.View) (err error) { row, err = v.Run("r"); return err }))
	return row
}

// working is a task whose body takes its time and fails.
func working(d time.Duration, options ...workflow.TaskOption) workflow.Func {
	return func(ctx workflow.Context) (any, error) {
		return nil, ctx.Task("work", func(workflow.Task) (any, error) {
			time.Sleep(d)
			return nil, errPlanned
		}, nil, options...)
	}
}

func TestWaitingRunLeavesMemoryAfterAMoment(t *testing.T) {
	inBubble(t, func(ctx workflow.Context) (any, error) { return nil, ctx.Signal("go", nil) }, func(t *testing.T, h *house) {
		require.Equal(t, wire.RunWaitingEvent, h.row().Status)
		time.Sleep(time.Second - time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 1, h.e.Stats().Live)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Zero(t, h.e.Stats().Live)
		require.Zero(t, h.e.Stats().Slots)
	})
}

func TestWorkingRunShowsThatItLives(t *testing.T) {
	inBubble(t, working(time.Minute), func(t *testing.T, h *house) {
		start := time.Now().UnixMilli()
		for i := range int64(5) {
			time.Sleep(10 * time.Second)
			require.Equal(t, start+(i+1)*10_000, h.row().HeartbeatAtMs)
		}
		time.Sleep(20 * time.Second)
		require.Equal(t, wire.RunFailed, h.row().Status)
	})
}

func TestAttemptEndsWithItsTime(t *testing.T) {
	for name, c := range map[string]struct {
		limit workflow.TaskOption
		want  time.Duration
	}{
		"timeout":   {workflow.Timeout(30 * time.Second), 30 * time.Second},
		"heartbeat": {workflow.HeartbeatTimeout(20 * time.Second), 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, working(time.Hour, c.limit), func(t *testing.T, h *house) {
				time.Sleep(c.want - time.Millisecond)
				require.Equal(t, wire.RunRunning, h.row().Status)
				time.Sleep(time.Millisecond)
				require.Equal(t, wire.RunFailed, h.row().Status)
				time.Sleep(time.Hour) // the body comes back
			})
		})
	}
}

// What cannot be committed is submitted again after longer and longer pauses.
func TestUnitsBackOffDuringAnOutage(t *testing.T) {
	inBubble(t, working(time.Second), func(t *testing.T, h *house) {
		var mu sync.Mutex
		var tried []time.Duration
		begin := time.Now().Add(time.Second) // the body ends
		h.fault.SetHook(func(*store.Tx) error {
			mu.Lock()
			defer mu.Unlock()
			tried = append(tried, time.Since(begin))
			return store.ErrUnavailable
		})
		time.Sleep(8 * time.Second)
		h.fault.SetHook(nil)
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		require.Equal(t, []time.Duration{0, ms(50), ms(150), ms(350), ms(750), ms(1550), ms(3150), ms(5150)}, tried)
		require.Equal(t, wire.RunRunning, h.row().Status)
		time.Sleep(2 * time.Second)
		require.Equal(t, wire.RunFailed, h.row().Status)
	})
}

// A run that is about to end is waited for before a retry is refused.
func TestRetryWaitsForTheEnd(t *testing.T) {
	retry := func(h *house) (time.Duration, error) {
		start := time.Now()
		_, err := h.e.RetryTask(context.Background(), engine.RetryTask{RunID: "r", NodeID: "work"})
		return time.Since(start), err
	}
	inBubble(t, working(time.Minute), func(t *testing.T, h *house) {
		took, err := retry(h)
		require.True(t, isCode(err, wire.CodeRunActive), "%v", err)
		require.InDelta(t, time.Second, took, float64(50*time.Millisecond))
		time.Sleep(time.Minute)
		synctest.Wait()
	})
	inBubble(t, working(500*time.Millisecond), func(t *testing.T, h *house) {
		took, err := retry(h)
		require.NoError(t, err)
		require.InDelta(t, 500*time.Millisecond, took, float64(50*time.Millisecond))
		time.Sleep(time.Minute)
		require.Equal(t, wire.RunFailed, h.row().Status)
	})
}

// A run that cannot be read is tried again after longer and longer pauses.
func TestLoadingBacksOff(t *testing.T) {
	inBubble(t, func(ctx workflow.Context) (any, error) { return nil, ctx.Signal("go", nil) }, func(t *testing.T, h *house) {
		time.Sleep(time.Minute) // it has left memory
		h.fault.SetBlind(true)
		_, err := h.e.Signal(t.Context(), engine.Signal{RunID: "r", Name: "go"})
		require.NoError(t, err)
		time.Sleep(5 * time.Second) // tries at 0, 50, 150, … 3150 and 5150 ms
		h.fault.SetBlind(false)
		require.NotEqual(t, wire.RunFinished, h.row().Status)
		time.Sleep(149 * time.Millisecond)
		require.NotEqual(t, wire.RunFinished, h.row().Status)
		time.Sleep(time.Millisecond)
		require.Equal(t, wire.RunFinished, h.row().Status)
	})
}
