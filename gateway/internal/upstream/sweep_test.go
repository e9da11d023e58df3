package upstream

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

func copies(t *testing.T, f *Federation) int {
	t.Helper()
	var runs []*store.Run
	require.NoError(t, f.store.View(t.Context(), func(v *store.View) (err error) {
		runs, err = v.Runs(store.RunFilter{IncludeSystem: true, Limit: 2 * history})
		return err
	}))
	return len(runs)
}

func parked(i int) *upstreamtest.Run {
	return &upstreamtest.Run{ID: fmt.Sprintf("r%04d", i), Workflow: "deploy", Status: "waiting-approval", CreatedAtMs: int64(1000 + i)}
}

// A look at the history that was cut after its first page is taken up again, although the
// newest runs are known then; whether this gateway has seen it cut or was started anew.
func TestHistoryThatWasCutIsCompleted(t *testing.T) {
	const all = 12 * listed
	for name, again := range map[string]func(f *Federation) *Federation{
		"the connection was cut": func(f *Federation) *Federation { f.complete.Store(false); return f }, // as a page before has left it
		"the gateway was ended":  func(f *Federation) *Federation { f.Close(); return New(Options{Store: f.store}) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
				synctest.Wait()
				m.Fail(upstreamtest.Faults{Silent: true, Cut: true})
				var rows []*hostRow
				for i := range all {
					m.Put(parked(i))
					if i >= all-5*listed { // the first page
						rows = append(rows, &hostRow{RunID: parked(i).ID, WorkflowKey: "deploy", WorkflowName: "deploy",
							Status: "waiting-approval", CreatedAtMs: int64(1000 + i), ConfigJSON: "{}"})
					}
				}
				_, err := f.insert(t.Context(), rows, nil)
				require.NoError(t, err)
				m.Fail(upstreamtest.Faults{Silent: true})
				next := again(f)
				if next != f {
					defer next.Close()
					require.NoError(t, next.Use(t.Context(), m, nil))
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Equal(t, all, copies(t, f))
			})
		})
	}
}

// The first page of a look is not stored as if there were nothing below it.
func TestPageThatFailsLeavesAMark(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		time.Sleep(defaultSweep)
		synctest.Wait()
		require.True(t, f.complete.Load())
		m.Fail(upstreamtest.Faults{Silent: true})
		for i := range 2 * listed {
			m.Put(parked(i))
		}
		p, err := f.peerNow()
		require.NoError(t, err)
		more, err := f.discoverPage(t.Context(), p, 0, listed, false)
		require.NoError(t, err)
		require.True(t, more)
		require.Equal(t, listed, copies(t, f))
		require.False(t, f.complete.Load())
	})
}

// A page with rows that are no runs is a whole page all the same.
func TestPageWithRowsThatAreNoRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		time.Sleep(defaultSweep)
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Silent: true})
		for i := range 2 * listed {
			r := parked(i)
			if i%listed == 7 {
				r.Status = "of-another-version"
			}
			m.Put(r)
		}
		time.Sleep(defaultSweep)
		synctest.Wait()
		require.Equal(t, 2*listed-2, copies(t, f))
	})
}

// Of two sources that read one database the current one is swept alone.
func TestFormerSourceIsNotSwept(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		next := upstreamtest.NewMemory(t, "deploy")
		defer next.Stop()
		require.NoError(t, f.Use(t.Context(), next, nil))
		defer f.Retired(next)
		next.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
		time.Sleep(2 * defaultSweep)
		synctest.Wait()
		asked, former := len(next.Calls("getRun")), len(m.Calls("listRuns"))
		require.NotZero(t, asked)
		time.Sleep(10 * defaultSweep)
		synctest.Wait()
		require.InDelta(t, 10, len(next.Calls("getRun"))-asked, 1)
		require.Len(t, m.Calls("listRuns"), former)
	})
}

// More runs than a sweep looks at, begun between two of them, are all found.
func TestBurstOfRunsIsFound(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		time.Sleep(defaultSweep)
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Silent: true})
		for i := range 4 * listed {
			m.Put(parked(i))
		}
		time.Sleep(2 * defaultSweep)
		synctest.Wait()
		require.Equal(t, 4*listed, copies(t, f))
		asked := len(m.Calls("listRuns"))
		time.Sleep(10 * defaultSweep)
		synctest.Wait()
		require.InDelta(t, 10, len(m.Calls("listRuns"))-asked, 1, "a page each time when nothing is new")
	})
}

// A Smithers that takes a launch again and does not answer holds a sweep for as long as
// any read.
func TestRelaunchIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Forget: true})
		_, err := f.Launch(t.Context(), Launch{Workflow: "deploy", RunID: "lost"})
		require.NoError(t, err)
		m.Fail(upstreamtest.Faults{Delay: 1000 * time.Hour})
		time.Sleep(launchWait)
		began := time.Now()
		_, err = f.rotate(t.Context(), "")
		require.True(t, isDown(err), err)
		require.Equal(t, readLimit, time.Since(began))
		m.Fail(upstreamtest.Faults{})
		time.Sleep(2*readLimit + defaultSweep)
		synctest.Wait()
		require.Len(t, m.Calls("launchRun"), 2, "it is launched again")
	})
}

// A launch without an answer is never repeated at another Smithers than the one that was
// asked.
func TestLaunchIsNotRepeatedElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Forget: true})
		_, err := f.Launch(t.Context(), Launch{Workflow: "deploy", RunID: "lost"})
		require.NoError(t, err)
		m.Fail(upstreamtest.Faults{})
		r := newRemote(Target{URL: "http://there"}, address{base: "http://memory"},
			func(ctx context.Context) (net.Conn, error) { return m.Dial(ctx) })
		defer r.Close()
		synctest.Wait()
		require.NoError(t, f.Use(t.Context(), r, nil))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, m.Calls("launchRun"), 1)
		require.Equal(t, "running", status(t, f, "lost"))
		require.NoError(t, f.Use(t.Context(), m, nil))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, m.Calls("launchRun"), 2)
	})
}

// A source that answers its health only does not hold a start or a reload.
func TestUseIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Delay: 1000 * time.Hour})
		began := time.Now()
		require.NoError(t, f.Use(t.Context(), again{m}, nil))
		require.Equal(t, listLimit, time.Since(began))
		require.Nil(t, f.workflow("deploy"))
		m.Fail(upstreamtest.Faults{})
		time.Sleep(2 * readLimit)
		synctest.Wait()
		require.NotNil(t, f.workflow("deploy"))
	})
}

// again is another source with the same answers.
type again struct{ source.Source }

// Smithers writes that a run has ended before it logs it. If it is killed in between the
// log never says so, and whoever follows the run must be told nevertheless, once.
func TestEndThatWasNeverLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		run := &upstreamtest.Run{ID: "cut", Workflow: "deploy", Status: "running", CreatedAtMs: time.Now().UnixMilli()}
		m.Put(run)
		m.Event("cut", "RunStarted")
		m.Event("cut", "NodeFinished", "nodeId", "last", "iteration", 0)
		synctest.Wait()
		m.EndSilently("cut", "finished")
		time.Sleep(endGrace / 2)
		synctest.Wait()
		require.Equal(t, []string{"node.finished"}, pushedNames(t, f, "cut"), "the event may still come")
		time.Sleep(endGrace + 3*defaultSweep)
		synctest.Wait()
		require.Equal(t, []string{"node.finished", "run.completed"}, pushedNames(t, f, "cut"))
		require.Equal(t, "finished", status(t, f, "cut"))

		// It comes after all, and is known; what follows is not.
		m.Event("cut", "RunFinished")
		m.Event("cut", "RunStarted")
		m.Event("cut", "RunFinished")
		time.Sleep(endGrace + 3*defaultSweep)
		synctest.Wait()
		require.Equal(t, []string{"node.finished", "run.completed", "run.completed"}, pushedNames(t, f, "cut"))
	})
}

func pushedNames(t *testing.T, f *Federation, id string) (names []string) {
	t.Helper()
	require.NoError(t, f.store.View(t.Context(), func(v *store.View) error {
		events, err := v.EventsLog(id, -1, 1000)
		for _, ev := range events {
			if ev.Name != "" {
				names = append(names, ev.Name)
			}
		}
		return err
	}))
	return names
}

// A run with which something is the matter does not keep the others from being looked at.
func TestOneBadRunHoldsNothingUp(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		for _, id := range []string{"bad", "good"} {
			m.Put(&upstreamtest.Run{ID: id, Workflow: "deploy", Status: "running", CreatedAtMs: time.Now().UnixMilli()})
			m.Event(id, "RunStarted")
		}
		time.Sleep(defaultSweep)
		synctest.Wait()
		m.EndSilently("bad", "of a later version")
		m.EndSilently("good", "finished")
		time.Sleep(endGrace + 6*defaultSweep)
		synctest.Wait()
		require.Equal(t, "finished", status(t, f, "good"))
		require.Equal(t, "running", status(t, f, "bad"))
		time.Sleep(2 * unendedKept)
		synctest.Wait()
		f.unended.Range(func(id, _ any) bool { t.Errorf("%v is kept for ever", id); return true })
	})
}

// The event of a schedule is made here: a log behind it is not taken for one that was cut,
// and read from its beginning again and again.
func TestScheduledRunsAreNotReadAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Cron(map[string]any{"cronId": "c1", "pattern": "* * * * *", "workflowPath": "deploy", "enabled": true, "createdAtMs": 1,
			"lastRunAtMs": nil, "nextRunAtMs": nil, "errorJson": nil})
		m.Put(&upstreamtest.Run{ID: "timed", Workflow: "deploy", Status: "running", CreatedAtMs: time.Now().UnixMilli(), By: cronUser})
		for range 50 {
			m.Event("timed", "NodeFinished", "nodeId", "n", "iteration", 0)
			synctest.Wait()
		}
		names := pushedNames(t, f, "timed")
		require.Len(t, names, 51)
		require.Equal(t, "cron.triggered", names[0])
		at, err := f.position(t.Context(), "timed")
		require.NoError(t, err)
		var whole int
		require.NoError(t, f.store.Update(t.Context(), func(tx *store.Tx) error {
			events, err := tx.EventsLog("timed", -1, 100)
			if err == nil {
				whole = len(events)
				err = mayBeHere(tx, at, []*logged{{TimestampMs: events[len(events)-1].AtMs}})
			}
			return err
		}), "of %d events", whole)
	})
}
