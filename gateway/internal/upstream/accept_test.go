package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var scheduler = source.Caller{User: "carol", Scopes: []string{wire.ScopeCronWrite}}

// launchesBy has a fake answer reruns and cronRun, and begin the runs while begins says so.
func launchesBy(m *upstreamtest.Memory, begins *atomic.Bool) {
	m.OnCall(func(c upstreamtest.Call) (any, string) {
		var p struct{ NewRunID string }
		_ = json.Unmarshal(c.Params, &p)
		id := cmp.Or(p.NewRunID, "again")
		if c.Method == "cron.trigger" {
			id = "by-cron"
		}
		if begins.Load() {
			m.Later(&upstreamtest.Run{ID: id, Workflow: "deploy", By: "owner"})
		}
		return map[string]any{"runId": id, "workflow": "deploy", "system": false}, ""
	})
}

// A rerun and a schedule that was started by hand are launched again under the same ids if
// Smithers has answered and written nothing, as launches are.
func TestRunsOfOtherMethodsAreLaunchedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		var begins atomic.Bool
		launchesBy(m, &begins)
		_, again, err := f.LaunchBy(t.Context(), scheduler, wire.MethodRerun, wire.MethodRerun, json.RawMessage(`{"runId":"r"}`))
		require.NoError(t, err)
		require.Equal(t, "again", again)
		payload, cron, err := f.LaunchBy(t.Context(), scheduler, wire.MethodCronRun, "cron.trigger", json.RawMessage(`{"cronId":"c","input":{"a":1}}`))
		require.NoError(t, err)
		require.JSONEq(t, `{"runId":"by-cron","workflow":"deploy","system":false}`, string(payload))
		require.Equal(t, "running", status(t, f, cron))
		begins.Store(true)
		time.Sleep(launchWait + 2*defaultSweep)
		synctest.Wait()
		require.Len(t, m.Calls(wire.MethodRerun), 2)
		require.JSONEq(t, `{"runId":"r","newRunId":"again"}`, string(m.Calls(wire.MethodRerun)[1].Params))
		require.Len(t, m.Calls("cron.trigger"), 1)
		launches := m.Calls(wire.MethodLaunchRun)
		require.Len(t, launches, 1)
		require.JSONEq(t, `{"workflow":"deploy","runId":"by-cron","input":{"a":1}}`, string(launches[0].Params))
		require.Equal(t, "carol", launches[0].User)
		require.Contains(t, launches[0].Scopes, wire.ScopeRunWrite, "which launchRun asks for")
		for _, id := range []string{again, cron} {
			require.Contains(t, createdBy(t, f, id), `"triggeredBy":"carol"`)
			m.Event(id, "RunStarted")
			m.Event(id, "RunFinished")
		}
		time.Sleep(defaultSweep)
		synctest.Wait()
		require.Equal(t, "finished", status(t, f, again))
		require.Equal(t, "finished", status(t, f, cron))
		calls := len(m.Calls(wire.MethodRerun)) + len(m.Calls(wire.MethodLaunchRun))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, calls, len(m.Calls(wire.MethodRerun))+len(m.Calls(wire.MethodLaunchRun)), "nothing is left to look after")
	})
}

// What Smithers begins at once is begun once, found before its answer or not.
func TestRunsOfOtherMethodsAreLaunchedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		var begins atomic.Bool
		begins.Store(true)
		launchesBy(m, &begins)
		m.Put(&upstreamtest.Run{ID: "found", Workflow: "deploy"})
		require.NoError(t, f.Sync(t.Context(), "found"))
		for _, id := range []string{"again", "found"} {
			_, _, err := f.LaunchBy(t.Context(), scheduler, wire.MethodRerun, wire.MethodRerun, json.RawMessage(`{"runId":"r","newRunId":"`+id+`"}`))
			require.NoError(t, err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, m.Calls(wire.MethodRerun), 2)
		require.Equal(t, 2, copies(t, f))
	})
}

// A caller who leaves before Smithers has answered leaves a run that is looked after.
func TestRunOfACallerWhoHasLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		m.OnCall(func(upstreamtest.Call) (any, string) {
			leave()
			return map[string]any{"runId": "again", "workflow": "deploy", "system": false}, ""
		})
		_, id, _ := f.LaunchBy(ctx, scheduler, wire.MethodRerun, wire.MethodRerun, json.RawMessage(`{"runId":"r"}`))
		require.Error(t, ctx.Err())
		require.Equal(t, "again", id)
		require.Equal(t, "running", status(t, f, id))
	})
}

// A Smithers that does not answer is waited for until the call's deadline, and a little after
// its caller has left.
func TestAnswerIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Delay: 1000 * time.Hour})
		launch := func(ctx context.Context) (time.Duration, error) {
			began := time.Now()
			_, _, err := f.LaunchBy(ctx, scheduler, wire.MethodRerun, wire.MethodRerun, json.RawMessage(`{"runId":"r"}`))
			return time.Since(began), err
		}
		bounded, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		took, err := launch(bounded)
		require.Equal(t, time.Minute, took)
		requireCode(t, err, wire.CodeRequestTimeout)
		gone, leave := context.WithCancel(t.Context())
		leave()
		took, err = launch(gone)
		require.Equal(t, answerGrace, took)
		require.ErrorIs(t, err, context.Canceled)
		late, cancel := context.WithTimeout(t.Context(), time.Minute)
		time.AfterFunc(time.Minute-answerGrace/2, cancel)
		took, err = launch(late)
		require.Equal(t, time.Minute, took, "the deadline comes before the grace is over")
		require.Error(t, err)
	})
}

// Two that want the same id do not become each other's.
func TestExpectedOnce(t *testing.T) {
	f := &Federation{}
	forget, ok := f.Expect("r", scheduler)
	require.True(t, ok)
	_, ok = f.Expect("r", source.Caller{User: "dave"})
	require.False(t, ok)
	forget()
	_, ok = f.Expect("r", source.Caller{User: "dave"})
	require.True(t, ok)
}

func createdBy(t *testing.T, f *Federation, id string) (by string) {
	t.Helper()
	require.NoError(t, f.store.View(t.Context(), func(v *store.View) error {
		run, err := v.Run(id)
		by = string(run.CreatedBy)
		return err
	}))
	return by
}
