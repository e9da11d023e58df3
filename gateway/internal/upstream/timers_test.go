package upstream

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

// inBubble runs a test in fake time with a federation on a fake upstream.
func inBubble(t *testing.T, do func(t *testing.T, f *Federation, m *upstreamtest.Memory)) {
	inBubbleWith(t, Options{}, do)
}

func inBubbleWith(t *testing.T, o Options, do func(t *testing.T, f *Federation, m *upstreamtest.Memory)) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(context.Background(), store.Options{Path: path})
		require.NoError(t, err)
		m := upstreamtest.NewMemory(t, "deploy")
		o.Store = st
		f := New(o)
		defer func() {
			f.Close()
			m.Stop()
			require.NoError(t, st.Close())
		}()
		require.NoError(t, f.Use(t.Context(), m, nil))
		do(t, f, m)
	})
}

func status(t *testing.T, f *Federation, id string) string {
	t.Helper()
	var status string
	require.NoError(t, f.store.View(t.Context(), func(v *store.View) error {
		run, err := v.Run(id)
		if err == nil {
			status = run.Status
		}
		return ignoreNotFound(err)
	}))
	return status
}

// A socket that cannot be had is tried again, less and less often, and at once when a
// new process is there.
func TestSocketIsTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		require.Equal(t, 1, m.Sockets())
		m.Refuse(errors.New("refused"))
		m.CutSockets()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		before := m.Dials()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.InDelta(t, 30*time.Second/lastRetry, m.Dials()-before, 1, "sweeps use the connection that they have")
		m.Set(source.Down)
		time.Sleep(time.Minute)
		synctest.Wait()
		before = m.Dials()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, before, m.Dials(), "nothing is tried while the source says that it is down")
		m.Refuse(nil)
		m.Set(source.Ready)
		synctest.Wait()
		require.Equal(t, 1, m.Sockets())
	})
}

// A socket on which nothing arrives any more, not even a tick, is given up.
func TestSilentSocketIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		dials := m.Dials()
		time.Sleep(silence - time.Second)
		synctest.Wait()
		require.Equal(t, dials, m.Dials())
		time.Sleep(2*time.Second + firstRetry)
		synctest.Wait()
		require.Greater(t, m.Dials(), dials)
	})
}

// A socket that ticks more seldom than once a minute is given up after three ticks.
func TestSocketWithSeldomTicksIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Tick: 5 * time.Minute})
		m.CutSockets()
		time.Sleep(time.Second)
		synctest.Wait()
		looks := len(m.Calls("listWorkflows")) // one for each connection
		time.Sleep(3*5*time.Minute - 2*time.Second)
		synctest.Wait()
		require.Len(t, m.Calls("listWorkflows"), looks)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Len(t, m.Calls("listWorkflows"), looks+1)
	})
}

// What no socket tells is found by the next sweep; after a connection all open runs
// are read within moments.
func TestSweepFindsWhatNobodyTells(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Silent: true})
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
		m.Event("r", "RunStarted")
		m.Event("r", "RunFinished")
		synctest.Wait()
		require.Empty(t, status(t, f, "r"))
		time.Sleep(defaultSweep)
		synctest.Wait()
		require.Equal(t, "finished", status(t, f, "r"))

		// A thousand parked runs move on while there is no socket.
		for i := range 10 * rotation {
			id := "parked" + string(rune('a'+i/26%26)) + string(rune('a'+i%26))
			m.Put(&upstreamtest.Run{ID: id, Workflow: "deploy"})
			m.Event(id, "RunStatusChanged", "status", "waiting-approval")
		}
		time.Sleep(5 * defaultSweep)
		synctest.Wait()
		m.Set(source.Down)
		m.CutSockets()
		m.Event("parkedaa", "RunStatusChanged", "status", "waiting-event")
		m.Event("parkedaa", "RunStatusChanged", "status", "waiting-approval")
		m.Set(source.Ready)
		time.Sleep(20 * fast)
		synctest.Wait()
		at, err := f.position(t.Context(), "parkedaa")
		require.NoError(t, err)
		require.EqualValues(t, 3, at.NextSeq)
	})
}

// A launch is waited for three seconds and no longer.
func TestSeenIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Forget: true})
		_, err := f.Launch(t.Context(), Launch{Workflow: "deploy", RunID: "r"})
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, f.Seen(t.Context(), "r"))
		require.InDelta(t, seenWait, time.Since(began), float64(2*seenMost))
	})
}

// A read that is not answered is given up, and another run is read.
func TestReadIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
		m.Event("r", "RunStarted")
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Delay: time.Hour})
		f.Wake("r")
		synctest.Wait()
		require.NotZero(t, f.queue.len())
		time.Sleep(readLimit + time.Second)
		m.Fail(upstreamtest.Faults{})
		time.Sleep(readLimit)
		synctest.Wait()
		require.Zero(t, f.queue.len())
	})
}

// A target that is away is looked for ever less often; a failed connection to one that
// was there has it looked at once.
func TestProbesBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := upstreamtest.NewMemory(t)
		defer m.Stop()
		m.Refuse(errors.New("refused"))
		watched := make(chan struct{})
		r := newRemote(Target{}, address{base: "http://memory"}, func(ctx context.Context) (net.Conn, error) {
			select {
			case <-watched:
				return m.Dial(ctx)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		defer r.Close()
		updates, stop := r.Watch()
		defer stop()
		require.Equal(t, source.Starting, (<-updates).State)
		close(watched)
		require.Equal(t, source.Down, (<-updates).State)
		time.Sleep(time.Minute)
		synctest.Wait()
		before := m.Dials()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.InDelta(t, time.Minute/probeReady, m.Dials()-before, 1)
		require.Equal(t, source.Down, r.Status().State)
		m.Refuse(nil)
		time.Sleep(probeReady)
		synctest.Wait()
		require.Equal(t, source.Ready, r.Status().State)
		require.Equal(t, 1, r.Status().Generation)

		r.probing.CloseIdleConnections()
		m.Refuse(errors.New("refused"))
		_, err := r.Dial(t.Context())
		require.Error(t, err)
		synctest.Wait()
		require.Equal(t, source.Down, r.Status().State)
	})
}

// What follows an event without a push is there a moment later, long before the sweep.
func TestQuietEventsFollowSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
		m.Event("r", "NodeWaitingApproval", "nodeId", "gate", "iteration", 0)
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Silent: true})
		m.Event("r", "RunStatusChanged", "status", "waiting-approval")
		synctest.Wait()
		require.Equal(t, "running", status(t, f, "r"))
		time.Sleep(quietAfter)
		synctest.Wait()
		require.Equal(t, "waiting-approval", status(t, f, "r"))
	})
}

// A source that hands its rows over is not asked after a launch and a push, unless it
// has left rows out for a moment.
func TestFeedIsLookedAfter(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		m.HandOver()
		time.Sleep(lastRetry + 100*time.Millisecond) // between two sweeps
		synctest.Wait()
		require.True(t, m.Fed())
		asked := func() int { return len(m.Calls("GET /v1/api/runs/r/events")) }
		launch := func(id string) {
			_, err := f.Launch(t.Context(), Launch{Workflow: "deploy", RunID: id})
			require.NoError(t, err)
			m.Event(id, "RunStarted")
			synctest.Wait()
		}
		launch("r")
		require.Equal(t, "running", status(t, f, "r"))
		time.Sleep(quietAfter)
		m.Event("r", "RunFinished")
		synctest.Wait()
		require.Equal(t, "finished", status(t, f, "r"))
		require.Zero(t, asked())

		m.Fail(upstreamtest.Faults{Withhold: 1})
		launch("lost")
		at, err := f.position(t.Context(), "lost")
		require.NoError(t, err)
		require.Zero(t, at.NextSeq)
		time.Sleep(quietAfter)
		synctest.Wait()
		at, err = f.position(t.Context(), "lost")
		require.NoError(t, err)
		require.EqualValues(t, 1, at.NextSeq)
	})
}

// A stream of frames that was cut is opened again, less and less often.
func TestFramesAreOpenedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy", Frames: []map[string]any{{"kind": "snapshot"}}})
		c, err := f.WatchFrames(t.Context(), "r", nil, func() {})
		require.NoError(t, err)
		defer c.Detach()
		synctest.Wait()
		require.Equal(t, 1, m.Watching())
		m.CutSockets()
		synctest.Wait()
		require.Zero(t, m.Watching())
		time.Sleep(firstRetry)
		synctest.Wait()
		require.Equal(t, 1, m.Watching())
	})
}
